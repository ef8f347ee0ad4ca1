// SPDX-License-Identifier: Apache-2.0

// The order of FP32 sums, which every back end on the processor keeps.

/// The sum along a row: sixteen sums of every sixteenth term, then those pairwise.
package func rowSum(_ count: Int, _ term: (Int) -> Float) -> Float {
  var sums = [Float](repeating: 0, count: 16)
  for index in 0..<count { sums[index % 16] += term(index) }
  for width in [8, 4, 2, 1] {
    for index in 0..<width { sums[index] += sums[index + width] }
  }
  return sums[0]
}

/// The rows of a column that are summed one after the other before their sum is added to those of
/// other such panels, in order.
package let columnSumPanelRows = 64

/// The sums down all columns.
func columnSums(rows: Int, columns: Int, _ term: (_ row: Int, _ column: Int) -> Float) -> [Float] {
  var totals = [Float](repeating: 0, count: columns)
  for first in stride(from: 0, to: rows, by: columnSumPanelRows) {
    for column in 0..<columns {
      var sum: Float = 0
      for row in first..<min(rows, first + columnSumPanelRows) { sum += term(row, column) }
      totals[column] += sum
    }
  }
  return totals
}
