// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import Safetensors

/// Decodes a block-scaled tensor to values.
struct DequantizeUnit: ConversionUnit {
  let source: QuantizedTensor
  let format: SourceFormat

  var name: String { source.name }
  /// Fused experts are stored as [experts, inputs, outputs] when they are not quantized.
  var tensor: OutputTensor {
    OutputTensor(
      name: name, dtype: format.dtype,
      shape: source.isStack ? [source.matrices, source.columns, source.rows] : source.shape)
  }
  var outputs: [(file: Int, tensor: OutputTensor)] { [(source.codes.fileIndex, tensor)] }
  var byteCount: Int { source.byteCount }

  func run(_ context: ConversionContext) throws -> [TensorReport] {
    let values = try ValueReader(source)
    let width = format.byteCount
    let panels = values.panels
    try parallelFor(panels.count, jobs: context.jobs) { index in
      let (matrix, rows) = panels[index]
      let bytes = format.bytes(of: values.values(matrix: matrix, rows: rows))
      let matrixBytes = source.rows * source.columns * width
      guard source.isStack else {
        try context.output.write(
          bytes, to: tensor, at: matrix * matrixBytes + rows.lowerBound * source.columns * width)
        context.advance(source.byteCount / panels.count)
        return
      }
      // One row of the output for each input: the panel's outputs lie next to each other in it.
      var row = [UInt8](repeating: 0, count: rows.count * width)
      for column in 0..<source.columns {
        for place in 0..<rows.count {
          for byte in 0..<width {
            row[place * width + byte] = bytes[(place * source.columns + column) * width + byte]
          }
        }
        try context.output.write(
          row, to: tensor,
          at: matrix * matrixBytes + (column * source.rows + rows.lowerBound) * width)
      }
      context.advance(source.byteCount / panels.count)
    }
    source.codes.file.discard(of: source.codes.info)
    return [
      TensorReport(
        name: name, action: .dequantized, format: format.dtype.rawValue, shape: tensor.shape,
        bytesBefore: source.byteCount,
        bytesAfter: source.matrices * source.rows * source.columns * width,
        notes: source.companions.map { "dropped \($0.info.name)" })
    ]
  }
}

extension SourceFormat {
  var dtype: DType {
    switch self {
    case .float32: .f32
    case .bfloat16: .bf16
    case .float16: .f16
    }
  }

  /// Values rounded to this format, as little-endian bytes.
  func bytes(of values: [Float]) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(values.count * byteCount)
    for value in values {
      switch self {
      case .float32:
        let bits = value.bitPattern
        result.append(UInt8(truncatingIfNeeded: bits))
        result.append(UInt8(truncatingIfNeeded: bits >> 8))
        result.append(UInt8(truncatingIfNeeded: bits >> 16))
        result.append(UInt8(truncatingIfNeeded: bits >> 24))
      case .bfloat16:
        // Round half to even in the upper half; NaN stays one.
        let bits = value.bitPattern
        let upper =
          value.isNaN ? bits >> 16 | 0x40 : (bits &+ 0x7FFF &+ (bits >> 16 & 1)) >> 16
        result.append(UInt8(truncatingIfNeeded: upper))
        result.append(UInt8(truncatingIfNeeded: upper >> 8))
      case .float16:
        let bits = Float16(value).bitPattern
        result.append(UInt8(truncatingIfNeeded: bits))
        result.append(UInt8(truncatingIfNeeded: bits >> 8))
      }
    }
    return result
  }
}
