// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import Safetensors
import Testing
import _BlockScaleTestSupport

/// Bytes of further producers (`Tools/recipe_vectors.py`), made from the inputs of the golden files.
@Suite struct RecipeGoldenTests {
  static let files = Vectors.names(prefix: "recipes_")
  static let cases: [GoldenCase] =
    [("mxfp4", GoldenCase.Formats.mxfp4), ("mxfp8", .mxfp8)].flatMap { name, formats in
      [
        GoldenCase(key: "torchao_\(name)_ceil", formats: formats, recipe: .ceil),
        GoldenCase(key: "mlx_nearest_\(name)", formats: formats, recipe: .mlxNearest),
        GoldenCase(key: "deepgemm_\(name)", formats: formats, recipe: .deepseekUE8M0),
        GoldenCase(key: "mlx_metal_\(name)", formats: formats, recipe: .mlxMetal),
      ]
    } + [
      GoldenCase(key: "fouroversix", formats: .nvfp4, recipe: .fourOverSix),
      GoldenCase(key: "te_4over6", formats: .nvfp4, recipe: .transformerEngineFourOverSix),
      GoldenCase(key: "vllm_emu", formats: .nvfp4, recipe: .vllmEmulation),
      GoldenCase(key: "mlx_metal_nvfp4", formats: .nvfp4, recipe: .mlxMetal),
      GoldenCase(key: "ggml_nvfp4", formats: .nvfp4, recipe: .ggml),
      GoldenCase(
        key: "torchao_pow2_row", formats: .float8, recipe: .torchaoPowerOfTwo, blocking: .row),
      GoldenCase(
        key: "torchao_pow2_tensor", formats: .float8, recipe: .torchaoPowerOfTwo,
        blocking: .tensor),
    ]

  @Test(arguments: cases, files)
  func matchesProducer(_ test: GoldenCase, file: String) throws {
    let golden = try Vectors(file)
    let inputs = try Vectors("quant_golden_" + file.dropFirst("recipes_".count))
    for dtype in GoldenTests.dtypes {
      let prefix = "\(dtype).\(test.key)."
      guard golden[prefix + "codes"] != nil else { continue }
      let values = try GoldenTests.input(inputs, dtype)
      // Zero over zero: the producer stores NaN for a tensor of zeros, we keep zeros.
      if test.recipe == .vllmEmulation, values.allSatisfy({ $0 == 0 }) { continue }
      let result = try Stored.quantized(inputs, dtype, test)
      let codes = expectedCodes(try golden.bytes(prefix + "codes"), values, result, test.recipe)
      #expect(differences(result.codes, codes) == 0, "\(dtype) codes")
      var scales: [UInt8]
      if golden[prefix + "factor"] != nil {
        // Training keeps the factor; its reciprocal, of a power of two, is what is stored.
        scales = try golden.floats(prefix + "factor").flatMap { factor in
          (0..<4).map { UInt8(truncatingIfNeeded: (1 / factor).bitPattern >> (8 * $0)) }
        }
      } else {
        scales = try golden.bytes(prefix + "scales")
      }
      if test.recipe == .fourOverSix {
        for block in scales.indices where isBroken(block, values) {
          scales[block] = result.scales[block]
        }
      }
      #expect(differences(result.scales, scales) == 0, "\(dtype) scales")
      if golden[prefix + "amax"] != nil {
        let maximum = try golden.floats(prefix + "amax")[0]
        let expected = TensorScale(maximum == 0 ? 1 : maximum / 1536)
        #expect(result.tensorScale == expected, "\(dtype) tensor scale")
      } else if golden[prefix + "global_scale"] != nil {
        let divisor = try golden.floats(prefix + "global_scale")[0]
        #expect(result.tensorScale == TensorScale(divisor, isDivisor: true), "\(dtype)")
      } else {
        #expect(result.tensorScale == nil, "\(dtype)")
      }
    }
  }

  /// The producer's codes where it is followed, else ours.
  private func expectedCodes(
    _ golden: [UInt8], _ values: [Float], _ result: Stored, _ recipe: Recipe
  ) -> [UInt8] {
    var codes = golden
    for index in golden.indices {
      switch recipe {
      case .transformerEngineFourOverSix:
        // Its reference drops the sign of zeros, which the instruction that it stands for keeps.
        for half in 0..<2 where values[2 * index + half].sign == .minus {
          let shift = UInt8(4 * half)
          if codes[index] >> shift & 7 == 0 { codes[index] |= 8 << shift }
        }
      case .fourOverSix where isBroken(index / 8, values): codes[index] = result.codes[index]
      default: break
      }
    }
    return codes
  }

  /// Whether fouroversix divides a block so that its largest value exceeds 7: that becomes 8, which
  /// has no code, and the bits that are stored for it say −0.
  ///
  /// It takes a scale among the subnormal numbers that was rounded down far.
  private func isBroken(_ block: Int, _ values: [Float]) -> Bool {
    let a = values[16 * block..<16 * block + 16].map(\.magnitude).max()!
    let base = a / 6 * (1536 / values.map(\.magnitude).max()!)
    return 6 * base >= 7 * Float(Float8E4M3(base)) && base > 0x1p-10
  }

  /// Everything in the files is compared by some test.
  @Test func everyProducerIsCovered() throws {
    #expect(Self.files.count >= 7)
    let known = Set(Self.cases.map(\.key))
    for file in Self.files {
      for name in try Vectors(file).tensorNames {
        #expect(known.contains(String(name.split(separator: ".")[1])), "\(file): \(name)")
      }
    }
  }
}
