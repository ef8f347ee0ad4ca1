// SPDX-License-Identifier: Apache-2.0

package import Minifloat
package import PTX

extension BlockwiseGEMM {
  /// Targets with the products of warpgroups.
  package static let targets: [Target] = [.sm90a]

  /// The shape of tiles, and how many stages and blocks work on them.
  package struct Configuration: Hashable, Sendable {
    /// 128 or 256.
    package let tileRows: Int
    /// Depth blocks in flight.
    package let stages: Int
    /// Blocks that share the rows of A: 1 or 2.
    package let clusterBlocks: Int
    /// Tiles down the rows that are computed together, see `PersistentTiles`.
    package let strip: Int

    /// Two waves of 64 rows a warpgroup: half the reads of B, for large results.
    package static let large = Configuration(tileRows: 256, stages: 3, clusterBlocks: 1, strip: 8)
    /// The same in pairs that share A by multicast.
    package static let largePair = Configuration(
      tileRows: 256, stages: 3, clusterBlocks: 2, strip: 8)
    /// For results with few tiles.
    package static let small = Configuration(tileRows: 128, stages: 5, clusterBlocks: 1, strip: 16)

    package static let all = [large, largePair, small]

    // MARK: Tiles

    package var a: TileLayout<Float8E4M3> { Self.codes(rows: tileRows) }
    /// What one block of a cluster loads of A's tile.
    package var aBox: TileLayout<Float8E4M3> { Self.codes(rows: tileRows / clusterBlocks) }
    package var b: TileLayout<Float8E4M3> { Self.codes(rows: BlockwiseGEMM.tileColumns) }
    package var aScales: TileLayout<Float> { TileLayout(rows: 1, columns: tileRows) }
    /// What one warpgroup stores.
    package var y: TileLayout<BFloat16> {
      TileLayout(rows: tileRows / 2, columns: BlockwiseGEMM.tileColumns, swizzle: .bytes128)
    }

    private static func codes(rows: Int) -> TileLayout<Float8E4M3> {
      TileLayout(rows: rows, columns: BlockwiseGEMM.blockDepth, swizzle: .bytes128)
    }
  }
}
