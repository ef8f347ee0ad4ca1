// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import Safetensors
import Testing
import _BlockScaleTestSupport

/// One producer's output in the golden files, and the recipe that should reproduce it.
struct GoldenCase: Sendable, CustomTestStringConvertible {
  enum Formats { case nvfp4, mxfp4, mxfp8, float8, float8InSource }

  /// The producer's part of the tensor names, `<dtype>.<key>.<tensor>`.
  var key: String
  var formats: Formats
  var recipe: Recipe
  /// The names of the tensors of codes and of scales.
  var codes = "weight"
  var scales = "weight_scale"
  var tensorScale: String? = nil
  var blocking: Blocking? = nil

  var testDescription: String { key }

  private static let square = Blocking(rows: 128, columns: 128)
  private static let group = Blocking(rows: 1, columns: 128)

  static let nvfp4: [GoldenCase] = [
    GoldenCase(
      key: "modelopt", formats: .nvfp4, recipe: .modelopt, tensorScale: "weight_scale_2"),
    GoldenCase(
      key: "torchao", formats: .nvfp4, recipe: .torchao, codes: "qdata", scales: "scale",
      tensorScale: "per_tensor_scale"),
    GoldenCase(
      key: "torchao_single", formats: .nvfp4, recipe: .torchaoSingleLevel, codes: "qdata",
      scales: "scale"),
    GoldenCase(
      key: "ct_nvfp4a16", formats: .nvfp4, recipe: .compressedTensors, codes: "weight_packed",
      tensorScale: "weight_global_scale"),
    GoldenCase(
      key: "mlx_cpu_nvfp4", formats: .nvfp4, recipe: .mlx, codes: "weight_u32_as_bytes",
      scales: "scales"),
    GoldenCase(
      key: "te_emu", formats: .nvfp4, recipe: .transformerEngine, tensorScale: "weight_scale_2"),
  ]

  static let mx: [GoldenCase] =
    [("mxfp4", Formats.mxfp4), ("mxfp8", .mxfp8)].flatMap { name, formats in
      [
        GoldenCase(key: "modelopt_\(name)", formats: formats, recipe: .modelopt),
        GoldenCase(
          key: "torchao_\(name)_floor", formats: formats, recipe: .ocp, codes: "qdata",
          scales: "scale"),
        GoldenCase(
          key: "torchao_\(name)_rceil", formats: formats, recipe: .rceil, codes: "qdata",
          scales: "scale"),
        GoldenCase(
          key: "torchao_\(name)_even", formats: formats, recipe: .even, codes: "qdata",
          scales: "scale"),
        GoldenCase(
          key: "ct_\(name)a16", formats: formats, recipe: .compressedTensors,
          codes: formats == .mxfp4 ? "weight_packed" : "weight"),
        GoldenCase(
          key: "mlx_cpu_\(name)", formats: formats, recipe: .mlx, codes: "weight_u32_as_bytes",
          scales: "scales"),
      ]
    }

  static let float8: [GoldenCase] =
    [("block", square), ("channel", .row), ("tensor", .tensor)].map { name, blocking in
      GoldenCase(
        key: "ct_fp8_\(name)", formats: .float8InSource, recipe: .compressedTensors,
        blocking: blocking)
    }
    + [("", Blocking.tensor), ("_pc", .row), ("_pb", square)].map { name, blocking in
      GoldenCase(
        key: "modelopt_fp8\(name)", formats: .float8, recipe: .modelopt, blocking: blocking)
    }
    + [("tensor", Blocking.tensor), ("row", .row), ("block", square), ("1x128", group)].map {
      name, blocking in
      GoldenCase(
        key: "torchao_float8_\(name)", formats: .float8, recipe: .torchaoFloat8, codes: "qdata",
        scales: "scale", blocking: blocking)
    }

  /// The FP8 rules of training, in files of their own.
  static let training: [GoldenCase] = [
    GoldenCase(
      key: "deepseek_block", formats: .float8, recipe: .deepseek, scales: "weight_scale_inv",
      blocking: square),
    GoldenCase(
      key: "deepgemm_1x128", formats: .float8, recipe: .deepseek, codes: "q", scales: "scale",
      blocking: group),
    GoldenCase(
      key: "deepgemm_1x128_ue8m0", formats: .float8, recipe: .deepseekUE8M0, codes: "q",
      scales: "scale", blocking: group),
    GoldenCase(
      key: "torchao_act_lhs", formats: .float8, recipe: .torchao, codes: "q", scales: "scale",
      blocking: group),
    GoldenCase(
      key: "torchao_weight", formats: .float8, recipe: .torchao, codes: "q", scales: "scale",
      blocking: square),
  ]
}

/// Codes, scales and tensor scale of one quantization as stored bytes.
struct Stored: Hashable {
  var codes: [UInt8]
  var scales: [UInt8]
  var tensorScale: TensorScale?

  init(codes: [UInt8], scales: [UInt8], tensorScale: TensorScale?) {
    self.codes = codes
    self.scales = scales
    self.tensorScale = tensorScale
  }

  init<Element, Scale>(_ matrix: BlockScaledMatrix<Element, Scale>) {
    codes = matrix.codes
    // Scale types are plain bits.
    scales = unsafe matrix.scales.withUnsafeBytes { unsafe Array($0) }
    tensorScale = matrix.tensorScale
  }

  /// What `test`'s recipe makes of the input of one source type.
  static func quantized(
    _ vectors: Vectors, _ dtype: String, _ test: GoldenCase
  ) throws -> Stored {
    let shape = try #require(vectors["\(dtype).input"]).shape
    func run<Source: SourceValue & BlockScaleValue>(_ values: [Source]) throws -> Stored {
      func stored<E, S>(_ type: BlockScaledMatrix<E, S>.Type) throws -> Stored {
        Stored(
          try type.quantized(
            values, rows: shape[0], columns: shape[1], recipe: test.recipe, blocking: test.blocking
          ).matrix)
      }
      switch test.formats {
      case .nvfp4: return try stored(NVFP4Matrix.self)
      case .mxfp4: return try stored(MXFP4Matrix.self)
      case .mxfp8: return try stored(MXFP8Matrix.self)
      case .float8: return try stored(Float8Matrix.self)
      case .float8InSource: return try stored(BlockScaledMatrix<Float8E4M3, Source>.self)
      }
    }
    switch dtype {
    case "bf16": return try run(vectors.bfloats("bf16.input"))
    case "f16": return try run(vectors.halves("f16.input"))
    default: return try run(vectors.floats("f32.input"))
    }
  }

  /// What the producer stored, or nil if the file holds nothing of it.
  static func golden(_ vectors: Vectors, _ dtype: String, _ test: GoldenCase) throws -> Stored? {
    let prefix = "\(dtype).\(test.key)."
    guard vectors[prefix + test.codes] != nil else { return nil }
    return Stored(
      codes: try vectors.bytes(prefix + test.codes),
      scales: try vectors.bytes(prefix + test.scales),
      tensorScale: try test.tensorScale.map {
        TensorScale(try vectors.floats(prefix + $0)[0], isDivisor: $0 == "weight_global_scale")
      })
  }
}

/// The number of places in which two byte strings differ.
func differences(_ left: [UInt8], _ right: [UInt8]) -> Int {
  left.count == right.count
    ? zip(left, right).count { $0 != $1 } : max(left.count, right.count)
}
