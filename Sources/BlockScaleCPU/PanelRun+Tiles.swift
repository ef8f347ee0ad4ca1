// SPDX-License-Identifier: Apache-2.0

import BlockScale
import _BlockScaleShims

extension PanelRun {
  /// Blocks of one row within some rows and columns; these begin on a block boundary.
  mutating func quantizeRows(_ rows: Range<Int>, _ columns: Range<Int>) {
    let blocks = columns.lowerBound / block..<(columns.upperBound + block - 1) / block
    workspace.reserve(blocks: blocks.count)
    for row in rows {
      unsafe kernels.functions.block_maxima(
        source.byteCount, values(row, columns.lowerBound), columns.count, block, workspace.maxima)
      let erased = unsafe chooseAll(
        blocks.count, scale: row * blockCount + blocks.lowerBound, in: panel.scales
      ) { (row..<row + 1, self.columns(blocks.lowerBound + $0)) }
      encode(row, columns.lowerBound, count: columns.count, block: block, at: 0)
      for index in erased { erase(row, self.columns(blocks.lowerBound + index)) }
    }
  }

  /// One column of 8-bit blocks of the transpose, which are as long as there are rows, for some of its
  /// rows, which are columns here.
  ///
  /// - Parameters:
  ///   - codes: Receives the codes as they lie here, row by row.
  ///   - factors: Memory for two floats a column.
  func quantizeTransposed(
    _ rows: Range<Int>, _ columns: Range<Int>, codes: UnsafeMutablePointer<UInt8>,
    factors multipliers: UnsafeMutablePointer<Float>, otherScales: UnsafeMutableRawBufferPointer
  ) {
    workspace.reserve(blocks: columns.count)
    findColumnMaxima(rows, columns)
    // A block is one column: its maximum is that of the column.
    for index in 0..<columns.count {
      unsafe workspace.maxima[index] =
        source.byteCount == 2
        ? UInt32(workspace.columns.load(fromByteOffset: 2 * index, as: UInt16.self))
        : workspace.columns.load(fromByteOffset: 4 * index, as: UInt32.self)
    }
    // The transpose's blocks along its rows are as many as there are strips of rows here.
    let otherCount = (panel.rows + blocking.columns - 1) / blocking.columns
    let otherColumn = rows.lowerBound / blocking.columns
    let erased = unsafe chooseAll(
      columns.count, scale: columns.lowerBound * otherCount + otherColumn, step: otherCount,
      in: otherScales
    ) { (rows, columns.lowerBound + $0..<columns.lowerBound + $0 + 1) }
    let divisors = unsafe multipliers + columns.count
    let mode = unsafe splitFactors(columns.count, multipliers, divisors)
    var rule = kernelRule
    for row in rows {
      unsafe kernels.functions.encode_columns(
        &rule, values(row, columns.lowerBound), columns.count, mode.multiplies ? multipliers : nil,
        mode.divides ? divisors : nil, codes + (row - rows.lowerBound) * columns.count)
    }
    for column in erased {
      for row in 0..<rows.count { unsafe codes[row * columns.count + column] = 0 }
    }
  }

  /// Writes multipliers and divisors apart, all of one kind; see `encode_columns`.
  private func splitFactors(
    _ count: Int, _ multipliers: UnsafeMutablePointer<Float>,
    _ divisors: UnsafeMutablePointer<Float>
  ) -> (multiplies: Bool, divides: Bool) {
    var multiply = true
    var refine = true
    for index in 0..<count {
      let factor = unsafe workspace.factors[index]
      unsafe multipliers[index] = factor.multiplier
      // Powers of two are given as exact reciprocals, which are turned back for a division.
      unsafe divisors[index] = factor.divisor == 0 ? 1 / factor.multiplier : factor.divisor
      if unsafe factor.divisor != 0 { multiply = false }
      if unsafe factor.divisor == 0 || factor.multiplier == 0 { refine = false }
    }
    return multiply ? (true, false) : (refine, true)
  }

  /// Transposes bytes by way of a small tile, since rows of the result may lie a power of two apart
  /// and then fight for the same lines of the cache.
  static func transpose(
    _ bytes: UnsafePointer<UInt8>, stride: Int, rows: Int, columns: Int,
    to result: UnsafeMutablePointer<UInt8>, stride resultStride: Int, _ kernels: Kernels
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
          for index in 0..<width {
            unsafe (result + (column + index) * resultStride + row).update(
              from: tile + index * tileRows, count: height)
          }
        }
      }
    }
  }
}
