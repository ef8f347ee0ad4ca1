// SPDX-License-Identifier: Apache-2.0

extension BlockScaledMatrix {
  /// The transpose, with the same codes and scales.
  ///
  /// Nothing is rounded. Square blocks (128x128, 16x16) keep their shape, so the result can take the
  /// place of the matrix in a product; 1x128 blocks become 128x1.
  ///
  /// - Complexity: O(rows × columns).
  public func transposed() -> Self {
    let format = Element.elementFormat
    let oldRowBytes = format.byteCount(columns)
    let newRowBytes = format.byteCount(rows)
    var newCodes = [UInt8](repeating: 0, count: columns * newRowBytes)
    for row in 0..<rows {
      for column in 0..<columns {
        if format.bitWidth == 8 {
          newCodes[column * newRowBytes + row] = codes[row * oldRowBytes + column]
        } else {
          let byte = codes[row * oldRowBytes + column / 2]
          let nibble = column & 1 == 0 ? byte & 0x0F : byte >> 4
          newCodes[column * newRowBytes + row / 2] |= row & 1 == 0 ? nibble : nibble << 4
        }
      }
    }
    let grid = blocking.grid(rows: rows, columns: columns)
    do {
      return try Self(
        rows: columns, columns: rows, blocking: blocking.transposed, codes: newCodes,
        scales: BlockScale.transposed(scales, rows: grid.rows, columns: grid.columns),
        tensorScale: tensorScale)
    } catch {
      preconditionFailure("A transpose has as many codes and scales as its matrix: \(error)")
    }
  }
}
