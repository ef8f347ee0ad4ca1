// SPDX-License-Identifier: Apache-2.0

/// A row-major matrix of values that are not quantized.
public struct Matrix<Value: SourceValue>: Sendable {
  /// The number of rows.
  public let rows: Int
  /// The number of columns.
  public let columns: Int
  /// `rows × columns` values, row by row.
  public package(set) var values: [Value]

  /// Creates a matrix from its values.
  ///
  /// - Throws: ``BlockScaleError`` if it is empty or the count does not fit the shape.
  public init(_ values: [Value], rows: Int, columns: Int) throws(BlockScaleError) {
    guard rows > 0, columns > 0 else {
      throw BlockScaleError(.emptyMatrix, "A matrix of \(rows)x\(columns) holds nothing.")
    }
    let (count, overflows) = rows.multipliedReportingOverflow(by: columns)
    guard !overflows else {
      throw BlockScaleError(
        .wrongCount, "A \(rows)x\(columns) matrix has more values than can be counted.")
    }
    guard values.count == count else {
      throw BlockScaleError(
        .wrongCount, "A \(rows)x\(columns) matrix has \(count) values, not \(values.count).")
    }
    self.rows = rows
    self.columns = columns
    self.values = values
  }

  /// Creates a matrix from values that are known to fit.
  package init(unchecked values: [Value], rows: Int, columns: Int) {
    assert(values.count == rows * columns, "The values do not fit the shape")
    self.rows = rows
    self.columns = columns
    self.values = values
  }

  /// A matrix of zeros.
  ///
  /// - Precondition: Both extents are positive.
  public static func zeros(rows: Int, columns: Int) -> Matrix {
    precondition(rows > 0 && columns > 0, "A matrix has at least one row and one column")
    return Matrix(
      unchecked: [Value](repeating: Value(rounding: 0), count: rows * columns), rows: rows,
      columns: columns)
  }

  /// The value at a row and column.
  ///
  /// - Precondition: The place lies inside the matrix.
  public subscript(row: Int, column: Int) -> Value {
    precondition(
      (0..<rows).contains(row) && (0..<columns).contains(column),
      "Row \(row), column \(column) lies outside a \(rows)x\(columns) matrix")
    return values[row * columns + column]
  }
}

extension Matrix: Equatable where Value: Equatable {}
extension Matrix: Hashable where Value: Hashable {}
