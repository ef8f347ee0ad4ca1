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
    var values: [Value] = []
    var outputs: Int?
    for (index, rows) in try left.groups(rowCounts, count: right.count) {
      let part = try multiply(left.rows(rows), right[index], bias: nil, as: Value.self)
      try checkGroupOutputs(outputs ?? part.columns, part.columns)
      if outputs == nil { values.reserveCapacity(left.rows * part.columns) }
      outputs = part.columns
      values += part.values
    }
    return Matrix(unchecked: values, rows: left.rows, columns: outputs ?? 0)
  }
}

extension Operand {
  /// The groups of a left operand that have rows.
  ///
  /// - Parameters:
  ///   - rowCounts: The rows of each group, one after the other.
  ///   - count: The number of groups.
  /// - Throws: ``BlockScaleError`` if they do not make up the operand.
  package func groups(
    _ rowCounts: [Int], count: Int
  ) throws(BlockScaleError) -> [(index: Int, rows: Range<Int>)] {
    guard rowCounts.count == count, rowCounts.allSatisfy({ $0 >= 0 }),
      rowCounts.reduce(0, +) == rows
    else {
      throw BlockScaleError(
        .wrongShape,
        "\(count) groups of \(rowCounts.map(String.init).joined(separator: ", ")) rows do "
          + "not make up the \(rows) rows of the left operand.")
    }
    var first = 0
    var groups: [(index: Int, rows: Range<Int>)] = []
    for (index, count) in rowCounts.enumerated() where count > 0 {
      groups.append((index, first..<first + count))
      first += count
    }
    return groups
  }
}

/// Checks that the products of two groups can stand in one matrix.
package func checkGroupOutputs(_ first: Int, _ other: Int) throws(BlockScaleError) {
  guard first == other else {
    throw BlockScaleError(
      .wrongShape, "The matrices of groups have \(first) and \(other) outputs.")
  }
}
