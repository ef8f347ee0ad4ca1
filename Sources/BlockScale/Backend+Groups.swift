// SPDX-License-Identifier: Apache-2.0

extension Backend {
  /// Products of groups of rows with a matrix each, as a mixture of experts has them.
  ///
  /// - Parameters:
  ///   - left: M×K, the rows of one group after those of another.
  ///   - rowCounts: The rows of each group, which add up to M; a group may have none.
  ///   - right: N×K for each group, all with the same N.
  /// - Returns: M×N.
  /// - Throws: ``BlockScaleError`` if the shapes do not fit or a group begins inside a block of rows.
  /// - Complexity: O(M·N·K).
  public func multiplyGroups<Value: SourceValue>(
    _ left: Operand, rowCounts: [Int], _ right: [PackedOperand], as type: Value.Type = Value.self
  ) throws(BlockScaleError) -> Matrix<Value> {
    guard rowCounts.count == right.count, rowCounts.allSatisfy({ $0 >= 0 }),
      rowCounts.reduce(0, +) == left.rows
    else {
      throw BlockScaleError(
        .wrongShape,
        "\(right.count) groups of \(rowCounts.map(String.init).joined(separator: ", ")) rows do "
          + "not make up the \(left.rows) rows of the left operand.")
    }
    var values: [Value] = []
    var outputs: Int?
    var first = 0
    for (count, matrix) in zip(rowCounts, right) where count > 0 {
      let part = try multiply(
        left.rows(first..<first + count), matrix, bias: nil, as: Value.self)
      guard part.columns == outputs ?? part.columns else {
        throw BlockScaleError(
          .wrongShape,
          "The matrices of groups have \(outputs ?? 0) and \(part.columns) outputs.")
      }
      if outputs == nil { values.reserveCapacity(left.rows * part.columns) }
      outputs = part.columns
      values += part.values
      first += count
    }
    return Matrix(unchecked: values, rows: left.rows, columns: outputs ?? 0)
  }
}
