// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
import Minifloat
import Safetensors

/// Reads the values of a parameter a few rows at a time, decoding block-scaled ones.
struct ValueReader: Sendable {
  private enum Source {
    case plain(StoredTensor, width: Int)
    case quantized(PanelReader, PanelDequantizer)
  }

  private let source: Source
  /// The parameter's matrices; a vector is a matrix of one row.
  let matrices: Int
  let rows: Int
  let columns: Int
  /// The panels to read in, about a million values each.
  let panels: [(matrix: Int, rows: Range<Int>)]

  init(_ tensor: QuantizedTensor) throws {
    let reader = PanelReader(tensor: tensor)
    // Each thread decodes panels of its own.
    source = .quantized(
      reader,
      PanelDequantizer(try tensor.dequantizer(), to: .float32, on: CPUBackend(threads: 1)))
    (matrices, rows, columns) = (tensor.matrices, tensor.rows, tensor.columns)
    panels = reader.panels()
  }

  /// - Returns: nil for types that are no numbers of a common kind (complex, 6-bit).
  init?(_ tensor: StoredTensor) {
    switch tensor.info.dtype {
    case .bf16, .f16, .f32, .f64, .f8E4M3, .f8E5M2, .f8E8M0, .u8, .i8, .bool, .i16, .u16, .i32,
      .u32, .i64, .u64:
      break
    case .f4, .f6E2M3, .f6E3M2, .f8E4M3FNUZ, .f8E5M2FNUZ, .c64: return nil
    }
    let shape = tensor.info.shape
    source = .plain(tensor, width: tensor.info.dtype.bitWidth / 8)
    matrices = 1
    columns = shape.last ?? 1
    rows = columns == 0 ? 0 : tensor.info.elementCount / columns
    panels = splitIntoPanels(
      matrices: 1, rows: rows, rowBytes: max(columns, 1), unit: 1, bytes: 1 << 20)
  }

  init?(_ parameter: Parameter) throws {
    switch parameter {
    case .plain(let tensor):
      guard let reader = ValueReader(tensor) else { return nil }
      self = reader
    case .quantized(let tensor): try self.init(tensor)
    }
  }

  /// The values of some rows.
  func values(matrix: Int, rows: Range<Int>) -> [Float] {
    switch source {
    case .quantized(let reader, let dequantizer):
      let panel = reader.panel(matrix: matrix, rows: rows)
      let count = rows.count * columns
      // Arrays that are alive during the calls, of the sizes that the panel's shape gives.
      return unsafe Array(unsafeUninitializedCapacity: count) { values, initialized in
        unsafe panel.codes.withUnsafeBytes { codes in
          unsafe panel.scales.withUnsafeBytes { scales in
            unsafe dequantizer.dequantize(
              codes: codes, scales: scales, rows: rows.count, columns: columns,
              into: UnsafeMutableRawBufferPointer(values))
          }
        }
        initialized = count
      }
    case .plain(let tensor, let width):
      defer { extendLifetime(tensor.file) }
      let range = rows.lowerBound * columns * width..<rows.upperBound * columns * width
      // The file is alive, and the range is checked.
      return unsafe tensor.info.dtype.values(tensor.file.bytes(of: tensor.info, in: range))
    }
  }

  /// Lets the pages of a parameter go.
  func discard() {
    switch source {
    case .quantized(let reader, _): reader.tensor.codes.file.discard(of: reader.tensor.codes.info)
    case .plain(let tensor, _): tensor.file.discard(of: tensor.info)
    }
  }
}

extension DType {
  /// Elements as floats; 64-bit numbers are rounded.
  fileprivate func values(_ bytes: UnsafeRawBufferPointer) -> [Float] {
    func load<Stored>(_ type: Stored.Type, _ value: (Stored) -> Float) -> [Float] {
      stride(from: 0, to: bytes.count, by: MemoryLayout<Stored>.size).map {
        // Inside the buffer, which holds whole elements.
        value(unsafe bytes.loadUnaligned(fromByteOffset: $0, as: type))
      }
    }
    return switch self {
    case .bf16: load(UInt16.self) { Float(bitPattern: UInt32($0) << 16) }
    case .f16: load(UInt16.self) { Float(Float16(bitPattern: $0)) }
    case .f32: load(UInt32.self) { Float(bitPattern: $0) }
    case .f64: load(UInt64.self) { Float(Double(bitPattern: $0)) }
    case .f8E4M3: load(UInt8.self) { Float(Float8E4M3(bitPattern: $0)) }
    case .f8E5M2: load(UInt8.self) { Float(Float8E5M2(bitPattern: $0)) }
    case .f8E8M0: load(UInt8.self) { Float(Float8E8M0(bitPattern: $0)) }
    case .u8, .bool: load(UInt8.self) { Float($0) }
    case .i8: load(Int8.self) { Float($0) }
    case .u16: load(UInt16.self) { Float($0) }
    case .i16: load(Int16.self) { Float($0) }
    case .u32: load(UInt32.self) { Float($0) }
    case .i32: load(Int32.self) { Float($0) }
    case .u64: load(UInt64.self) { Float($0) }
    case .i64: load(Int64.self) { Float($0) }
    case .f4, .f6E2M3, .f6E3M2, .f8E4M3FNUZ, .f8E5M2FNUZ, .c64:
      preconditionFailure("\(rawValue) has no values of a common kind")
    }
  }
}
