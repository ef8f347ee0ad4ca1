// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat

// What RMSNorm and LayerNorm have in common.

extension Row {
  /// Divides a row by the root of its mean square.
  ///
  /// - Returns: 1/√(mean(x²) + ε).
  func normalizeByRootMeanSquare(epsilon: Float) -> Float {
    let inverse = 1 / (sum { self[$0] * self[$0] } / Float(columns) + epsilon).squareRoot()
    fill { self[$0] * inverse }
    clearTail()
    return inverse
  }

  /// Subtracts the mean and divides by the standard deviation.
  ///
  /// - Returns: 1/√(variance + ε).
  func normalizeByDeviation(epsilon: Float) -> Float {
    let mean = sum { self[$0] } / Float(columns)
    fill { self[$0] - mean }
    clearTail()
    return normalizeByRootMeanSquare(epsilon: epsilon)
  }

  /// Writes the values as they are.
  func store(into values: Output<Float>, row: Int) {
    let place = unsafe values.pointer(row * columns, count: columns)
    for column in 0..<columns {
      // Inside the row, for which the memory's extent was checked.
      unsafe place[column] = self[column / 16][column % 16]
    }
  }
}

extension CPUBackend {
  /// The gradients of a normalization: BF16 rows, and for each column two sums over all rows in the
  /// order of the reference.
  ///
  /// - Parameter compute: Leaves the row's gradient in the first of three rows and adds to the sums.
  func normGradients<Other>(
    like other: Tensor<Other>, hasWeight: Bool, hasBias: Bool,
    _ compute: @Sendable (_ row: Int, _ scratch: [Row], _ weightSums: Row, _ biasSums: Row) -> Void
  ) throws(BlockScaleError) -> NormGradients {
    let (rows, columns) = (other.matrix.rows, other.matrix.columns)
    let panels = (rows - 1) / columnSumPanelRows + 1
    let kernels = LayerKernels(tier)
    var weightSums: [Float] = []
    var biasSums: [Float] = []
    let values: [BFloat16] = filled(rows * columns) { values in
      (weightSums, biasSums) = filled(panels * columns, panels * columns) {
        (weightSums: Output<Float>, biasSums: Output<Float>) in
        parallelFor(panels, threads: threads) { panel in
          let scratch = (0..<3).map { _ in Row(columns: columns, kernels) }
          let (weight, bias) = (Row(columns: columns, kernels), Row(columns: columns, kernels))
          let first = panel * columnSumPanelRows
          for row in first..<min(rows, first + columnSumPanelRows) {
            compute(row, scratch, weight, bias)
            scratch[0].store(into: values, row: row)
          }
          weight.store(into: weightSums, row: panel)
          bias.store(into: biasSums, row: panel)
        }
      }
    }
    func total(_ sums: [Float]) -> [Float] {
      var result = [Float](repeating: 0, count: columns)
      for panel in 0..<panels {
        for column in 0..<columns { result[column] += sums[panel * columns + column] }
      }
      return result
    }
    return NormGradients(
      input: Tensor(try Matrix(values, rows: rows, columns: columns), like: other),
      weight: hasWeight ? total(weightSums) : nil, bias: hasBias ? total(biasSums) : nil)
  }
}
