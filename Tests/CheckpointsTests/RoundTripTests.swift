// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Checkpoints
import OrderedCollections
import Safetensors
import SystemPackage
import Testing
import _BlockScaleTestSupport

/// Everything that can be written is recognized, verified and decoded.
@Suite struct RoundTripTests {
  struct Case: CustomTestStringConvertible, Sendable {
    var scheme: Scheme
    var layout: Layout
    var source: SourceFormat

    var testDescription: String { "\(scheme.rawValue), \(layout.rawValue), \(source.rawValue)" }
  }

  static let cases = Layout.allCases.filter { $0 != .gptOSS }.flatMap { layout in
    layout.schemes.flatMap { scheme in
      SourceFormat.allCases.map { Case(scheme: scheme, layout: layout, source: $0) }
    }
  }

  /// torchao's FP8 blocks are whole ones.
  static func model(_ test: Case) -> TinyModel {
    var model = TinyModel(source: test.source)
    if test.layout == .torchao, test.scheme == .fp8Block {
      model.weights = model.weights.map { ($0.name, [256, 128]) }
    }
    return model
  }

  @Test(arguments: cases) func folderIsRecognizedVerifiedAndDecoded(_ test: Case) throws {
    let scratch = try Scratch()
    let model = Self.model(test)
    let source = try Checkpoint(path: model.write(to: scratch("source"), in: scratch))
    let reports = try converter.quantize(
      source, to: scratch("out"), scheme: test.scheme, layout: test.layout)
    #expect(reports.filter { $0.action == .quantized }.count == model.weights.count)
    #expect(reports.map(\.name) == Array(try TensorCollection(path: source.path).tensors.keys))

    let quantized = try Checkpoint(path: scratch("out"))
    #expect(quantized.layout == test.layout)
    let inspection = try Inspection(quantized)
    #expect(
      inspection.tensors.filter { $0.format == test.scheme.rawValue }.count == model.weights.count)
    let verification = try Verification(quantized, against: source, jobs: 2)
    #expect(verification.isClean, "\(verification)")
    let recipe = test.layout.usualRecipe(for: test.scheme)
    for tensor in verification.tensors where tensor.format == test.scheme.rawValue {
      #expect(tensor.matchingRecipe == recipe)
    }

    // In FP32 nothing is rounded again.
    _ = try converter.dequantize(quantized, to: scratch("decoded"), as: .float32)
    let decoded = try Checkpoint(path: scratch("decoded"))
    #expect(decoded.layout == nil)
    let comparison = try Comparison(reference: quantized, candidate: decoded, jobs: 2)
    #expect(comparison.tensors.count == model.weights.count + model.plain.count)
    #expect(comparison.tensors.allSatisfy { $0.error.errorPower == 0 })
    #expect(comparison.tensors.allSatisfy { $0.error.nonFiniteCount == 0 })
    #expect(!text(of: scratch("decoded/config.json")).contains("quantization_config"))
  }

  /// Every recipe in every layout that has a place for what it stores.
  @Test(arguments: Recipe.allCases) func everyRecipeIsVerified(_ recipe: Recipe) throws {
    for layout in Layout.allCases where layout != .gptOSS {
      for scheme in layout.schemes where recipe.supports(scheme) {
        let test = Case(scheme: scheme, layout: layout, source: .bfloat16)
        let scratch = try Scratch()
        let source = try Checkpoint(
          path: Self.model(test).write(to: scratch("source"), in: scratch))
        let isSingleLevel = Recipe.singleLevel.contains(recipe)
        let error = failure {
          _ = try converter.quantize(
            source, to: scratch("out"), scheme: scheme, layout: layout, recipe: recipe)
        }
        guard layout != .mlx || scheme != .nvfp4 || isSingleLevel else {
          #expect(
            error?.text
              == "Layout 'mlx' has no place for the tensor scale of recipe '\(recipe.rawValue)'; use "
              + "'torchao-single-level' or 'mlx' or 'mlx-metal' or 'ggml'.")
          #expect(scratch.names == ["source"])
          continue
        }
        #expect(error == nil, "\(test)")
        let verification = try Verification(
          Checkpoint(path: scratch("out")), against: source, jobs: 2)
        #expect(verification.isClean, "\(test) \(verification)")
        #expect(verification.tensors.count { $0.matchingRecipe == recipe } >= 6, "\(test)")
        if layout == .torchao, scheme == .nvfp4 {
          #expect(
            text(of: scratch("out/config.json"))
              .contains("\"use_dynamic_per_tensor_scale\": \(!isSingleLevel)"))
        }
      }
    }
  }

  /// Without config.json, names, types, shapes and metadata must do.
  @Test(arguments: cases.filter { $0.source == .bfloat16 })
  func fileIsRecognized(_ test: Case) throws {
    let scratch = try Scratch()
    let file = scratch("source.safetensors")
    try SafetensorsFile.write(Self.model(test).tensors, to: file)
    _ = try converter.quantize(
      Checkpoint(path: file), to: scratch("out.safetensors"), scheme: test.scheme,
      layout: test.layout)
    #expect(try Checkpoint(path: scratch("out.safetensors")).layout == test.layout)
    #expect(scratch.names == ["out.safetensors", "source.safetensors"])
  }

  @Test(arguments: [
    (Scheme.nvfp4, Layout.modelopt, 24, "24 columns are no multiple of 16"),
    (.mxfp4, .compressedTensors, 48, "48 columns are no multiple of 32"),
    (.mxfp8, .mlx, 48, "48 columns are no multiple of 32"),
    (.fp8Block, .torchao, 96, "96 columns are no multiple of 128"),
  ])
  func columnsThatDoNotFitAreLeft(
    _ scheme: Scheme, _ layout: Layout, _ columns: Int, _ reason: String
  ) throws {
    let scratch = try Scratch()
    var model = TinyModel()
    model.weights = [("a.odd.weight", [128, columns]), ("a.even.weight", [128, 128])]
    model.plain = []
    let source = try Checkpoint(path: model.write(to: scratch("source"), in: scratch))
    let reports = try converter.quantize(
      source, to: scratch("out"), scheme: scheme, layout: layout)
    let report = try #require(reports.first { $0.name == "a.odd.weight" })
    #expect(report.action == .copied && report.notes == [reason])
    #expect(
      try stored(scratch("out"))["a.odd.weight"] == stored(source.path)["a.odd.weight"])
  }

  /// ComfyUI pads rows to 16 and scales to tiles of 128x4; the padding is zero and is verified.
  @Test func oddRowsArePaddedForComfy() throws {
    let scratch = try Scratch()
    var model = TinyModel()
    model.weights = [("a.weight", [131, 48])]
    let source = try Checkpoint(path: model.write(to: scratch("source"), in: scratch))
    _ = try converter.quantize(source, to: scratch("out"), scheme: .nvfp4, layout: .comfy)
    let tensors = try stored(scratch("out"))
    let codes = try #require(tensors["a.weight"])
    #expect(codes.shape == [144, 24])
    #expect(codes.bytes[(131 * 24)...].allSatisfy { $0 == 0 })
    #expect(tensors["a.weight_scale"]?.shape == [256, 4])
    #expect(try Verification(Checkpoint(path: scratch("out")), against: source, jobs: 2).isClean)
  }

  /// Decodes by the definition, apart from the package's own decoder.
  @Test func decodingFollowsTheDefinition() throws {
    let scratch = try Scratch()
    let source = try Checkpoint(path: TinyModel().write(to: scratch("source"), in: scratch))
    _ = try converter.quantize(source, to: scratch("out"), scheme: .nvfp4)
    _ = try converter.dequantize(
      Checkpoint(path: scratch("out")), to: scratch("decoded"), as: .float32)
    let (packed, decoded) = (try stored(scratch("out")), try stored(scratch("decoded")))
    let magnitudes: [Float] = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    for (name, shape) in TinyModel.weights {
      let module = String(name.dropLast("weight".count))
      let codes = try #require(packed[name]?.bytes)
      let scales = try #require(packed["\(module)weight_scale"]?.bytes)
      let tensorScale = try #require(packed["\(module)weight_scale_2"]?.float)
      let values = try #require(decoded[name])
      #expect(values.dtype == .f32 && values.shape == shape)
      for index in 0..<shape[0] * shape[1] {
        let code = codes[index / 2] >> (index % 2 * 4) & 0xF
        let scale = scales[index / 16]
        // E4M3 by hand: these scales are normal numbers.
        let power = Float(sign: .plus, exponent: Int(scale >> 3) - 7, significand: 1)
        let block = (1 + Float(scale & 7) / 8) * power
        let magnitude = magnitudes[Int(code & 7)] * block * tensorScale
        let value = Float(
          bitPattern: values.bytes[index * 4..<index * 4 + 4].reversed()
            .reduce(0) { $0 << 8 | UInt32($1) })
        #expect(value == (code & 8 == 0 ? magnitude : -magnitude), "\(name)[\(index)]")
        if value.magnitude != magnitude { return }
      }
    }
  }
}
