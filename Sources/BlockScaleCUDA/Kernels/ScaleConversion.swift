// SPDX-License-Identifier: Apache-2.0

import BlockScale
package import PTX

/// Scales of a grid of blocks in another layout.
///
/// - Constraints: Any grid; `source` and `target` do not overlap. The bytes of padding in the source
///   are not read, those in the target become zero.
/// - Traffic: Each scale is read and written once; it is small beside the codes.
package struct ScaleConversion: Kernel {
  package var source: ScaleLayout
  package var target: ScaleLayout
  /// The bytes of a scale: 1, 2 or 4.
  package var byteCount: Int

  package init(from source: ScaleLayout, to target: ScaleLayout, byteCount: Int) {
    precondition([1, 2, 4].contains(byteCount), "scales of 1, 2 or 4 bytes")
    precondition(
      byteCount == 1 || source != .swizzled && target != .swizzled, "bytes alone are swizzled")
    self.source = source
    self.target = target
    self.byteCount = byteCount
  }

  static let threads = 256

  package var name: String { "scales_\(source.rawValue)_to_\(target.rawValue)_\(byteCount)" }
  package var bounds: LaunchBounds { LaunchBounds(threads: Self.threads) }

  package func body(_ k: KernelBuilder) {
    let (from, to) = (k.pointer("source", to: UInt8.self), k.pointer("target", to: UInt8.self))
    let (rows, columns) = (k.uint32("rows"), k.uint32("columns"))
    let old = ScaleGrid(source, rows: rows, columns: columns)
    let new = ScaleGrid(target, rows: rows, columns: columns)
    // A thread for each scale of the target, in the order of the target where it has columns first.
    let index = k.special(.blockX).multiplied(by: Value(Self.threads), adding: k.thread)
    let (row, column) =
      target == .blockMajor
      ? (index % new.paddedRows, index / new.paddedRows)
      : (index / new.paddedColumns, index % new.paddedColumns)
    let hasPlace = (row .< new.paddedRows) .& (column .< new.paddedColumns)
    let exists = new.contains(row: row, column: column)
    let (oldPlace, newPlace) = (
      old.index(row: row, column: column), new.index(row: row, column: column)
    )
    switch byteCount {
    case 4:
      let scale = from.assuming(UInt32.self)[oldPlace].load(if: exists, otherwise: Value(0))
      to.assuming(UInt32.self)[newPlace].store(scale, if: hasPlace)
    case 2:
      let scale = from.assuming(UInt16.self)[oldPlace].load(if: exists, otherwise: Value(bits: 0))
      to.assuming(UInt16.self)[newPlace].store(scale, if: hasPlace)
    default:
      let scale = from[oldPlace].load(if: exists, otherwise: Value(bits: 0))
      to[newPlace].store(scale, if: hasPlace)
    }
  }
}
