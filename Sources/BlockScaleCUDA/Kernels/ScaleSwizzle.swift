// SPDX-License-Identifier: Apache-2.0

import BlockScale
package import PTX

/// One-byte scales of a grid of blocks from row-major order into tiles of 128×4, or back.
///
/// A block of threads turns 128 rows by 32 columns. A thread has four rows, 32 apart, by four columns:
/// sixteen bytes that lie together in a tile, and words of four rows in row-major order. Eight
/// neighbouring threads have the words of a sector of a row, and four such groups the rows of two
/// sectors of a tile, so that either side moves whole sectors.
///
/// - Constraints: Any grid; `isAligned` says that its columns are a multiple of four. `source` and `target`
///   do not overlap. Padding of the tiles is written as zeros, and not read.
/// - Traffic: Each scale is read and written once.
package struct ScaleSwizzle: Kernel {
  package enum Direction: String, Sendable, Hashable {
    case intoTiles = "into_tiles"
    case outOfTiles = "out_of_tiles"
  }

  package var direction: Direction
  package var isAligned: Bool

  package init(_ direction: Direction, isAligned: Bool = true) {
    self.direction = direction
    self.isAligned = isAligned
  }

  private static let threads = 256
  private static let (tileRows, tileColumns) = (128, 4)
  private static let tileBytes = tileRows * tileColumns
  /// Tiles that a block of threads turns, side by side.
  private static let tilesPerBlock = 8
  /// Rows between those of a thread.
  private static let rowStep = 32

  package var name: String {
    kernelName("scales", direction.rawValue, isAligned ? "" : "tails")
  }
  package var bounds: LaunchBounds { LaunchBounds(threads: Self.threads) }

  package func body(_ k: KernelBuilder) {
    let (source, target) = (
      k.pointer("source", to: UInt8.self), k.pointer("target", to: UInt8.self)
    )
    let (rows, columns) = (k.uint32("rows"), k.uint32("columns"))
    let tilesAcross = columns.dividedUp(by: Self.tileColumns)
    let tileRow = k.special(.blockZ).multiplied(
      by: k.special(.blocksY), adding: k.special(.blockY))
    let tileColumn = k.special(.blockX).multiplied(
      by: Value(Self.tilesPerBlock), adding: k.thread & (Self.tilesPerBlock - 1))
    let rowInTile = k.thread >> Self.tilesPerBlock.trailingZeroBitCount
    let hasTile =
      (tileColumn .< tilesAcross) .& (tileRow .< rows.dividedUp(by: Self.tileRows))
    let place =
      (rowInTile << 4).widened
      + tileRow.multipliedWide(by: tilesAcross, adding: tileColumn.widened)
      * Value(Self.tileBytes)
    let column = tileColumn * Self.tileColumns
    let lines = (0..<Self.tileColumns).map { part in
      let row = tileRow.multiplied(
        by: Value(Self.tileRows), adding: rowInTile + part * Self.rowStep)
      return Line(
        place: row.multipliedWide(by: columns, adding: column.widened),
        isInside: hasTile .& (row .< rows), count: columns - column)
    }
    switch direction {
    case .intoTiles:
      let words = lines.map { load(source, $0) }
      target[place].assuming(UInt32.self).store(words, if: hasTile)
    case .outOfTiles:
      let words = source[place].assuming(UInt32.self).load(
        count: 4, cache: .readOnly, if: hasTile, otherwise: Value(0))
      for (line, word) in zip(lines, words) { store(word, target, line) }
    }
  }

  /// Four neighbours of a row in row-major order.
  private struct Line {
    let place: Value<UInt64>
    let isInside: Value<Bool>
    /// The columns from the first of them to the row's end.
    let count: Value<UInt32>
  }

  private func load(_ source: GlobalPointer<UInt8>, _ line: Line) -> Value<UInt32> {
    let first = source[line.place]
    if isAligned {
      return first.assuming(UInt32.self).load(
        cache: .readOnly, if: line.isInside, otherwise: Value(0))
    }
    return reduced(
      (0..<Self.tileColumns).map { part in
        first.advanced(by: part).load(
          cache: .readOnly, if: line.isInside .& (line.count .> part),
          otherwise: Value<UInt16>(bits: 0)
        ).widened << (8 * part)
      }, |)
  }

  private func store(_ word: Value<UInt32>, _ target: GlobalPointer<UInt8>, _ line: Line) {
    let first = target[line.place]
    if isAligned {
      first.assuming(UInt32.self).store(word, if: line.isInside)
      return
    }
    for part in 0..<Self.tileColumns {
      first.advanced(by: part).store(
        (word >> (8 * part)).low16, if: line.isInside .& (line.count .> part))
    }
  }

  /// The launch for the scales of a grid of blocks.
  ///
  /// - Throws: ``KernelError`` if the grid is empty or too large.
  package func launch(
    in library: KernelLibrary, from source: UInt64, to target: UInt64, grid shape: MatrixShape
  ) throws(KernelError) -> KernelLaunch {
    KernelLaunch(
      try library.tree(of: self),
      grid: try GridShape(
        tileRows: shape.rows.dividedUp(by: Self.tileRows),
        tileColumns: shape.columns.dividedUp(by: Self.tileColumns * Self.tilesPerBlock)),
      arguments: shape.arguments.merging([
        "source": .pointer(source), "target": .pointer(target),
      ]) { $1 })
  }
}
