// SPDX-License-Identifier: Apache-2.0

import Minifloat

/// Turns codes and scales back into values: `code × scale × tensor scale` in FP32, from the left.
package struct BlockDequantizer: Sendable {
  package let element: ElementFormat
  package let scaleFormat: ScaleFormat
  package let blocking: Blocking
  package let tensorScale: TensorScale?
  /// The value of every code.
  ///
  /// A load is quicker than arithmetic on subnormals.
  private let table: [Float]

  package init(
    element: ElementFormat, scaleFormat: ScaleFormat, blocking: Blocking, tensorScale: TensorScale?
  ) {
    self.element = element
    self.scaleFormat = scaleFormat
    self.blocking = blocking
    self.tensorScale = tensorScale
    table =
      switch element {
      case .e4m3: (0..<256).map { Float(Float8E4M3(bitPattern: UInt8($0))) }
      case .e5m2: (0..<256).map { Float(Float8E5M2(bitPattern: UInt8($0))) }
      case .e2m1: (0..<16).map { Float(Float4E2M1(bitPattern: UInt8($0))) }
      }
  }

  /// Decodes a panel of whole rows that begins on a block boundary.
  ///
  /// - Parameters:
  ///   - codes: The codes, row by row.
  ///   - scales: The scales of the panel's grid of blocks.
  ///   - values: Receives `rows × columns` values.
  package func dequantize(
    codes: UnsafeRawBufferPointer, scales: UnsafeRawBufferPointer, rows: Int, columns: Int,
    into values: UnsafeMutableBufferPointer<Float>
  ) {
    let grid = blocking.grid(rows: rows, columns: columns)
    let rowBytes = element.byteCount(columns)
    precondition(
      codes.count >= rows * rowBytes && values.count >= rows * columns
        && scales.count >= grid.rows * grid.columns * scaleFormat.byteCount,
      "A panel's buffers are smaller than its shape")
    // All indices below stay inside the extents just checked.
    unsafe table.withUnsafeBufferPointer { table in
      for row in 0..<rows {
        let scaleRow = row / blocking.rows * grid.columns
        for blockColumn in 0..<grid.columns {
          let first = blockColumn * (blocking.columns == .max ? 0 : blocking.columns)
          let end = blocking.columns == .max ? columns : min(columns, first + blocking.columns)
          let scale = unsafe loadScale(scales, scaleRow + blockColumn)
          for column in first..<end {
            let code =
              if element.bitWidth == 8 {
                unsafe codes[row * rowBytes + column]
              } else {
                unsafe codes[row * rowBytes + column / 2] >> (column & 1 == 0 ? 0 : 4) & 0x0F
              }
            let value = unsafe table[Int(code)] * scale
            unsafe values[row * columns + column] = tensorScale?.applied(to: value) ?? value
          }
        }
      }
    }
  }

  private func loadScale(_ scales: UnsafeRawBufferPointer, _ index: Int) -> Float {
    // The caller stays inside the grid, for which the buffer's size was checked.
    let code: UInt32 =
      switch scaleFormat.byteCount {
      case 4: unsafe scales.loadUnaligned(fromByteOffset: index * 4, as: UInt32.self)
      case 2: unsafe UInt32(scales.loadUnaligned(fromByteOffset: index * 2, as: UInt16.self))
      default: unsafe UInt32(scales[index])
      }
    return scaleFormat.value(ofCode: code)
  }
}

extension BlockScaledMatrix {
  /// The values, row by row.
  ///
  /// - Complexity: O(rows × columns).
  public func dequantized() -> [Float] {
    let dequantizer = BlockDequantizer(
      element: Element.elementFormat, scaleFormat: Scale.scaleFormat, blocking: blocking,
      tensorScale: tensorScale)
    // Buffers of arrays that are alive during the calls and sized for the matrix.
    return unsafe Array(unsafeUninitializedCapacity: rows * columns) { values, count in
      unsafe codes.withUnsafeBytes { codes in
        unsafe scales.withUnsafeBytes { scales in
          unsafe dequantizer.dequantize(
            codes: codes, scales: scales, rows: rows, columns: columns, into: values)
        }
      }
      count = rows * columns
    }
  }
}
