// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
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
    let reader = PanelReader(tensor: source)
    let dequantizer = PanelDequantizer(
      try source.dequantizer(), to: format, on: CPUBackend(threads: context.jobs))
    let width = format.byteCount
    let panels = reader.panels()
    // Values that were written; their memory is used again.
    let idle = Guarded<[[UInt8]]>([])
    let rowBytes = source.columns * width
    let queue = WriteQueue<Values>(threads: context.jobs) { panel in
      try context.output.write(
        panel.bytes, to: tensor,
        at: (panel.matrix * source.rows + panel.rows.lowerBound) * rowBytes)
      context.advance(source.byteCount / panels.count)
      idle.withLock { $0.append(panel.bytes) }
    }
    try parallelFor(panels.count, threads: context.jobs) { index in
      let (matrix, rows) = panels[index]
      let panel = reader.panel(matrix: matrix, rows: rows)
      var bytes = idle.withLock { $0.popLast() } ?? []
      bytes.resize(rows.count * rowBytes)
      // Arrays that are alive during the calls, of the sizes that the panel's shape gives.
      unsafe bytes.withUnsafeMutableBytes { values in
        unsafe panel.codes.withUnsafeBytes { codes in
          unsafe panel.scales.withUnsafeBytes { scales in
            unsafe dequantizer.dequantize(
              codes: codes, scales: scales, rows: rows.count, columns: source.columns,
              into: values)
          }
        }
      }
      let values = Values(matrix: matrix, rows: rows, bytes: bytes)
      guard source.isStack else { return try queue.write(values) }
      try writeTransposed(values, context)
      context.advance(source.byteCount / panels.count)
      idle.withLock { $0.append(bytes) }
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

  /// The values of some rows.
  private struct Values: Sendable {
    var matrix: Int
    var rows: Range<Int>
    var bytes: [UInt8]
  }

  /// Writes a panel of a stack: one row of the output for each input, in which the panel's outputs lie next to
  /// each other.
  private func writeTransposed(_ panel: Values, _ context: ConversionContext) throws {
    let width = format.byteCount
    let first = panel.matrix * source.columns
    var row = [UInt8](repeating: 0, count: panel.rows.count * width)
    for column in 0..<source.columns {
      for place in 0..<panel.rows.count {
        for byte in 0..<width {
          row[place * width + byte] = panel.bytes[(place * source.columns + column) * width + byte]
        }
      }
      try context.output.write(
        row, to: tensor,
        at: ((first + column) * source.rows + panel.rows.lowerBound) * width)
    }
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
}
