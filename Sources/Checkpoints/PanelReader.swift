// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Safetensors

/// Some rows of one block-scaled matrix in the order that BlockScale computes in: rows of codes with
/// the even column in the low nibble, and row-major scales.
struct CodePanel: Sendable {
  var matrix: Int
  var rows: Range<Int>
  var codes: [UInt8]
  var scales: [UInt8]
}

extension [UInt8] {
  /// Makes the array as long as needed; its bytes are to be written over.
  mutating func resize(_ byteCount: Int) {
    if count > byteCount {
      removeLast(count - byteCount)
    } else if count < byteCount {
      append(contentsOf: repeatElement(0, count: byteCount - count))
    }
  }
}

/// Reads panels of a stored tensor, whatever the order of its bytes.
struct PanelReader: Sendable {
  let tensor: QuantizedTensor

  /// The panels that a tensor is worked on in: whole matrices if it is stored transposed, else about
  /// `bytes` bytes of codes each, on block boundaries.
  func panels(bytes: Int = 1 << 20) -> [(matrix: Int, rows: Range<Int>)] {
    let unit = tensor.scalesAreSwizzled ? 128 : tensor.blocking.panelUnit(rows: tensor.rows)
    return splitIntoPanels(
      matrices: tensor.matrices, rows: tensor.rows,
      rowBytes: tensor.element.byteCount(tensor.columns), unit: unit, bytes: bytes,
      whole: tensor.isStoredTransposed)
  }

  func panel(matrix: Int, rows: Range<Int>) -> CodePanel {
    CodePanel(
      matrix: matrix, rows: rows, codes: readCodes(matrix, rows), scales: readScales(matrix, rows))
  }

  private func readCodes(_ matrix: Int, _ rows: Range<Int>) -> [UInt8] {
    let rowBytes = tensor.element.byteCount(tensor.columns)
    let file = tensor.codes.file
    defer { extendLifetime(file) }
    let matrixBytes = tensor.codes.info.byteCount / tensor.matrices
    let start = matrix * matrixBytes
    if tensor.isStoredTransposed {
      precondition(rows == 0..<tensor.rows, "A transposed matrix is read whole")
      // The file is alive, and the range is checked.
      return unsafe transposedBytes(
        file.bytes(of: tensor.codes.info, in: start..<start + matrixBytes), rows: rowBytes,
        columns: tensor.rows)
    }
    // The file is alive during the copy, and the range is checked.
    var codes = unsafe Array(
      file.bytes(
        of: tensor.codes.info,
        in: start + rows.lowerBound * rowBytes..<start + rows.upperBound * rowBytes))
    if tensor.highNibbleFirst { swapNibbles(&codes) }
    return codes
  }

  private func readScales(_ matrix: Int, _ rows: Range<Int>) -> [UInt8] {
    let grid = tensor.grid
    let width = tensor.scaleFormat.byteCount
    let file = tensor.scales.file
    defer { extendLifetime(file) }
    let matrixBytes = tensor.scales.info.byteCount / tensor.matrices
    let start = matrix * matrixBytes
    if tensor.isStoredTransposed {
      // The file is alive, and the range is checked.
      return unsafe transposedBytes(
        file.bytes(of: tensor.scales.info, in: start..<start + matrixBytes), rows: grid.columns,
        columns: grid.rows)
    }
    if tensor.scalesAreSwizzled {
      // The file is alive, and the range is checked.
      let swizzled = unsafe file.bytes(of: tensor.scales.info, in: start..<start + matrixBytes)
      precondition(
        swizzled.count >= SwizzledScales.byteCount(rows: grid.rows, columns: grid.columns),
        "The scales are fewer than their tiles")
      let tileColumns = SwizzledScales.tiles(rows: grid.rows, columns: grid.columns).columns
      var linear: [UInt8] = []
      linear.reserveCapacity(rows.count * grid.columns)
      for row in rows {
        for column in 0..<grid.columns {
          // Inside the padded tiles, whose number was just checked.
          linear.append(
            unsafe swizzled[
              SwizzledScales.offset(row: row, column: column, tileColumns: tileColumns)])
        }
      }
      return linear
    }
    let blockRows = blockRowRange(rows, tensor.blocking)
    // The file is alive during the copy, and the range is checked.
    return unsafe Array(
      file.bytes(
        of: tensor.scales.info,
        in: start + blockRows.lowerBound * grid.columns * width..<start
          + blockRows.upperBound * grid.columns * width))
  }
}

extension Blocking {
  /// The number of rows that a panel must be a multiple of to hold whole blocks.
  ///
  /// Blocks that cover all rows have their scale from elsewhere, so that any panel will do.
  func panelUnit(rows: Int) -> Int { self.rows == .max ? 1 : min(self.rows, rows) }
}

/// The rows of blocks that cover a range of rows that begins on a block boundary.
func blockRowRange(_ rows: Range<Int>, _ blocking: Blocking) -> Range<Int> {
  guard blocking.rows != .max else { return 0..<1 }
  return rows.lowerBound / blocking.rows..<(rows.upperBound + blocking.rows - 1) / blocking.rows
}

/// Splits a stack of matrices into panels of about `bytes` bytes whose first rows are multiples of
/// `unit`.
func splitIntoPanels(
  matrices: Int, rows: Int, rowBytes: Int, unit: Int, bytes: Int, whole: Bool = false
) -> [(matrix: Int, rows: Range<Int>)] {
  let perPanel = whole ? rows : max(unit, bytes / max(rowBytes, 1) / unit * unit)
  return (0..<matrices).flatMap { matrix in
    stride(from: 0, to: rows, by: perPanel).map { (matrix, $0..<min(rows, $0 + perPanel)) }
  }
}

/// The transpose of a row-major matrix of bytes.
func transposedBytes(_ bytes: UnsafeRawBufferPointer, rows: Int, columns: Int) -> [UInt8] {
  precondition(bytes.count == rows * columns, "The matrix has another size than its bytes")
  var result = [UInt8](repeating: 0, count: bytes.count)
  // Tiles keep both sides in the cache; all indices are below rows × columns.
  for rowTile in stride(from: 0, to: rows, by: 64) {
    for column in 0..<columns {
      for row in rowTile..<min(rows, rowTile + 64) {
        result[column * rows + row] = unsafe bytes[row * columns + column]
      }
    }
  }
  return result
}

/// Exchanges the halves of every byte.
func swapNibbles(_ bytes: inout [UInt8]) {
  for index in bytes.indices { bytes[index] = bytes[index] << 4 | bytes[index] >> 4 }
}
