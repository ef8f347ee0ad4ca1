// SPDX-License-Identifier: Apache-2.0

/// The tiles of a result that one block of a persistent grid computes, one after the other.
///
/// Tiles are numbered in strips of so many tiles down the rows, so that blocks that run at the same
/// time read few rows of either operand. The blocks of a cluster take neighbouring columns.
package struct PersistentTiles {
  private let builder: KernelBuilder
  private let tileRows: Int
  private let tileColumns: Int
  private let strip: Int
  private let cluster: Cluster
  /// Tiles down the rows, clusters' tiles along the columns, and their product.
  private let rowTiles: Value<UInt32>
  private let columnGroups: Value<UInt32>
  private let count: Value<UInt32>
  private let first: Value<UInt32>
  private let step: Value<UInt32>

  /// - Parameters:
  ///   - rows: Of the result.
  ///   - columns: Of the result.
  package init(
    _ k: KernelBuilder, rows: Value<UInt32>, columns: Value<UInt32>, tileRows: Int,
    tileColumns: Int,
    strip: Int, cluster: Cluster
  ) {
    builder = k
    self.tileRows = tileRows
    self.tileColumns = tileColumns
    self.strip = strip
    self.cluster = cluster
    rowTiles = rows.dividedUp(by: tileRows)
    columnGroups = columns.dividedUp(by: tileColumns * cluster.blocks)
    count = rowTiles * columnGroups
    first = k.special(.blockX) / cluster.blocks
    step = k.special(.blocksX) / cluster.blocks
  }

  /// Repeats for every tile of this block, with its first row and column.
  ///
  /// Roles that call it go through the same tiles. Where the columns are no multiple of the
  /// cluster's, a tile may lie beyond the result.
  package func forEach(
    file: String = #fileID, line: Int = #line,
    _ body: (_ row: Value<UInt32>, _ column: Value<UInt32>) -> Void
  ) {
    builder.forEach(from: first, below: count, by: step, file: file, line: line) { index in
      let stripTiles = columnGroups * strip
      let firstRow = index / stripTiles * strip
      let height = minimum(rowTiles - firstRow, Value(strip))
      let inStrip = index % stripTiles
      let row = firstRow + inStrip % height
      let group = inStrip / height
      let column = cluster.blocks == 1 ? group : group * cluster.blocks + cluster.rank
      body(row * tileRows, column * tileColumns)
    }
  }
}
