// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
import Minifloat
import Safetensors
import Synchronization

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
    let idle = Mutex<[[UInt8]]>([])
    try parallelFor(panels.count, threads: context.jobs) { index in
      let (matrix, rows) = panels[index]
      let panel = reader.panel(matrix: matrix, rows: rows)
      var bytes = idle.withLock { $0.popLast() } ?? []
      bytes.resize(rows.count * source.columns * width)
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
      defer { idle.withLock { $0.append(bytes) } }
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
}
