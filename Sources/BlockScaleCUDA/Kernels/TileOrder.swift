// SPDX-License-Identifier: Apache-2.0

import PTX

/// In which order the blocks of a grid take the tiles of a matrix.
///
/// Blocks that run together have consecutive numbers. Row by row their tiles would form a strip that is
/// as wide as the matrix and a few tiles high: what they read would lie together, and what they write
/// of the transpose in pieces of a few hundred bytes. So they go down a band of rows first.
struct TileOrder {
  /// Rows of tiles of the highest band, as a power of two.
  private static let largestShift = 4

  /// The rows of a band, as a power of two.
  private let shift: Int

  /// - Parameter tileRows: Rows of tiles; bands are no higher.
  init(tileRows: Int) {
    shift = min(Self.largestShift, Int.bitWidth - 1 - max(tileRows, 1).leadingZeroBitCount)
  }

  /// Bands in y and z, the tiles of a band in x; the last may reach beyond the matrix.
  func grid(tileRows: Int, tileColumns: Int) throws(KernelError) -> GridShape {
    try GridShape(
      tileRows: (tileRows + (1 << shift) - 1) >> shift, tileColumns: tileColumns << shift)
  }

  var arguments: [String: KernelArgument] { ["bandShift": .uint32(UInt32(shift))] }

  /// The row of the block's tile in the grid of tiles.
  static func tileRow(_ k: KernelBuilder, bandShift: Value<UInt32>) -> Value<UInt32> {
    let band = k.special(.blockZ).multiplied(by: k.special(.blocksY), adding: k.special(.blockY))
    let rows = Value<UInt32>(1).materialized(k) << bandShift
    return band << bandShift | k.special(.blockX) & (rows - 1)
  }

  /// The column of the block's tile in the grid of tiles.
  static func tileColumn(_ k: KernelBuilder, bandShift: Value<UInt32>) -> Value<UInt32> {
    k.special(.blockX) >> bandShift
  }
}
