// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import PTX

/// How the scales of a matrix lie in the device's memory.
package enum ScaleLayout: String, Sendable, Hashable, CaseIterable {
  /// Row by row over the grid of blocks, as `BlockScaledMatrix` has them.
  case linear
  /// Column by column over the grid of blocks, columns padded to four scales with zeros: a K block's
  /// scales of neighbouring rows lie side by side, as the FP8 products read them.
  case blockMajor = "block_major"
  /// Tiles of 128 rows by 4 scale columns; see `SwizzledScales`. For scales of one byte.
  case swizzled

  /// The scales that are stored for a grid, padding included.
  package func count(rows: Int, columns: Int) -> Int {
    switch self {
    case .linear: rows * columns
    case .blockMajor: rows.rounded(upTo: 4) * columns
    case .swizzled: SwizzledScales.byteCount(rows: rows, columns: columns)
    }
  }

  /// The rows and columns of a grid with those that padding adds.
  package func padded(rows: Int, columns: Int) -> (rows: Int, columns: Int) {
    switch self {
    case .linear: (rows, columns)
    case .blockMajor: (rows.rounded(upTo: 4), columns)
    case .swizzled: (rows.rounded(upTo: 128), columns.rounded(upTo: 4))
    }
  }
}

/// Where the scales of a grid of blocks lie.
struct ScaleGrid {
  let layout: ScaleLayout
  /// The grid without its padding.
  let rows: Value<UInt32>
  let columns: Value<UInt32>
  let paddedRows: Value<UInt32>
  let paddedColumns: Value<UInt32>

  init(_ layout: ScaleLayout, rows: Value<UInt32>, columns: Value<UInt32>) {
    self.layout = layout
    self.rows = rows
    self.columns = columns
    paddedRows =
      switch layout {
      case .linear: rows
      case .blockMajor: (rows + 3) & ~3
      case .swizzled: (rows + 127) & ~127
      }
    paddedColumns = layout == .swizzled ? (columns + 3) & ~3 : columns
  }

  /// The place of a block's scale, counted in scales.
  func index(row: Value<UInt32>, column: Value<UInt32>) -> Value<UInt32> {
    switch layout {
    case .linear: row.multiplied(by: columns, adding: column)
    case .blockMajor: column.multiplied(by: paddedRows, adding: row)
    case .swizzled:
      // Tiles of 512 bytes; 32 rows of 16 bytes hold four groups of rows by four columns.
      ((row >> 7).multiplied(by: paddedColumns >> 2, adding: column >> 2) << 9)
        + ((row & 31) << 4 | (row >> 3 & 12) | (column & 3))
    }
  }

  /// Whether there is a scale, rather than padding.
  func contains(row: Value<UInt32>, column: Value<UInt32>) -> Value<Bool> {
    (row .< rows) .& (column .< columns)
  }
}

/// Writes scales of a grid of blocks, and zeros where its layout pads.
struct ScaleWriter {
  let format: ScaleFormat
  let scales: GlobalPointer<UInt8>
  let grid: ScaleGrid

  init(
    layout: ScaleLayout, format: ScaleFormat, scales: GlobalPointer<UInt8>, rows: Value<UInt32>,
    columns: Value<UInt32>
  ) {
    self.format = format
    self.scales = scales
    grid = ScaleGrid(layout, rows: rows, columns: columns)
  }

  /// The first of two writers of grids of the same shape where the predicate holds, else the second.
  init(_ predicate: Value<Bool>, _ first: ScaleWriter, else second: ScaleWriter) {
    format = first.format
    scales = GlobalPointer(address: predicate.select(first.scales.address, second.scales.address))
    grid = first.grid
  }

  /// Writes the scale of a block in the lanes that lead one; outside the grid a zero, if the layout
  /// has a place for it.
  func store(
    _ code: Value<UInt32>, row: Value<UInt32>, column: Value<UInt32>, if leads: Value<Bool>
  ) {
    let hasPlace = leads .& (row .< grid.paddedRows) .& (column .< grid.paddedColumns)
    let stored =
      grid.layout == .linear
      ? code : grid.contains(row: row, column: column).select(code, Value(0))
    let index = grid.index(row: row, column: column)
    switch format.byteCount {
    case 4: scales.assuming(UInt32.self)[index].store(stored, if: hasPlace)
    case 2: scales.assuming(UInt16.self)[index].store(stored.low16, if: hasPlace)
    default: scales[index].store(stored.low16, if: hasPlace)
    }
  }

  /// Writes the FP32 scales of four neighbouring rows of a column, the first a multiple of four.
  func storeFour(
    _ codes: [Value<UInt32>], row: Value<UInt32>, column: Value<UInt32>, if leads: Value<Bool>
  ) {
    precondition(grid.layout == .blockMajor && format == .float32 && codes.count == 4)
    let hasPlace = leads .& (row .< grid.paddedRows) .& (column .< grid.columns)
    let stored = codes.enumerated().map { (row + $0 .< grid.rows).select($1, Value(0)) }
    scales.assuming(UInt32.self)[grid.index(row: row, column: column)].store(stored, if: hasPlace)
  }
}
