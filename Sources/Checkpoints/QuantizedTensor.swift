// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Safetensors

/// A tensor in a file.
struct StoredTensor: Sendable {
  var info: TensorInfo
  var file: SafetensorsFile
  var fileIndex: Int
}

/// A block-scaled tensor of a checkpoint: the stored parts, and how to read them.
///
/// Its shape is that of a stack of matrices; a weight of a linear layer is a stack of one.
struct QuantizedTensor: Sendable {
  /// The name of the parameter that the parts stand for, such as `model.layers.0.mlp.up_proj.weight`.
  var name: String
  /// Nil for FP8 in blocks that no scheme has.
  var scheme: Scheme?
  var element: ElementFormat
  var scaleFormat: ScaleFormat
  var blocking: Blocking
  /// The number of matrices, and the rows and columns of each.
  var matrices: Int
  var rows: Int
  var columns: Int
  var codes: StoredTensor
  var scales: StoredTensor
  var tensorScale: StoredTensor?
  var tensorScaleIsDivisor = false
  /// Whether the code of the even column is in the high half of its byte.
  var highNibbleFirst = false
  /// Whether the scales are swizzled in tiles of 128x4.
  var scalesAreSwizzled = false
  /// Whether codes and scales are stored with columns before rows (fused experts of ModelOpt).
  var isStoredTransposed = false
  /// Tensors that belong to the weight and travel with it, such as `input_scale`.
  var companions: [StoredTensor] = []

  /// The shape of the parameter that the tensor stands for.
  var shape: [Int] { isStack ? [matrices, rows, columns] : [rows, columns] }

  /// Whether the parameter has three dimensions.
  var isStack: Bool { codes.info.shape.count > 2 }

  /// The grid of blocks of one matrix.
  var grid: (rows: Int, columns: Int) { blocking.grid(rows: rows, columns: columns) }

  /// All stored bytes.
  var byteCount: Int {
    codes.info.byteCount + scales.info.byteCount + (tensorScale?.info.byteCount ?? 0)
  }

  /// A name for the format of the tensor.
  var formatName: String { scheme?.rawValue ?? "\(element.rawValue) \(blocking)" }
}

/// One parameter of a checkpoint.
enum Parameter: Sendable {
  case plain(StoredTensor)
  case quantized(QuantizedTensor)

  var name: String {
    switch self {
    case .plain(let tensor): tensor.info.name
    case .quantized(let tensor): tensor.name
    }
  }

  var shape: [Int] {
    switch self {
    case .plain(let tensor): tensor.info.shape
    case .quantized(let tensor): tensor.shape
    }
  }

  var byteCount: Int {
    switch self {
    case .plain(let tensor): tensor.info.byteCount
    case .quantized(let tensor): tensor.byteCount
    }
  }

  /// The file that holds the parameter, or its codes.
  var fileIndex: Int {
    switch self {
    case .plain(let tensor): tensor.fileIndex
    case .quantized(let tensor): tensor.codes.fileIndex
    }
  }
}

extension StoredTensor {
  /// A sentence's subject: the file and the tensor.
  var place: String { "\(file.path): tensor '\(info.name)'" }

  /// The value of a tensor of one FP32 number.
  func float() throws -> Float {
    guard info.dtype == .f32, info.elementCount == 1 else {
      throw CheckpointError(
        .malformedTensor,
        "\(place) should be one F32 number, not \(info.dtype.rawValue) of shape \(info.shape).")
    }
    defer { extendLifetime(file) }
    // One aligned or unaligned FP32 number, whose presence was just checked.
    return unsafe file.bytes(of: info).loadUnaligned(as: Float.self)
  }
}

extension QuantizedTensor {
  /// The tensor scale as stored, or nil if there is none.
  func readTensorScale() throws -> TensorScale? {
    guard let tensorScale else { return nil }
    return TensorScale(try tensorScale.float(), isDivisor: tensorScaleIsDivisor)
  }

  func dequantizer() throws -> BlockDequantizer {
    BlockDequantizer(
      element: element, scaleFormat: scaleFormat, blocking: blocking,
      tensorScale: try readTensorScale())
  }
}
