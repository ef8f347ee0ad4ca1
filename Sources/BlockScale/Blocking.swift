// SPDX-License-Identifier: Apache-2.0

/// The shape of the blocks that share a scale.
///
/// Blocks tile a matrix from its upper left corner; those at the right and lower edges may be
/// partial. A blocking of `.max` in one direction reaches over the whole matrix.
public struct Blocking: Sendable, Hashable, CustomStringConvertible {
  /// The rows of one block.
  public let rows: Int
  /// The columns of one block.
  public let columns: Int

  /// Creates a blocking.
  ///
  /// - Precondition: Both extents are positive.
  public init(rows: Int, columns: Int) {
    precondition(rows > 0 && columns > 0, "A block has at least one row and one column")
    self.rows = rows
    self.columns = columns
  }

  /// One scale a row.
  public static let row = Blocking(rows: 1, columns: .max)
  /// One scale a matrix.
  public static let tensor = Blocking(rows: .max, columns: .max)

  /// The blocking of the transposed matrix.
  public var transposed: Blocking { Blocking(rows: columns, columns: rows) }

  /// The number of blocks along the rows and columns of a matrix.
  public func grid(rows: Int, columns: Int) -> (rows: Int, columns: Int) {
    (Self.blocks(rows, of: self.rows), Self.blocks(columns, of: self.columns))
  }

  private static func blocks(_ extent: Int, of block: Int) -> Int {
    extent / block + (extent % block == 0 ? 0 : 1)
  }

  /// The extents, `*` for a whole one.
  public var description: String {
    "\(rows == .max ? "*" : String(rows))x\(columns == .max ? "*" : String(columns))"
  }
}
