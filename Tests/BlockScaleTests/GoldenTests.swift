// SPDX-License-Identifier: Apache-2.0

@testable import BlockScale
import Minifloat
import Safetensors
import Testing
import _BlockScaleTestSupport

/// Codes, scales and tensor scale of one quantization as stored bytes.
private struct Stored {
  var codes: [UInt8]
  var scales: [UInt8]
  var tensorScale: TensorScale?

  init<Element, Scale>(_ matrix: BlockScaledMatrix<Element, Scale>) {
    codes = matrix.codes
    // Scale types are plain bits.
    scales = unsafe matrix.scales.withUnsafeBytes { unsafe Array($0) }
    tensorScale = matrix.tensorScale
  }
}

private enum Formats { case nvfp4, mxfp4, mxfp8, float8, float8BFloat16, float8Float16 }

private func quantize(
  _ vectors: Vectors, _ dtype: String, _ formats: Formats, _ recipe: Recipe,
  blocking: Blocking? = nil
) throws -> Stored {
  let shape = try #require(vectors["\(dtype).input"]).shape
  func run<Source: SourceValue>(_ values: [Source]) throws -> Stored {
    func stored<E, S>(_ type: BlockScaledMatrix<E, S>.Type) throws -> Stored {
      Stored(
        try type.quantized(
          values, rows: shape[0], columns: shape[1], recipe: recipe, blocking: blocking
        ).matrix)
    }
    switch formats {
    case .nvfp4: return try stored(NVFP4Matrix.self)
    case .mxfp4: return try stored(MXFP4Matrix.self)
    case .mxfp8: return try stored(MXFP8Matrix.self)
    case .float8: return try stored(Float8Matrix.self)
    case .float8BFloat16: return try stored(BlockScaledMatrix<Float8E4M3, BFloat16>.self)
    case .float8Float16: return try stored(BlockScaledMatrix<Float8E4M3, Float16>.self)
    }
  }
  switch dtype {
  case "bf16": return try run(vectors.bfloats("bf16.input"))
  case "f16": return try run(vectors.halves("f16.input"))
  default: return try run(vectors.floats("f32.input"))
  }
}

/// The number of places in which two byte strings differ.
private func differences(_ left: [UInt8], _ right: [UInt8]) -> Int {
  left.count == right.count
    ? zip(left, right).count { $0 != $1 } : max(left.count, right.count)
}

@Suite struct GoldenTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var key: String
    fileprivate var formats: Formats
    var recipe: Recipe
    var codes: String
    var scales: String
    var blocking: Blocking? = nil
    var testDescription: String { key }
  }

  static let quantCases: [Case] = [
    Case(key: "modelopt", formats: .nvfp4, recipe: .modelopt, codes: "weight", scales: "weight_scale"),
    Case(key: "torchao", formats: .nvfp4, recipe: .torchao, codes: "qdata", scales: "scale"),
    Case(key: "torchao_single", formats: .nvfp4, recipe: .torchaoSingleLevel, codes: "qdata", scales: "scale"),
    Case(key: "ct_nvfp4a16", formats: .nvfp4, recipe: .compressedTensors, codes: "weight_packed", scales: "weight_scale"),
    Case(key: "mlx_cpu_nvfp4", formats: .nvfp4, recipe: .mlx, codes: "weight_u32_as_bytes", scales: "scales"),
    Case(key: "modelopt_mxfp4", formats: .mxfp4, recipe: .modelopt, codes: "weight", scales: "weight_scale"),
    Case(key: "torchao_mxfp4_floor", formats: .mxfp4, recipe: .ocp, codes: "qdata", scales: "scale"),
    Case(key: "torchao_mxfp4_rceil", formats: .mxfp4, recipe: .rceil, codes: "qdata", scales: "scale"),
    Case(key: "torchao_mxfp4_even", formats: .mxfp4, recipe: .even, codes: "qdata", scales: "scale"),
    Case(key: "ct_mxfp4a16", formats: .mxfp4, recipe: .compressedTensors, codes: "weight_packed", scales: "weight_scale"),
    Case(key: "mlx_cpu_mxfp4", formats: .mxfp4, recipe: .mlx, codes: "weight_u32_as_bytes", scales: "scales"),
    Case(key: "modelopt_mxfp8", formats: .mxfp8, recipe: .modelopt, codes: "weight", scales: "weight_scale"),
    Case(key: "torchao_mxfp8_floor", formats: .mxfp8, recipe: .ocp, codes: "qdata", scales: "scale"),
    Case(key: "torchao_mxfp8_rceil", formats: .mxfp8, recipe: .rceil, codes: "qdata", scales: "scale"),
    Case(key: "torchao_mxfp8_even", formats: .mxfp8, recipe: .even, codes: "qdata", scales: "scale"),
    Case(key: "ct_mxfp8a16", formats: .mxfp8, recipe: .compressedTensors, codes: "weight", scales: "weight_scale"),
    Case(key: "mlx_cpu_mxfp8", formats: .mxfp8, recipe: .mlx, codes: "weight_u32_as_bytes", scales: "scales"),
  ]

  @Test(arguments: quantCases, ["quant_golden_144x320", "quant_golden_ties_16x64"])
  func matchesProducer(_ test: Case, file: String) throws {
    let vectors = try Vectors("\(file).safetensors")
    var compared = 0
    for dtype in ["bf16", "f16", "f32"] where vectors["\(dtype).\(test.key).\(test.codes)"] != nil {
      let result = try quantize(vectors, dtype, test.formats, test.recipe)
      let codes = try vectors.bytes("\(dtype).\(test.key).\(test.codes)")
      let scales = try vectors.bytes("\(dtype).\(test.key).\(test.scales)")
      #expect(differences(result.codes, codes) == 0, "\(dtype) codes")
      #expect(differences(result.scales, scales) == 0, "\(dtype) scales")
      for name in ["weight_scale_2", "per_tensor_scale", "weight_global_scale"] {
        guard vectors["\(dtype).\(test.key).\(name)"] != nil else { continue }
        let expected = try vectors.floats("\(dtype).\(test.key).\(name)")
        let scale = try #require(result.tensorScale)
        #expect([scale.value.bitPattern] == expected.map(\.bitPattern), "\(dtype) \(name)")
        #expect(scale.isDivisor == (name == "weight_global_scale"))
      }
      compared += 1
    }
    // FP16 vectors of torchao and of ModelOpt's MXFP8 do not exist.
    #expect(compared == (test.key.hasPrefix("torchao") || test.key == "modelopt_mxfp8" ? 2 : 3))
  }

  static let float8Cases: [Case] = [
    Case(key: "deepseek_block", formats: .float8, recipe: .deepseek, codes: "weight", scales: "weight_scale_inv", blocking: Blocking(rows: 128, columns: 128)),
    Case(key: "deepgemm_1x128", formats: .float8, recipe: .deepseek, codes: "q", scales: "scale", blocking: Blocking(rows: 1, columns: 128)),
    Case(key: "deepgemm_1x128_ue8m0", formats: .float8, recipe: .deepseekUE8M0, codes: "q", scales: "scale", blocking: Blocking(rows: 1, columns: 128)),
    Case(key: "torchao_act_lhs", formats: .float8, recipe: .torchao, codes: "q", scales: "scale", blocking: Blocking(rows: 1, columns: 128)),
    Case(key: "torchao_weight", formats: .float8, recipe: .torchao, codes: "q", scales: "scale", blocking: Blocking(rows: 128, columns: 128)),
  ]

  @Test(arguments: float8Cases, ["fp8_block_144x320", "fp8_block_128x256"])
  func matchesFloat8Producer(_ test: Case, file: String) throws {
    let vectors = try Vectors("\(file).safetensors")
    var compared = 0
    for dtype in ["bf16", "f32"] where vectors["\(dtype).\(test.key).\(test.codes)"] != nil {
      let result = try quantize(vectors, dtype, test.formats, test.recipe, blocking: test.blocking)
      let codes = try vectors.bytes("\(dtype).\(test.key).\(test.codes)")
      let scales = try vectors.bytes("\(dtype).\(test.key).\(test.scales)")
      #expect(differences(result.codes, codes) == 0, "\(dtype) codes")
      #expect(differences(result.scales, scales) == 0, "\(dtype) scales")
      compared += 1
    }
    // torchao's reference functions only take multiples of 128.
    #expect(compared == (test.key.hasPrefix("torchao") && file.hasSuffix("320") ? 0 : 2))
  }

  /// ggml packs the codes j and j + 16 of a block into one byte, after the block's scale.
  @Test(arguments: ["quant_golden_144x320", "quant_golden_ties_16x64"])
  func matchesGGML(file: String) throws {
    let vectors = try Vectors("\(file).safetensors")
    for dtype in ["bf16", "f16", "f32"] {
      let result = try quantize(vectors, dtype, .mxfp4, .ggml)
      var blocks: [UInt8] = []
      for (block, scale) in result.scales.enumerated() {
        let codes = (0..<32).map { index -> UInt8 in
          let byte = result.codes[block * 16 + index / 2]
          return index % 2 == 0 ? byte & 0x0F : byte >> 4
        }
        blocks.append(scale)
        blocks += (0..<16).map { codes[$0] | codes[$0 + 16] << 4 }
      }
      #expect(differences(blocks, try vectors.bytes("\(dtype).gguf_mxfp4.blocks")) == 0, "\(dtype)")
    }
  }

  @Test func matchesSeedNVFP4() throws {
    let vectors = try Vectors("seed_nvfp4_256x512.safetensors")
    let (matrix, _) = try NVFP4Matrix.quantized(
      vectors.bfloats("input"), rows: 256, columns: 512, recipe: .seed)
    #expect(differences(matrix.codes, try vectors.bytes("packed")) == 0)
    #expect(differences(matrix.scales.map(\.bitPattern), try vectors.bytes("scale")) == 0)
    #expect([matrix.tensorScale?.value] == (try vectors.floats("scale_2")))
    let dequantized = matrix.dequantized().map { BFloat16($0).bitPattern }
    #expect(dequantized == (try vectors.integers("dequantized_bf16", as: UInt16.self)))
    let swizzled = try SwizzledScales(
      linear: matrix.scales.map(\.bitPattern), rows: 256, columns: 32)
    #expect(swizzled.tritonShape == [1, 2, 8, 2, 256])
    #expect(swizzled.bytes == (try vectors.bytes("scale_triton_5d")))
    #expect(swizzled.linear == matrix.scales.map(\.bitPattern))
  }

  @Test(arguments: ["bf16", "f32"], ["quant_golden_144x320", "quant_golden_ties_16x64"])
  func matchesTorchaoSwizzle(dtype: String, file: String) throws {
    let vectors = try Vectors("\(file).safetensors")
    let shape = try #require(vectors["\(dtype).torchao.scale"]).shape
    let linear = try vectors.bytes("\(dtype).torchao.scale")
    let swizzled = try SwizzledScales(linear: linear, rows: shape[0], columns: shape[1])
    #expect(swizzled.bytes == (try vectors.bytes("\(dtype).torchao.scale_blocked")))
    #expect(swizzled.hasZeroPadding)
    #expect(swizzled.linear == linear)
  }
}
