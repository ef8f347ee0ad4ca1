// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Checkpoints
import Foundation
import OrderedCollections
import Safetensors
import SystemPackage
import Testing
import _BlockScaleTestSupport

/// Inputs that must be refused, each with a sentence that names the place.
@Suite struct FaultTests {
  struct NonFinite: CustomTestStringConvertible, Sendable {
    var scheme: Scheme
    var layout: Layout
    var source: SourceFormat
    var isNaN: Bool

    var testDescription: String { "\(scheme.rawValue) of \(source.rawValue), NaN: \(isNaN)" }

    var pattern: [UInt8] {
      switch source {
      case .float32: bytes(isNaN ? Float.nan : -.infinity)
      case .float16: bytes(isNaN ? UInt16(0x7E01) : 0xFC00)
      case .bfloat16: bytes(isNaN ? UInt16(0xFFC0) : 0x7F80)
      }
    }
  }

  static let nonFinite = Scheme.allCases.flatMap { scheme in
    SourceFormat.allCases.flatMap { source in
      [true, false].map {
        NonFinite(scheme: scheme, layout: .usual(for: scheme), source: source, isNaN: $0)
      }
    }
  }

  @Test(arguments: nonFinite) func valuesThatAreNoNumbers(_ test: NonFinite) throws {
    let scratch = try Scratch()
    var model = TinyModel(source: test.source)
    model.plain = []
    model.weights = [("a.weight", [131, 96]), ("b.weight", [131, 96])]
    var tensors = model.tensors
    let place = 130 * 96 + 17
    let width = test.source.byteCount
    tensors[1].bytes.replaceSubrange(place * width..<(place + 1) * width, with: test.pattern)
    try SafetensorsFile.write(tensors, to: scratch("in.safetensors"))
    let error = failure {
      _ = try converter.quantize(
        Checkpoint(path: scratch("in.safetensors")), to: scratch("out.safetensors"),
        scheme: test.scheme, layout: test.layout)
    }
    #expect(error?.code == .nonFinite)
    let offset = tensors[0].bytes.count + place * width
    #expect(
      error?.text
        == "\(scratch("in.safetensors")): tensor 'b.weight' holds "
        + "\(test.isNaN ? "NaN" : "an infinity") in row 130, column 17, at data offset \(offset); "
        + "it cannot be quantized.")
    #expect(!scratch.names.contains("out.safetensors"))
  }

  struct Malformed: CustomTestStringConvertible, Sendable {
    var name: String
    var tensors: [SafetensorsFile.Contents]
    var layout: Layout?
    var says: String

    var testDescription: String { name }

    init(
      _ name: String, _ tensors: [(String, DType, [Int])], layout: Layout? = nil, says: String
    ) {
      self.name = name
      self.tensors = tensors.map { name, dtype, shape in
        (name, dtype, shape, Array(repeating: 1, count: shape.reduce(1, *) * dtype.bitWidth / 8))
      }
      self.layout = layout
      self.says = says
    }
  }

  static let malformed = [
    Malformed(
      "no scales of torchao", [("a._weight_qdata", .u8, [4, 8])],
      says: "lacks its scales 'a._weight_scale'"),
    Malformed(
      "no scales of gpt-oss", [("a_blocks", .u8, [1, 4, 1, 16])], layout: .gptOSS,
      says: "lacks its scales 'a_scales'"),
    Malformed(
      "no scales of compressed-tensors", [("a.weight_packed", .u8, [4, 8])],
      says: "no tensor is stored in the layout 'compressed-tensors'"),
    Malformed(
      "block scales of another width",
      [("a.weight_packed", .u8, [4, 32]), ("a.weight_scale", .f8E4M3, [4, 3])],
      says: "tensor 'a.weight_scale' has the shape [4, 3], which fits no blocks"),
    Malformed(
      "block scales of another height",
      [("a.weight_packed", .u8, [4, 32]), ("a.weight_scale", .u8, [3, 2])],
      says: "tensor 'a.weight_scale' has the shape [3, 2], which fits no blocks"),
    Malformed(
      "half a block", [("a.weight_packed", .u8, [4, 24]), ("a.weight_scale", .u8, [4, 2])],
      says: "which fits no blocks"),
    Malformed(
      "integer scales", [("a.weight_packed", .u8, [4, 32]), ("a.weight_scale", .i32, [4, 4])],
      says: "holds I32, which is no scale of U8 codes"),
    Malformed(
      "two tensor scales",
      [
        ("a.weight_packed", .u8, [4, 32]), ("a.weight_scale", .f8E4M3, [4, 4]),
        ("a.weight_global_scale", .f32, [2]),
      ], says: "'a.weight_global_scale' should be one F32 number"),
    Malformed(
      "a grid of other blocks",
      [("a.weight", .f8E4M3, [256, 256]), ("a.weight_scale_inv", .f32, [4, 4])],
      says: "fits no blocks"),
    Malformed(
      "experts of three dimensions", [("a_blocks", .u8, [4, 1, 16]), ("a_scales", .u8, [4, 1])],
      says: "not [experts, rows, blocks, 16]"),
    Malformed(
      "integers of MLX",
      [("a.weight", .u32, [4, 8]), ("a.scales", .u8, [4, 4]), ("a.biases", .bf16, [4, 4])],
      says: "affine mode"),
    // Found by fuzzing: taken for bytes, these would be read beyond their end.
    Malformed(
      "codes of half a byte", [("a._weight_qdata", .f4, [2, 2]), ("a._weight_scale", .f16, [])],
      says: "holds F4, which is no code"),
    Malformed(
      "empty codes of any width", [("a.weight", .u32, [0, 1 << 60]), ("a.scales", .u8, [0, 1])],
      says: "is empty"),
    Malformed("codes alone", [("a.weight", .f8E4M3, [4, 8])], says: "looks quantized"),
    Malformed(
      "plain and quantized at once",
      [
        ("a.weight_packed", .u8, [4, 32]), ("a.weight_scale", .u8, [4, 2]),
        ("a.weight", .bf16, [4, 64]),
      ], says: "is stored plain and quantized at once"),
    Malformed(
      "a layout that is not there", [("a.weight", .bf16, [4, 8])], layout: .modelopt,
      says: "no tensor is stored in the layout 'modelopt'"),
  ]

  @Test(arguments: malformed) func malformedTensors(_ test: Malformed) throws {
    let scratch = try Scratch()
    let path = scratch("in.safetensors")
    try SafetensorsFile.write(test.tensors, to: path)
    let error = failure { _ = try Checkpoint(path: path, layout: test.layout) }
    #expect(error?.code != nil)
    #expect(error?.text.contains(test.says) == true, "\(error?.text ?? "no error")")
    #expect(error?.text.contains(scratch.path.string) == true && error?.text.hasSuffix(".") == true)
  }

  /// Aligned NVFP4 without metadata reads as ModelOpt's and as ComfyUI's, to different values.
  @Test func ambiguityIsRefused() throws {
    let scratch = try Scratch()
    let path = scratch("in.safetensors")
    try SafetensorsFile.write(
      HandMade.modelopt([("a.weight", 1)], rows: 128, columns: 64), to: path)
    let error = failure { _ = try Checkpoint(path: path) }
    #expect(error?.code == .ambiguousLayout)
    #expect(error?.text.contains("'modelopt' or 'comfy'") == true)
    #expect(error?.text.contains("--from") == true)
    let readings = try [Layout.modelopt, .comfy].map { try Checkpoint(path: path, layout: $0) }
    #expect(readings.map(\.layout) == [.modelopt, .comfy])
    let comparison = try Comparison(reference: readings[0], candidate: readings[1], jobs: 2)
    #expect(comparison.tensors[0].error.errorPower > 0)
  }

  @Test func configurationThatDoesNotFit() throws {
    let scratch = try Scratch()
    try scratch.makeFolder("in")
    try SafetensorsFile.write(
      HandMade.modelopt([("a.weight", 1)]), to: scratch("in/model.safetensors"))
    for (method, says) in [
      ("awq", "'awq' of config.json is none of"),
      ("mxfp4", "says 'gpt-oss', but the tensors look like 'modelopt'"),
    ] {
      try scratch.write(
        #"{"quantization_config": {"quant_method": "\#(method)"}}"#, to: "in/config.json")
      let error = failure { _ = try Checkpoint(path: scratch("in")) }
      #expect(error?.code == .unknownLayout)
      #expect(error?.text.contains(says) == true, "\(error?.text ?? "")")
    }
    try scratch.write("{", to: "in/config.json")
    let error = failure { _ = try Checkpoint(path: scratch("in")) }
    #expect(error?.code == .malformedConfiguration)
    #expect(error?.text.contains("config.json: no valid JSON at byte 1") == true)
  }

  @Test(arguments: [
    ("gone.safetensors", "which is missing"), ("../out.safetensors", "../out.safetensors"),
  ])
  func indexThatLeadsNowhere(_ shard: String, _ says: String) throws {
    let scratch = try Scratch()
    try scratch.makeFolder("in")
    // It exists, but outside of the folder.
    try SafetensorsFile.write(TinyModel().tensors, to: scratch("out.safetensors"))
    try scratch.write(
      #"{"metadata": {}, "weight_map": {"a": "\#(shard)"}}"#, to: "in/model.safetensors.index.json")
    let error = failure { _ = try Checkpoint(path: scratch("in")) }
    #expect(error?.text.contains(says) == true, "\(error?.text ?? "no error")")
  }

  @Test func wrongValuesAreViolations() throws {
    let scratch = try Scratch()
    var tensors = HandMade.modelopt([("a.weight", 1), ("b.weight", 1), ("c.weight", 1)])
    tensors[1].bytes[3] = 0x7F
    tensors[4].bytes[5] |= 0x80
    tensors[8].bytes = bytes(-Float.infinity)
    try SafetensorsFile.write(tensors, metadata: ["format": "pt"], to: scratch("in.safetensors"))
    let checked = try Verification(Checkpoint(path: scratch("in.safetensors")), jobs: 2).tensors
    #expect(checked[0].violations == ["1 scales are NaN or infinite"])
    #expect(checked[1].violations == ["1 scales are negative"])
    #expect(checked[2].violations == ["the tensor scale -inf is not positive and finite"])
  }

  /// Found by fuzzing: metadata that calls the one scale of a tensor swizzled.
  @Test func oneScaleIsNeverSwizzled() throws {
    let scratch = try Scratch()
    let path = scratch("in.safetensors")
    try SafetensorsFile.write(
      [
        ("a._weight_qdata", .f8E4M3, [1, 12], Array(repeating: 0x38, count: 12)),
        ("a._weight_scale", .f16, [], [0, 0x3C]),
      ],
      metadata: ["a.weight": #"{"_data": {"is_swizzled_scales": true}}"#], to: path)
    let verification = try Verification(Checkpoint(path: path), jobs: 1)
    #expect(verification.isClean && verification.tensors[0].requantized?.count == 12)
  }

  /// A byte that was changed after quantizing, and scales that belong to another tensor.
  @Test func damageIsFound() throws {
    let scratch = try Scratch()
    let source = try Checkpoint(path: TinyModel().write(to: scratch("source"), in: scratch))
    _ = try converter.quantize(source, to: scratch("out"), scheme: .nvfp4)
    let file = scratch("out/model.safetensors")
    let (header, tensors) = (try metadata(file), try stored(file))
    let name = "model.layers.0.mlp.down_proj.weight"
    for (part, says) in [
      (name, "1 codes or scales differ"), ("model.norm.weight", "differs from the original"),
    ] {
      var damaged = tensors
      damaged[part]?.bytes[7] ^= 1
      try SafetensorsFile.write(
        damaged.map { ($0.key, $0.value.dtype, $0.value.shape, $0.value.bytes) }, metadata: header,
        to: scratch("damaged.safetensors"))
      let verification = try Verification(
        Checkpoint(path: scratch("damaged.safetensors")), against: source, jobs: 2)
      let found = verification.tensors.filter { !$0.violations.isEmpty }
      #expect(found.map(\.name) == [part])
      #expect(found.first?.violations.first?.contains(says) == true)
    }
  }
}
