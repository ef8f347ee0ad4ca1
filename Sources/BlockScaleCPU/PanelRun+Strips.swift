// SPDX-License-Identifier: Apache-2.0

import BlockScale
import _BlockScaleShims

/// Where what belongs to a strip begins in its memory, each at a multiple of 64 bytes.
struct StripLayout {
  /// The rows of a strip, which are also the values of its blocks.
  static let rowCount = 128

  private let pitch, rows, columnMaxima, columnMinima, rowMinima, rowRests, columnRests: Int
  let byteCount: Int

  /// - Parameter columns: A multiple of 128.
  init(columns: Int) {
    // Rows a power of two apart would fight for the same lines of the cache.
    pitch = columns * 2 + 64
    rows = 0
    columnMaxima = rows + Self.rowCount * pitch
    columnMinima = columnMaxima + columns * 2
    rowMinima = columnMinima + columns * 2
    // One for 128 columns of each of two rows.
    rowRests = rowMinima + (columns / 32 + 63) / 64 * 64
    columnRests = rowRests + 2 * 64
    byteCount = columnRests + columns * 64
  }

  /// A strip in memory of `byteCount` bytes, which begins at a multiple of 64.
  ///
  /// - Parameter isStreamed: Whether codes go past the caches.
  func strip(in memory: UnsafeMutableRawPointer, isStreamed: Bool) -> bs_strip_t {
    // Parts follow each other inside the memory.
    unsafe bs_strip_t(
      rows: (memory + rows).assumingMemoryBound(to: UInt8.self), pitch: pitch,
      column_maxima: (memory + columnMaxima).assumingMemoryBound(to: UInt16.self),
      column_minima: (memory + columnMinima).assumingMemoryBound(to: UInt16.self),
      row_minima: (memory + rowMinima).assumingMemoryBound(to: UInt16.self),
      row_rests: (memory + rowRests).assumingMemoryBound(to: UInt8.self),
      column_rests: (memory + columnRests).assumingMemoryBound(to: UInt8.self),
      is_streamed: isStreamed ? 1 : 0)
  }
}

extension BlockQuantizer.Panel {
  /// Whether the codes of both orientations go past the caches: the second level holds fewer.
  var isStreamed: Bool { rows * columns >= 1 << 22 }
}

extension PanelRun {
  /// Whether a tier's kernels make both orientations of such values from one read.
  static func hasStrips(_ quantizer: PanelQuantizer, rows: Int, columns: Int) -> Bool {
    guard let kernels = quantizer.kernels, unsafe kernels.functions.scan_rows != nil else {
      return false
    }
    return quantizer.source == .bfloat16 && quantizer.rule.element.format == .e4m3
      && quantizer.blocking == Blocking(rows: 1, columns: StripLayout.rowCount)
      && rows % StripLayout.rowCount == 0 && columns % StripLayout.rowCount == 0
  }

  /// Whole strips of some columns, in both orientations; `hasStrips` must hold.
  ///
  /// - Parameters:
  ///   - rows: A multiple of 128, as are the columns.
  ///   - otherCodes: The codes of the transpose.
  mutating func quantizeStrips(
    _ rows: Range<Int>, _ columns: Range<Int>, otherCodes: UnsafeMutableRawBufferPointer,
    otherScales: UnsafeMutableRawBufferPointer
  ) {
    guard let scan = unsafe kernels.functions.scan_rows,
      let encodeRows = unsafe kernels.functions.encode_rows,
      let encodeColumns = unsafe kernels.functions.encode_columns,
      let finish = unsafe kernels.functions.finish_columns
    else { preconditionFailure("The tier has no kernels for strips") }
    let width = columns.count
    let blocks = width / block
    let layout = StripLayout(columns: width)
    workspace.reserve(scratch: layout.byteCount)
    workspace.reserve(blocks: max(2 * blocks, Self.turnedColumns))
    // The memory was just reserved.
    var strip = unsafe layout.strip(in: workspace.scratch, isStreamed: panel.isStreamed)
    let stride = panel.rows
    let others = unsafe otherCodes.baseAddress.unsafelyUnwrapped
      .assumingMemoryBound(to: UInt8.self)
    let otherCount = panel.rows / block
    kernelRule.ahead = 0
    // Constants, so that the closures below hold no copy of all this.
    let (block, blockCount) = (block, blockCount)
    for first in Swift.stride(from: rows.lowerBound, to: rows.upperBound, by: StripLayout.rowCount)
    {
      for index in Swift.stride(from: 0, to: StripLayout.rowCount, by: 2) {
        let row = first + index
        unsafe scan(
          &strip, values(row, columns.lowerBound), valueRowBytes, index, width, workspace.maxima)
        for second in 0..<2 {
          let row = row + second
          // Blocks to be erased are known by their factors.
          _ = unsafe chooseAll(
            blocks, at: second * blocks,
            scale: row * blockCount + columns.lowerBound / block, in: panel.scales
          ) {
            let first = columns.lowerBound + $0 * block
            return (row..<row + 1, first..<first + block)
          }
        }
        unsafe encodeRows(
          &kernelRule, &strip, index, width, workspace.factors, codes(row, columns.lowerBound),
          panel.columns)
      }
      for done in Swift.stride(from: 0, to: width, by: Self.turnedColumns) {
        let column = columns.lowerBound + done
        for index in 0..<Self.turnedColumns {
          unsafe workspace.maxima[index] = UInt32(strip.column_maxima[done + index])
        }
        _ = unsafe chooseAll(
          Self.turnedColumns, scale: column * otherCount + first / block, step: otherCount,
          in: otherScales
        ) { (first..<first + StripLayout.rowCount, column + $0..<column + $0 + 1) }
        unsafe encodeColumns(
          &kernelRule, &strip, done, Self.turnedColumns, workspace.factors,
          others + column * stride + first, stride, first == rows.lowerBound ? 1 : 0)
      }
    }
    unsafe finish(
      &strip, width, others + columns.lowerBound * stride + rows.upperBound, stride)
  }
}
