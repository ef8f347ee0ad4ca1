// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Safetensors

/// A tensor that will be written.
struct OutputTensor: Sendable, Hashable {
  var name: String
  var dtype: DType
  var shape: [Int]
}

/// What is about to be stored: a parameter's name and shape, and the formats of its blocks.
struct BlockScaledShape: Sendable {
  var name: String
  var scheme: Scheme
  var element: ElementFormat
  var scaleFormat: ScaleFormat
  var hasTensorScale: Bool
  var matrices: Int
  var rows: Int
  var columns: Int
  /// Whether the parameter has three dimensions.
  var isStack: Bool

  var grid: (rows: Int, columns: Int) { scheme.blocking.grid(rows: rows, columns: columns) }
}

/// How a layout stores one block-scaled tensor: the names, types and shapes of its parts and the
/// order of their bytes.
struct StoredForm: Sendable {
  var codes: OutputTensor
  var scales: OutputTensor
  var tensorScale: OutputTensor?
  var scaleFormat: ScaleFormat
  var tensorScaleIsDivisor = false
  var highNibbleFirst = false
  var scalesAreSwizzled = false
  var isStoredTransposed = false
  /// The rows of codes that are stored, with padding.
  var storedRows: Int

  var outputs: [OutputTensor] { [codes, scales] + (tensorScale.map { [$0] } ?? []) }
}

extension Layout {
  /// How this layout stores a tensor.
  ///
  /// - Throws: ``CheckpointError`` with the code `unsupported` if it cannot.
  func form(of tensor: BlockScaledShape) throws(CheckpointError) -> StoredForm {
    guard schemes.contains(tensor.scheme) || self == .modelopt && tensor.scheme == .fp8Tensor else {
      throw CheckpointError(
        .unsupported,
        "Layout '\(rawValue)' stores \(schemes.map(\.rawValue).joined(separator: ", ")), and "
          + "tensor '\(tensor.name)' is \(tensor.scheme.rawValue).")
    }
    if tensor.isStack { return try stackForm(of: tensor) }
    guard tensor.name.hasSuffix(".weight") else {
      throw CheckpointError(
        .unsupported,
        "Layout '\(rawValue)' stores weights only, and tensor '\(tensor.name)' is none.")
    }
    let module = String(tensor.name.dropLast("weight".count))
    let grid = tensor.grid
    let isPacked = tensor.element == .e2m1
    let byteColumns = isPacked ? tensor.columns / 2 : tensor.columns
    let codeType: DType = isPacked ? .u8 : tensor.element == .e5m2 ? .f8E5M2 : .f8E4M3
    var form = StoredForm(
      codes: OutputTensor(
        name: tensor.name, dtype: codeType, shape: [tensor.rows, byteColumns]),
      scales: OutputTensor(
        name: "\(module)weight_scale", dtype: tensor.scaleFormat.dtype,
        shape: [grid.rows, grid.columns]),
      scaleFormat: tensor.scaleFormat, storedRows: tensor.rows)
    switch self {
    case .modelopt:
      form.storeFloatScalesAsFP32()
      switch tensor.scheme {
      case .fp8Tensor: form.scales.shape = []
      case .fp8Row: form.scales.shape = [tensor.rows]
      case .fp8Block: form.scales.shape = [grid.rows, 1, grid.columns, 1]
      case .nvfp4, .mxfp4, .mxfp8: break
      }
      if tensor.scheme == .nvfp4 {
        form.tensorScale = OutputTensor(name: "\(module)weight_scale_2", dtype: .f32, shape: [])
      }
    case .compressedTensors:
      if isPacked { form.codes.name = "\(module)weight_packed" }
      if tensor.scheme == .fp8Tensor { form.scales.shape = [1] }
      if tensor.scheme == .nvfp4 {
        form.tensorScaleIsDivisor = true
        form.tensorScale = OutputTensor(
          name: "\(module)weight_global_scale", dtype: .f32, shape: [1])
      }
    case .deepseek:
      form.storeFloatScalesAsFP32()
      form.scales.name = "\(module)weight_scale_inv"
    case .torchao:
      form.storeFloatScalesAsFP32()
      form.codes.name = "\(module)_weight_qdata"
      form.scales.name = "\(module)_weight_scale"
      if tensor.scaleFormat == .e8m0 { form.scales.dtype = .f8E8M0 }
      if tensor.scheme == .nvfp4, tensor.hasTensorScale {
        form.tensorScale = OutputTensor(
          name: "\(module)_weight_per_tensor_scale", dtype: .f32, shape: [])
      }
    case .mlx:
      guard !tensor.hasTensorScale else { throw cannotStoreTensorScale(tensor.name) }
      form.codes = OutputTensor(
        name: tensor.name, dtype: .u32, shape: [tensor.rows, byteColumns / 4])
      form.scales.name = "\(module)scales"
      form.scales.dtype = .u8
    case .comfy:
      // Rows are padded to 16 as the consumer's kernels want them; columns are multiples already.
      form.storedRows = (tensor.rows + 15) / 16 * 16
      form.codes.shape = [form.storedRows, byteColumns]
      form.highNibbleFirst = true
      form.scalesAreSwizzled = true
      let tiles = SwizzledScales.tiles(rows: grid.rows, columns: grid.columns)
      form.scales.shape = [tiles.rows * 128, tiles.columns * 4]
      form.tensorScale = OutputTensor(name: "\(module)weight_scale_2", dtype: .f32, shape: [])
    case .gptOSS:
      throw CheckpointError(
        .unsupported,
        "Layout 'gpt-oss' stores fused experts only, and tensor '\(tensor.name)' is a matrix.")
    }
    return form
  }

  /// Fused experts: a stack of matrices under one parameter.
  private func stackForm(of tensor: BlockScaledShape) throws(CheckpointError) -> StoredForm {
    let (experts, rows, columns) = (tensor.matrices, tensor.rows, tensor.columns)
    switch (self, tensor.scheme) {
    case (.gptOSS, .mxfp4):
      return StoredForm(
        codes: OutputTensor(
          name: "\(tensor.name)_blocks", dtype: .u8, shape: [experts, rows, columns / 32, 16]),
        scales: OutputTensor(
          name: "\(tensor.name)_scales", dtype: .u8, shape: [experts, rows, columns / 32]),
        scaleFormat: .e8m0, storedRows: rows)
    case (.modelopt, .nvfp4):
      var form = StoredForm(
        codes: OutputTensor(
          name: tensor.name, dtype: .u8, shape: [experts, columns / 2, rows]),
        scales: OutputTensor(
          name: "\(tensor.name)_weight_scale", dtype: .f8E4M3,
          shape: [experts, columns / 16, rows]),
        tensorScale: OutputTensor(
          name: "\(tensor.name)_weight_scale_2", dtype: .f32, shape: []),
        scaleFormat: .e4m3, storedRows: rows)
      form.isStoredTransposed = true
      return form
    default:
      throw CheckpointError(
        .unsupported,
        "Layout '\(rawValue)' has no form for the fused experts '\(tensor.name)' in "
          + "\(tensor.scheme.rawValue).")
    }
  }

  func cannotStoreTensorScale(_ name: String) -> CheckpointError {
    CheckpointError(
      .unsupported,
      "Layout '\(rawValue)' has no place for the tensor scale of '\(name)'; dequantize it and "
        + "quantize it with a recipe of one level ("
        + Recipe.singleLevel.map { "'\($0.rawValue)'" }.joined(separator: " or ") + ").")
  }
}

extension StoredForm {
  /// Widens BF16 and FP16 scales, which is exact.
  fileprivate mutating func storeFloatScalesAsFP32() {
    guard scaleFormat == .bfloat16 || scaleFormat == .float16 else { return }
    scaleFormat = .float32
    scales.dtype = .f32
  }
}

extension ScaleFormat {
  /// The type that the format is stored as; E8M0 is stored as bytes by all layouts but torchao's.
  var dtype: DType {
    switch self {
    case .float32: .f32
    case .bfloat16: .bf16
    case .float16: .f16
    case .e4m3: .f8E4M3
    case .e8m0: .u8
    }
  }
}
