// SPDX-License-Identifier: Apache-2.0

extension BlockScaledMatrix {
  /// Quantizes a row-major matrix and its transpose.
  ///
  /// Training multiplies by a matrix in the forward pass and by its transpose in the backward pass, and
  /// each product wants blocks along its own sum. Square blocks serve both: the transpose then has the
  /// same codes. Otherwise both are quantized from the values, so that nothing is rounded twice.
  ///
  /// - Parameter blocking: The shape of the blocks of both results, each in its own rows and columns.
  /// - Returns: The matrix, and its transpose of `columns` rows.
  /// - Throws: ``BlockScaleError`` as `quantized` does.
  /// - Complexity: O(rows × columns).
  public static func quantizedBothWays<Source: SourceValue>(
    _ values: [Source], rows: Int, columns: Int, recipe: Recipe, blocking: Blocking? = nil
  ) throws(BlockScaleError) -> (matrix: Self, transposed: Self) {
    let blocking = try checkedBlocking(
      count: values.count, rows: rows, columns: columns, blocking: blocking)
    let matrix = try quantized(
      values, rows: rows, columns: columns, recipe: recipe, blocking: blocking
    ).matrix
    if blocking.rows == blocking.columns { return (matrix, matrix.transposed()) }
    let transposed = try quantized(
      BlockScale.transposed(values, rows: rows, columns: columns), rows: columns, columns: rows,
      recipe: recipe, blocking: blocking)
    return (matrix, transposed.matrix)
  }
}
