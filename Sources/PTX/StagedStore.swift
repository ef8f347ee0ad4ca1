// SPDX-License-Identifier: Apache-2.0

package import Minifloat

/// Shared memory through which warpgroups store their sums as BF16: `stmatrix` writes it swizzled, and
/// a bulk copy takes it to global memory while the warpgroup goes on with its next tile.
package struct StagedStore {
  private let layout: TileLayout<BFloat16>
  private let memory: Value<UInt32>

  init(_ k: KernelBuilder, layout: TileLayout<BFloat16>, warpgroups: Int) {
    self.layout = layout
    memory =
      k.shared(UInt8.self, count: warpgroups * layout.byteCount, alignment: layout.alignment)
      .address
  }

  /// Runs a body that stores tiles of a warpgroup, and waits in the end until all are written.
  package func use(by group: Warpgroup, _ body: (Stage) -> Void) {
    let tile = SharedTile(
      layout: layout, address: group.index.multiplied(by: Value(layout.byteCount), adding: memory),
      offset: 0)
    body(Stage(group: group, tile: tile))
    group.builder.append(.bulkWait(pending: 0, reading: false), if: group.isFirstThread)
  }

  /// A warpgroup's part of the memory.
  package struct Stage {
    fileprivate let group: Warpgroup
    fileprivate let tile: SharedTile<BFloat16>

    /// Rounds sums to nearest even and starts storing them; whatever lies beyond the matrix is cut off.
    ///
    /// It waits for the copy of the tile before only when that one's memory is needed.
    package func store(
      _ sums: WarpgroupTile, to map: TensorMapParameter<BFloat16>, row: Value<UInt32>,
      column: Value<UInt32>, file: String = #fileID, line: Int = #line
    ) {
      let k = group.builder
      k.at(file, line)
      k.require(.storeMatrix)
      precondition(
        sums.rows == tile.layout.rows && sums.columns == tile.layout.columns,
        "the memory is for tiles of another shape")
      k.append(.bulkWait(pending: 0, reading: true), if: group.isFirstThread)
      group.barrier(file: file, line: line)
      write(sums)
      k.fence(.proxyAsyncShared, file: file, line: line)
      group.barrier(file: file, line: line)
      k.when(group.isFirstThread, file: file, line: line) {
        tile.store(to: map, row: row, column: column, file: file, line: line)
        k.append(.bulkCommit)
      }
    }

    /// Writes the sums into the memory, 16 columns of 16 rows a warp at a time.
    private func write(_ sums: WarpgroupTile) {
      let k = group.builder
      precondition(tile.layout.swizzle == .bytes128, "rows of 128 bytes: eight chunks of 16")
      // Lane l gives the address of row l % 16 of the left (l < 16) or right eight columns. Chunk c of
      // row r lies at c ^ (r % 8), so only the bits of c that lanes share are left to vary.
      let row = group.warp.multiplied(by: Value(16), adding: group.lane & 15)
      let rowStart = row.multiplied(by: Value(128), adding: tile.address)
      let chunk = (group.lane >> 4) ^ (group.lane & 7)
      let places = (0..<4).map { ((chunk ^ (2 * $0)) << 4) + rowStart }
      for wave in sums.waves {
        for pair in 0..<sums.columns / 16 {
          let words = [2 * pair, 2 * pair + 1].flatMap { octet -> [Register] in
            let values = sums.sums(wave: wave, columns: octet)
            return [
              k.pair(low: values[0], high: values[1], as: BFloat16.self).register,
              k.pair(low: values[2], high: values[3], as: BFloat16.self).register,
            ]
          }
          let offset = tile.offset + pair / 4 * tile.panelStride + wave * 64 * 128
          k.append(
            .storeMatrix(
              words, Address(places[pair % 4].register, offset: offset), transposed: false))
        }
      }
    }
  }
}

extension KernelBuilder {
  /// Memory for the tiles that warpgroups store.
  package func stagedStore(
    _ layout: TileLayout<BFloat16>, warpgroups: Int
  ) -> StagedStore {
    StagedStore(self, layout: layout, warpgroups: warpgroups)
  }
}
