// SPDX-License-Identifier: Apache-2.0

import BlockScale
package import PTX

/// Scales of a grid of blocks from row-major into block-major order, or back.
///
/// Block-major order is the transpose with rows padded to a multiple of four scales. A block of threads
/// turns 32 rows by 32 columns in shared memory.
///
/// - Constraints: Any grid; `source` and `target` do not overlap. Padding is written as zeros, and not read.
/// - Traffic: Each scale is read and written once.
package struct ScaleTranspose<Scale: MemoryElement>: Kernel {
  package enum Direction: String, Sendable, Hashable {
    case intoBlockMajor = "into_block_major"
    case outOfBlockMajor = "out_of_block_major"
  }

  package var direction: Direction

  package init(_ direction: Direction) { self.direction = direction }

  private static var threads: Int { 256 }
  private static var extent: Int { 32 }
  /// Rows of a tile between those of a thread: a warp has one row at a time.
  private static var rowStep: Int { threads / extent }

  package var name: String {
    kernelName("scales", direction.rawValue, "\(Scale.scalar.byteCount)_byte")
  }
  package var bounds: LaunchBounds { LaunchBounds(threads: Self.threads) }

  package func body(_ k: KernelBuilder) {
    let (source, target) = (
      k.pointer("source", to: Scale.self), k.pointer("target", to: Scale.self)
    )
    let (gridRows, gridColumns) = (k.uint32("rows"), k.uint32("columns"))
    let paddedRows = (gridRows + 3) & ~3
    // Of the source, which becomes the target's columns and rows.
    let (rows, columns, sourcePitch, targetPitch) =
      direction == .intoBlockMajor
      ? (gridRows, gridColumns, gridColumns, paddedRows)
      : (gridColumns, gridRows, paddedRows, gridColumns)
    let firstRow =
      k.special(.blockZ).multiplied(
        by: k.special(.blocksY), adding: k.special(.blockY)) * Self.extent
    let firstColumn = k.special(.blockX) * Self.extent
    // An element more than a row keeps the columns on banks of their own.
    let pitch = Self.extent + 1
    let tile = k.shared(Scale.self, count: Self.extent * pitch)
    for part in 0..<Self.extent / Self.rowStep {
      let row = k.warp + part * Self.rowStep
      let (from, column) = (firstRow + row, firstColumn + k.lane)
      let value = source[from.multipliedWide(by: sourcePitch, adding: column.widened)].load(
        cache: .readOnly, if: (from .< rows) .& (column .< columns), otherwise: Value(bits: 0))
      tile[row * pitch + k.lane].store(value)
    }
    k.barrier()
    for part in 0..<Self.extent / Self.rowStep {
      let row = k.warp + part * Self.rowStep
      let (to, column) = (firstColumn + row, firstRow + k.lane)
      target[to.multipliedWide(by: targetPitch, adding: column.widened)].store(
        tile[k.lane * pitch + row].load(), if: (to .< columns) .& (column .< targetPitch))
    }
  }

  /// The launch for the scales of a grid of blocks.
  ///
  /// - Throws: ``KernelError`` if the grid is empty or too large.
  package func launch(
    in library: KernelLibrary, from source: UInt64, to target: UInt64, grid shape: MatrixShape
  ) throws(KernelError) -> KernelLaunch {
    let (rows, columns) =
      direction == .intoBlockMajor
      ? (shape.rows, shape.columns) : (shape.columns, shape.rows)
    return KernelLaunch(
      try library.tree(of: self),
      grid: try GridShape(
        tileRows: rows.dividedUp(by: Self.extent), tileColumns: columns.dividedUp(by: Self.extent)),
      arguments: shape.arguments.merging([
        "source": .pointer(source), "target": .pointer(target),
      ]) { $1 })
  }
}
