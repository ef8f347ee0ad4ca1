// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import Safetensors
import Testing
import _BlockScaleTestSupport

/// Bytes that the released libraries stored, in every source type that each of them takes.
@Suite struct GoldenTests {
  static let files = Vectors.names(prefix: "quant_golden_")
  static let dtypes = ["bf16", "f16", "f32"]
  static let cases = GoldenCase.nvfp4 + GoldenCase.mx + GoldenCase.float8

  @Test(arguments: cases, files)
  func matchesProducer(_ test: GoldenCase, file: String) throws {
    let vectors = try Vectors(file)
    for dtype in Self.dtypes {
      guard let golden = try Stored.golden(vectors, dtype, test) else { continue }
      let result = try Stored.quantized(vectors, dtype, test)
      guard try !overflows(vectors, dtype, test, golden) else {
        try checkOverflow(vectors, test, result)
        continue
      }
      let expected = try withoutNaN(golden, vectors, dtype, test)
      #expect(differences(result.codes, expected.codes) == 0, "\(dtype) codes")
      #expect(differences(result.scales, expected.scales) == 0, "\(dtype) scales")
      #expect(result.tensorScale == expected.tensorScale, "\(dtype) tensor scale")
    }
  }

  static func input(_ vectors: Vectors, _ dtype: String) throws -> [Float] {
    switch dtype {
    case "bf16": try vectors.bfloats("bf16.input").map { Float($0) }
    case "f16": try vectors.halves("f16.input").map { Float($0) }
    default: try vectors.floats("f32.input")
    }
  }

  //MARK: Where producers are not followed

  /// Several producers divide zero by zero and store NaN for a tensor of zeros, and torchao's
  /// `Float8Tensor` for each zero of a block whose scale is zero.
  ///
  /// Here zeros stay zeros; the documented bytes stand in.
  private func withoutNaN(
    _ golden: Stored, _ vectors: Vectors, _ dtype: String, _ test: GoldenCase
  ) throws -> Stored {
    var expected = golden
    if test.recipe == .torchaoFloat8 {
      // One of these blocks reaches over whole rows, or the scale of the tensor is zero.
      let scales = stride(from: 0, to: golden.scales.count, by: 4).map {
        golden.scales[$0..<$0 + 4].allSatisfy { $0 == 0 }
      }
      let count = golden.codes.count / scales.count
      let values = try Self.input(vectors, dtype)
      for index in golden.codes.indices where scales[index / count] {
        // The scale may also have underflowed in FP16; then the quotients were infinite.
        #expect([0xFE, 0x7E, 0xFF, 0x7F].contains(golden.codes[index]))
        expected.codes[index] = values[index].sign == .minus ? 0x80 : 0
      }
      return expected
    }
    guard try Self.input(vectors, dtype).allSatisfy({ $0 == 0 }) else { return expected }
    let blockScale: UInt8? = ["modelopt": 0x38, "torchao": 0x08, "te_emu": 0x00][test.key]
    if let blockScale {
      #expect(golden.tensorScale == TensorScale(0))
      expected.tensorScale = TensorScale(1)
      expected.scales = Array(repeating: blockScale, count: golden.scales.count)
      expected.codes = Array(repeating: 0, count: golden.codes.count)
    } else if test.key == "modelopt_fp8" {
      #expect(golden.scales == [0, 0, 0, 0] && golden.codes.allSatisfy { $0 == 0xFF })
      expected.scales = [0, 0, 0x80, 0x3F]  // 1
      expected.codes = Array(repeating: 0, count: golden.codes.count)
    }
    return expected
  }

  /// Whether compressed-tensors' tensor scale overflowed FP16 and became one, which loses most of
  /// the tensor.
  private func overflows(
    _ vectors: Vectors, _ dtype: String, _ test: GoldenCase, _ golden: Stored
  ) throws -> Bool {
    guard test.key == "ct_nvfp4a16", dtype == "f16", golden.tensorScale?.value == 1 else {
      return false
    }
    return try Self.input(vectors, dtype).contains { $0 != 0 }
  }

  private func checkOverflow(_ vectors: Vectors, _ test: GoldenCase, _ result: Stored) throws {
    let values = try Self.input(vectors, "f16")
    let maximum = values.map(\.magnitude).max()!
    #expect(result.tensorScale == TensorScale(2688 / maximum, isDivisor: true))
    let shape = try #require(vectors["f16.input"]).shape
    let (matrix, error) = try NVFP4Matrix.quantized(
      vectors.halves("f16.input"), rows: shape[0], columns: shape[1], recipe: test.recipe)
    #expect(Stored(matrix) == result)
    #expect(error.sqnr > 15, "NVFP4 of normal values has about 20 dB")
  }

  //MARK: Coverage

  /// Everything in the files is compared by some test.
  @Test func everyProducerIsCovered() throws {
    #expect(Self.files.count >= 13)
    // Layouts of their own (below), and what no recipe of ours follows.
    let others = ["input", "gguf_mxfp4", "comfy_nvfp4", "comfy_mxfp8", "comfy_fp8"]
    let known = Set(Self.cases.map(\.key) + others)
    for file in Self.files {
      let vectors = try Vectors(file)
      for name in vectors.tensorNames {
        let key = String(name.split(separator: ".")[1])
        #expect(known.contains(key), "\(file): \(name)")
      }
      // FP16 vectors of torchao's FP4 and MX do not exist, and MX takes whole blocks of 32.
      for dtype in Self.dtypes where vectors["\(dtype).input"] != nil {
        let found = try Self.cases.count { try Stored.golden(vectors, dtype, $0) != nil }
        #expect(found >= (dtype == "f16" ? 8 : 13), "\(file) \(dtype)")
      }
    }
  }

  //MARK: Training

  @Test(arguments: GoldenCase.training, ["fp8_block_144x320", "fp8_block_128x256"])
  func matchesTrainingProducer(_ test: GoldenCase, file: String) throws {
    let vectors = try Vectors("\(file).safetensors")
    var compared = 0
    for dtype in ["bf16", "f32"] {
      guard let golden = try Stored.golden(vectors, dtype, test) else { continue }
      let result = try Stored.quantized(vectors, dtype, test)
      #expect(differences(result.codes, golden.codes) == 0, "\(dtype) codes")
      #expect(differences(result.scales, golden.scales) == 0, "\(dtype) scales")
      compared += 1
    }
    // torchao's reference functions only take multiples of 128.
    #expect(compared == (test.key.hasPrefix("torchao") && file.hasSuffix("320") ? 0 : 2))
  }
}
