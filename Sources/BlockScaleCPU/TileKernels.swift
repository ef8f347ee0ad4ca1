// SPDX-License-Identifier: Apache-2.0

import _BlockScaleShims

/// The kernels of one tier that a product is made of: it packs rows, decodes columns, multiplies
/// tiles of sums and stores them.
///
/// Pointers reach as far as their extents say, padded to whole tiles.
protocol TileKernels: Sendable {
  /// What rows and decoded columns consist of.
  associatedtype Element: BitwiseCopyable

  /// The rows and outputs of one tile of sums.
  var tileRows: Int { get }
  var tileColumns: Int { get }
  /// What `k0` is a multiple of.
  var depthUnit: Int { get }
  /// The columns that a thread multiplies with all of its rows at once.
  ///
  /// - Parameters:
  ///   - decodes: Whether they are kept decoded meanwhile.
  ///   - rowTiles: The tiles of rows that there are.
  func block(decodes: Bool, rowTiles: Int) -> ProductBlock
  /// The most rows for which a product with columns as they are stored is faster, no more than
  /// `FewRows.most`.
  var fewRows: Int { get }
  /// The same for rows in digits, which may be more; zero if these kernels have no products of them.
  var fewRowsInDigits: Int { get }

  /// The groups of sixteen outputs that `multiplyRows` takes at once, up to `FewRows.columnGroups`.
  var fewRowsColumnGroups: Int { get }

  /// Surround what a thread does with tiles.
  func begin()
  func end()

  /// Packs up to `tileRows` rows; `a` has room for `tileRows × paddedDepth`.
  func packRows(
    _ source: bs_rows_t, row: Int, rows: Int, paddedDepth: Int,
    into a: UnsafeMutablePointer<Element>)

  /// Multiplies packed rows from `k0` with tiles of columns that lie side by side.
  ///
  /// - Parameters:
  ///   - columns: The groups of sixteen outputs of each tile, one tile after the other.
  ///   - panel: The columns, decoded. Kernels that do so before they multiply decode them into it first if
  ///     `isFirst`. Nil for columns that need not be decoded.
  ///   - isFirst: Whether these columns are read for the first time.
  ///   - promotion: Scales of partial sums of the first tile; those of the others follow.
  ///   - sums: A tile of sums after the other.
  ///   - next: Packed rows that this thread soon multiplies.
  func multiply(
    _ a: UnsafePointer<Element>, rows: Int, paddedDepth: Int, columns: [bs_columns_t],
    panel: UnsafeMutablePointer<Element>?, isFirst: Bool, k0: Int, depth: Int,
    promotion: bs_promotion_t, sums: UnsafeMutablePointer<Float>, accumulate: Bool,
    next: NextRows)

  /// The tiles of rows that a task multiplies while it decodes its columns; zero if these kernels decode
  /// columns before they multiply.
  var decodingRowTiles: Int { get }

  /// Multiplies some tiles of packed rows with tiles of columns that lie side by side, and decodes the
  /// columns meanwhile.
  ///
  /// - Parameters:
  ///   - rows: All rows, of which the last tile may have fewer than the others.
  ///   - panel: Receives the columns for `multiply`, if it `keeps` them; else room for two tiles.
  ///   - promotion: Scales of partial sums of the first tile; those of the others follow.
  ///   - promotionStride: From the scales of one tile's rows to those of the next.
  ///   - sums: The tiles of sums of the first tile of rows, then of the next.
  func decodeAndMultiply(
    _ a: UnsafePointer<Element>, rows: Int, paddedDepth: Int, columns: [bs_columns_t],
    panel: UnsafeMutablePointer<Element>, keeps: Bool, k0: Int, depth: Int,
    promotion: bs_promotion_t, promotionStride: Int, sums: UnsafeMutablePointer<Float>,
    accumulate: Bool)

  /// Some rows as FP32 for `multiplyRows`.
  func decodeRows(
    _ source: bs_rows_t, rows: Range<Int>, into x: UnsafeMutablePointer<Float>, stride: Int)

  /// One of a few rows, as `decodeRows` wrote it, in digits.
  ///
  /// - Returns: How many there are; zero if these kernels have no products of digits or the row cannot be
  ///   put so.
  func splitRow(
    _ x: UnsafePointer<Float>, depth: Int, into digits: UnsafeMutablePointer<bs_digits_t>,
    capacity: Int
  ) -> Int

  /// A few rows with up to four groups of sixteen outputs as they are stored, which are E2M1 with scales by
  /// output if the rows are in digits.
  ///
  /// - Parameters:
  ///   - promotion: Scales of partial sums of the first group; those of the others follow.
  ///   - sums: Rows of `FewRows.sumsStride` outputs.
  func multiplyRows(
    _ rows: bs_few_rows_t, columns: UnsafeBufferPointer<bs_columns_t>, depth: Int,
    promotion: bs_promotion_t, sums: UnsafeMutablePointer<Float>)

  /// Writes a tile of sums.
  func store(
    _ sums: UnsafePointer<Float>, stride: Int, rows: Int, columns: Int, output: bs_output_t,
    row: Int, column: Int)
}

/// Up to two tiles of packed rows that are brought nearer before they are multiplied.
@unsafe
struct NextRows {
  private(set) var first, second: UnsafeRawPointer?

  mutating func add(_ rows: UnsafeRawPointer) {
    if unsafe first == nil { unsafe first = rows } else { unsafe second = rows }
  }
}

/// Columns and the most k of them.
struct ProductBlock {
  /// What changes from one task to the next.
  enum Order {
    /// Rows, so that tasks that run side by side share columns that are in the cache.
    case first
    /// Columns, so that they share rows.
    case last
  }

  let columns, depth: Int
  var rowsVary = Order.first
}

extension TileKernels {
  var decodingRowTiles: Int { 0 }

  func decodeAndMultiply(
    _ a: UnsafePointer<Element>, rows: Int, paddedDepth: Int, columns: [bs_columns_t],
    panel: UnsafeMutablePointer<Element>, keeps: Bool, k0: Int, depth: Int,
    promotion: bs_promotion_t, promotionStride: Int, sums: UnsafeMutablePointer<Float>,
    accumulate: Bool
  ) {
    preconditionFailure("These kernels decode columns before they multiply")
  }
}
