// SPDX-License-Identifier: Apache-2.0

/// One-byte scales in the order in which Blackwell's tensor cores read them: tiles of 128 rows by 4
/// scale columns.
///
/// A tile is 512 bytes: row `r` and column `c` lie at `(r mod 32)·16 + (r / 32)·4 + c`; tiles follow
/// each other along the columns, then along the rows. Rows are padded to a multiple of 128 and
/// columns to one of 4, with zero bytes: anything else could decode to NaN and poison a product.
///
/// cuBLAS and CUTLASS name it "128x4"; Triton's `[1, M/128, K/64, 2, 256]` is a view of the same
/// bytes, and so is torchao's `[32·⌈M/128⌉, 16·⌈K/64⌉]`.
public struct SwizzledScales: Sendable, Hashable {
  /// The number of rows that carry scales.
  public let rows: Int
  /// The number of scale columns.
  public let columns: Int
  /// The bytes, padding included.
  public let bytes: [UInt8]

  private static let tileBytes = 512

  /// The tiles that cover a grid of scales.
  package static func tiles(rows: Int, columns: Int) -> (rows: Int, columns: Int) {
    Blocking(rows: 128, columns: 4).grid(rows: rows, columns: columns)
  }

  /// The bytes that a grid of scales takes, padding included.
  public static func byteCount(rows: Int, columns: Int) -> Int {
    let tiles = tiles(rows: rows, columns: columns)
    return tiles.rows * tiles.columns * tileBytes
  }

  /// Where the scale of a row and column lies.
  @inline(__always)
  package static func offset(row: Int, column: Int, tileColumns: Int) -> Int {
    (row / 128 * tileColumns + column / 4) * tileBytes
      + row % 32 * 16 + row % 128 / 32 * 4 + column % 4
  }

  /// Rearranges row-major scales.
  ///
  /// - Throws: ``BlockScaleError`` if there are not `rows × columns` of them.
  public init(linear: [UInt8], rows: Int, columns: Int) throws(BlockScaleError) {
    guard rows >= 0, columns >= 0, linear.count == rows * columns else {
      throw BlockScaleError(
        .wrongCount, "A grid of \(rows)x\(columns) has not \(linear.count) scales.")
    }
    let tileColumns = Self.tiles(rows: rows, columns: columns).columns
    var bytes = [UInt8](repeating: 0, count: Self.byteCount(rows: rows, columns: columns))
    for row in 0..<rows {
      for column in 0..<columns {
        bytes[Self.offset(row: row, column: column, tileColumns: tileColumns)] =
          linear[row * columns + column]
      }
    }
    self.rows = rows
    self.columns = columns
    self.bytes = bytes
  }

  /// Takes scales that already lie in this order.
  ///
  /// - Throws: ``BlockScaleError`` if `bytes` has another length than the padded grid.
  public init(bytes: [UInt8], rows: Int, columns: Int) throws(BlockScaleError) {
    let expected = Self.byteCount(rows: rows, columns: columns)
    guard bytes.count == expected else {
      throw BlockScaleError(
        .wrongCount,
        "Swizzled scales of a \(rows)x\(columns) grid take \(expected) bytes, not \(bytes.count).")
    }
    self.rows = rows
    self.columns = columns
    self.bytes = bytes
  }

  /// The scales, row-major, without padding.
  public var linear: [UInt8] {
    let tileColumns = Self.tiles(rows: rows, columns: columns).columns
    var result: [UInt8] = []
    result.reserveCapacity(rows * columns)
    for row in 0..<rows {
      for column in 0..<columns {
        result.append(bytes[Self.offset(row: row, column: column, tileColumns: tileColumns)])
      }
    }
    return result
  }

  /// Whether every byte that stands for no scale is zero.
  public var hasZeroPadding: Bool {
    let tileColumns = Self.tiles(rows: rows, columns: columns).columns
    var padding = bytes
    for row in 0..<rows {
      for column in 0..<columns {
        padding[Self.offset(row: row, column: column, tileColumns: tileColumns)] = 0
      }
    }
    return padding.allSatisfy { $0 == 0 }
  }

  /// The shape of Triton's five-dimensional view for NVFP4: `[1, ⌈M/128⌉, ⌈K/64⌉, 2, 256]`.
  public var tritonShape: [Int] {
    let tiles = Self.tiles(rows: rows, columns: columns)
    return [1, tiles.rows, tiles.columns, 2, 256]
  }
}
