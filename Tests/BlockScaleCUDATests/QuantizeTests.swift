// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCUDA
import Minifloat
import PTX
import PTXEmulator
import Testing
import _BlockScaleTestSupport

/// What the checks of kernels leave out: how often values are read, and what is refused.
@Suite struct QuantizeTests {
  /// The maximum that NVFP4 needs first is a launch of its own.
  @Test func bothWaysReadOnce() throws {
    let matrix = try Samples.corners(BFloat16.self, rows: 144, columns: 264)
    let device = EmulatedDevice()
    _ = try device.quantizedBothWays(
      matrix, as: Float8Matrix.self, recipe: .deepseek, blocking: Blocking(rows: 1, columns: 128))
    #expect(device.launches.count == 1)
    _ = try device.quantizedBothWays(matrix, as: NVFP4Matrix.self, recipe: .transformerEngine)
    #expect(device.launches.count == 3)
  }

  @Test func seedsDraw() throws {
    let matrix = try Samples.corners(BFloat16.self, rows: 19, columns: 200, hasNonFinite: false)
    func codes(seed: UInt64?) throws -> [UInt8] {
      try EmulatedDevice().quantized(
        matrix, as: Float8Matrix.self, recipe: .deepseek,
        blocking: Blocking(rows: 1, columns: 128), options: QuantizeOptions(seed: seed)
      ).codes
    }
    #expect(try codes(seed: 1) == codes(seed: 1))
    #expect(try codes(seed: 1) != codes(seed: 2))
    #expect(try codes(seed: 1) != codes(seed: nil))
  }

  /// Every recipe is checked in every format that it has, or refused.
  @Test(arguments: Recipe.allCases)
  func refusesRecipesOfTwoTries(_ recipe: Recipe) throws {
    let matrix = try Samples.corners(BFloat16.self, rows: 4, columns: 64)
    func isRefused<Element, Scale>(
      _ type: BlockScaledMatrix<Element, Scale>.Type, _ blocking: Blocking
    ) -> Bool {
      (try? EmulatedDevice().quantized(matrix, as: type, recipe: recipe, blocking: blocking)) == nil
    }
    func isChecked(_ formats: String) -> Bool {
      KernelCheck.all.contains {
        $0.name == "quantize \(formats) \(recipe.rawValue) from bfloat16 17x176"
      }
    }
    #expect(
      isRefused(NVFP4Matrix.self, Blocking(rows: 1, columns: 16)) != isChecked("1x16 e2m1 e4m3"))
    #expect(
      isRefused(MXFP8Matrix.self, Blocking(rows: 1, columns: 32)) != isChecked("1x32 e4m3 e8m0"))
    #expect(
      isRefused(Float8Matrix.self, Blocking(rows: 1, columns: 128))
        != isChecked("1x128 e4m3 float32"))
  }

  /// The bytes of producers' own libraries: their FP8, NVFP4 and MX from BF16.
  @Test func matchesProducers() throws {
    let golden = try Vectors("quant_golden_80x96_bf16.safetensors")
    let matrix = try Matrix(golden.bfloats("bf16.input"), rows: 80, columns: 96)
    let device = EmulatedDevice()
    for (key, recipe, codes, scales) in [
      ("modelopt", Recipe.modelopt, "weight", "weight_scale"),
      ("torchao", .torchao, "qdata", "scale"),
      ("ct_nvfp4a16", .compressedTensors, "weight_packed", "weight_scale"),
      ("mlx_cpu_nvfp4", .mlx, "weight_u32_as_bytes", "scales"),
    ] {
      let result = try device.quantized(matrix, as: NVFP4Matrix.self, recipe: recipe)
      #expect(result.codes == (try golden.bytes("bf16.\(key).\(codes)")), "\(key)")
      #expect(result.scaleBytes == (try golden.bytes("bf16.\(key).\(scales)")), "\(key)")
    }
    for (key, recipe) in [("floor", Recipe.ocp), ("rceil", .rceil), ("even", .even)] {
      let narrow = try device.quantized(matrix, as: MXFP4Matrix.self, recipe: recipe)
      #expect(narrow.codes == (try golden.bytes("bf16.torchao_mxfp4_\(key).qdata")), "\(key)")
      #expect(narrow.scaleBytes == (try golden.bytes("bf16.torchao_mxfp4_\(key).scale")), "\(key)")
      let wide = try device.quantized(matrix, as: MXFP8Matrix.self, recipe: recipe)
      #expect(wide.codes == (try golden.bytes("bf16.torchao_mxfp8_\(key).qdata")), "\(key)")
      #expect(wide.scaleBytes == (try golden.bytes("bf16.torchao_mxfp8_\(key).scale")), "\(key)")
    }
    let tensor = try device.quantized(
      matrix, as: Float8Matrix.self, recipe: .modelopt, blocking: .tensor)
    #expect(tensor.codes == (try golden.bytes("bf16.modelopt_fp8.weight")))
    #expect(tensor.scaleBytes == (try golden.bytes("bf16.modelopt_fp8.weight_scale")))
    let square = try device.quantized(
      matrix, as: BlockScaledMatrix<Float8E4M3, BFloat16>.self, recipe: .compressedTensors,
      blocking: Blocking(rows: 128, columns: 128))
    #expect(square.codes == (try golden.bytes("bf16.ct_fp8_block.weight")))
    #expect(square.scaleBytes == (try golden.bytes("bf16.ct_fp8_block.weight_scale")))
  }

  /// What kernels do not have is refused with a sentence.
  @Test func refusesWhatItLacks() throws {
    let matrix = try Samples.corners(BFloat16.self, rows: 4, columns: 24)
    let device = EmulatedDevice()
    #expect(throws: BlockScaleError.self) {
      try device.quantized(
        matrix, as: Float8Matrix.self, recipe: .deepseek, blocking: Blocking(rows: 3, columns: 5))
    }
    #expect(throws: BlockScaleError.self) {
      try device.quantized(matrix, as: NVFP4Matrix.self, recipe: .fourOverSix)
    }
    #expect(throws: KernelError.self) {
      try device.quantized(
        matrix, as: NVFP4Matrix.self, recipe: .transformerEngine,
        options: QuantizeOptions(isRotated: true))
    }
    #expect(throws: KernelError.self) { try MatrixShape(rows: 0, columns: 3) }
  }

  /// Rotating both operands of a product leaves it as it is, but for rounding; outliers spread.
  @Test func rotationIsOrthogonal() throws {
    var values = [Float](repeating: 0, count: 32)
    values[3] = 64
    values[17] = -2
    let rotated = try Matrix(values, rows: 1, columns: 32).rotated().widened()
    #expect(rotated[..<16].allSatisfy { $0.magnitude == 16 })
    #expect(rotated[16...].allSatisfy { $0.magnitude == 0.5 })
    #expect(Set(rotated[..<16]).count == 2)
    let product = zip(rotated, rotated).reduce(0) { $0 + $1.0 * $1.1 }
    #expect(product == 64 * 64 + 4)
    #expect(throws: BlockScaleError.self) {
      try Matrix([Float](repeating: 0, count: 17), rows: 1, columns: 17).rotated()
    }
  }
}

extension BlockScaledMatrix {
  /// The bytes of all scales.
  fileprivate var scaleBytes: [UInt8] {
    // Scales are plain bits.
    unsafe scales.withUnsafeBytes { unsafe Array($0) }
  }
}
