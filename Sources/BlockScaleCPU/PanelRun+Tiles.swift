// SPDX-License-Identifier: Apache-2.0

import BlockScale
import _BlockScaleShims

extension PanelRun {
  /// Blocks of one row within some rows and columns; these begin on a block boundary.
  mutating func quantizeRows(_ rows: Range<Int>, _ columns: Range<Int>) {
    let blocks = columns.lowerBound / block..<(columns.upperBound + block - 1) / block
    workspace.reserve(blocks: blocks.count)
    // While one row is encoded, the memory of the next one is on its way.
    kernelRule.ahead = UInt32(truncatingIfNeeded: valueRowBytes)
    // Constants, so that the closure below does not hold a copy of all this.
    let (block, columnCount) = (block, panel.columns)
    for row in rows {
      unsafe kernels.functions.block_maxima(
        source.byteCount, values(row, columns.lowerBound), columns.count, block, workspace.maxima)
      let erased = unsafe chooseAll(
        blocks.count, scale: row * blockCount + blocks.lowerBound, in: panel.scales
      ) {
        let first = (blocks.lowerBound + $0) * block
        return (row..<row + 1, first..<min(columnCount, first + block))
      }
      encode(row, columns.lowerBound, count: columns.count, block: block, at: 0)
      for index in erased { erase(row, self.columns(blocks.lowerBound + index)) }
    }
  }

  /// The columns of the matrix that are quantized as rows of the transpose at a time, so that their
  /// values stay in the first level of the cache.
  static let turnedColumns = 32

  /// One column of 8-bit blocks of the transpose, which are as long as there are rows, for some of its
  /// rows, which are columns here.
  ///
  /// - Parameters:
  ///   - codes: Receives a block of codes for each column, one after the other.
  ///   - turned: Memory for the values of `turnedColumns` blocks.
  func quantizeTransposed(
    _ rows: Range<Int>, _ columns: Range<Int>, codes: UnsafeMutablePointer<UInt8>,
    turned: UnsafeMutableRawPointer, otherScales: UnsafeMutableRawBufferPointer
  ) {
    let width = source.byteCount
    let length = blocking.columns
    workspace.reserve(blocks: Self.turnedColumns)
    // The transpose's blocks along its rows are as many as there are strips of rows here.
    let otherCount = (panel.rows + length - 1) / length
    let otherColumn = rows.lowerBound / length
    var rule = kernelRule
    rule.ahead = 0
    if rows.count < length {
      // A block that lacks rows is filled up with zeros, which change no maximum.
      unsafe turned.initializeMemory(
        as: UInt8.self, repeating: 0, count: Self.turnedColumns * length * width)
    }
    for first in stride(from: columns.lowerBound, to: columns.upperBound, by: Self.turnedColumns) {
      let some = first..<min(columns.upperBound, first + Self.turnedColumns)
      let count = some.count * length
      unsafe kernels.functions.transpose_values(
        width, values(rows.lowerBound, first), valueRowBytes, rows.count, some.count, turned,
        length * width)
      unsafe kernels.functions.block_maxima(width, turned, count, length, workspace.maxima)
      let erased = unsafe chooseAll(
        some.count, scale: first * otherCount + otherColumn, step: otherCount, in: otherScales
      ) { (rows, first + $0..<first + $0 + 1) }
      let runs = unsafe codes + (first - columns.lowerBound) * length
      unsafe kernels.functions.encode(&rule, turned, count, length, workspace.factors, runs)
      for index in erased {
        unsafe (runs + index * length).update(repeating: 0, count: length)
      }
    }
  }

  /// Transposes bytes by way of a small tile, since rows of the result may lie a power of two apart
  /// and then fight for the same lines of the cache.
  ///
  /// - Parameter isStreamed: Whether the result goes past the caches.
  static func transpose(
    _ bytes: UnsafePointer<UInt8>, stride: Int, rows: Int, columns: Int,
    to result: UnsafeMutablePointer<UInt8>, stride resultStride: Int, isStreamed: Bool,
    _ kernels: Kernels
  ) {
    let (tileRows, tileColumns) = (512, 64)
    unsafe withUnsafeTemporaryAllocation(byteCount: tileRows * tileColumns, alignment: 64) { tile in
      let tile = unsafe tile.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self)
      for row in Swift.stride(from: 0, to: rows, by: tileRows) {
        let height = min(tileRows, rows - row)
        for column in Swift.stride(from: 0, to: columns, by: tileColumns) {
          let width = min(tileColumns, columns - column)
          unsafe kernels.functions.transpose_bytes(
            bytes + row * stride + column, stride, height, width, tile, tileRows)
          unsafe kernels.functions.join_runs(
            tile, tileRows, 0, width, height, isStreamed ? 1 : 0,
            result + column * resultStride + row, resultStride)
        }
      }
    }
  }
}
