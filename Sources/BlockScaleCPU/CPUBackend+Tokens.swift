// SPDX-License-Identifier: Apache-2.0

public import BlockScale
public import Minifloat
import _BlockScaleShims

extension CPUBackend {
  /// The rows of a table that tokens name.
  public func embeddingForward(
    _ tokens: [Int32], table: Matrix<BFloat16>
  ) throws(BlockScaleError) -> Matrix<BFloat16> {
    try TokenChecks.check(tokens, table: table)
    let columns = table.columns
    let values: [BFloat16] = filled(tokens.count * columns) { output in
      table.values.withInput { source in
        forEachRows(tokens.count, columns: columns) { group in
          for row in group {
            // Both places were checked.
            unsafe output.bits(row * columns, count: columns).update(
              from: source.bits(Int(tokens[row]) * columns, count: columns), count: columns)
          }
        }
      }
    }
    return Matrix(unchecked: values, rows: tokens.count, columns: columns)
  }

  /// Adds the gradient of each token's row to that of the table.
  ///
  /// Threads take columns, so that every sum is formed in the order of the tokens.
  public func embeddingBackward(
    _ tokens: [Int32], gradient: Matrix<BFloat16>, into table: inout Matrix<Float>
  ) throws(BlockScaleError) {
    try TokenChecks.check(tokens, gradient: gradient, into: table)
    let kernels = LayerKernels(tier)
    let columns = table.columns
    // Whole cache lines of the gradient.
    let band = max(32, (columns / threads / 2 + 31) / 32 * 32)
    gradient.values.withInput { source in
      // The table's memory is alive during the call; bands of columns do not overlap, and tokens were
      // checked.
      unsafe table.values.withUnsafeMutableBufferPointer { table in
        nonisolated(unsafe) let sums = unsafe table.baseAddress.unsafelyUnwrapped
        parallelFor((columns + band - 1) / band, threads: threads) { index in
          let first = index * band
          let count = min(band, columns - first)
          for (row, token) in tokens.enumerated() {
            unsafe kernels.functions.accumulate(
              source.bits(row * columns + first, count: count), count,
              sums + Int(token) * columns + first)
          }
        }
      }
    }
  }

  /// The cross-entropy of each row of logits with its target.
  public func crossEntropy(
    _ logits: consuming Matrix<Float>, targets: [Int32], gradientFactor: Float?
  ) throws(BlockScaleError) -> CrossEntropyOutput {
    let (rows, columns) = (logits.rows, logits.columns)
    try TokenChecks.check(targets, logits: rows, columns)
    let kernels = LayerKernels(tier)
    // The values' memory is alive during the call; rows do not overlap, and targets were checked.
    return unsafe logits.values.withUnsafeMutableBufferPointer { buffer in
      nonisolated(unsafe) let values = unsafe buffer.baseAddress.unsafelyUnwrapped
      var gradient: [BFloat16] = []
      let losses: [Float] = filled(rows) { losses in
        func run(_ gradient: Output<BFloat16>?) {
          forEachRows(rows, columns: columns) { group in
            for row in group {
              unsafe losses.pointer(row, count: 1).pointee = unsafe kernels.functions.cross_entropy(
                values + row * columns, columns, Int(targets[row]), gradientFactor ?? 0,
                gradient?.bits(row * columns, count: columns))
            }
          }
        }
        if gradientFactor == nil {
          run(nil)
        } else {
          gradient = filled(rows * columns) { run($0) }
        }
      }
      return CrossEntropyOutput(
        losses: losses,
        gradient: gradientFactor.map { _ in
          Matrix(unchecked: gradient, rows: rows, columns: columns)
        })
    }
  }

  /// The sum of the squares of values.
  ///
  /// Runs of values are summed by threads, and their sums added in order.
  public func sumOfSquares(_ values: [Float]) -> Double {
    guard !values.isEmpty else { return 0 }
    let kernels = LayerKernels(tier)
    let run = 1 << 16
    let runs = (values.count + run - 1) / run
    let sums: [Double] = filled(runs) { sums in
      let count = values.count
      values.withInput { values in
        parallelFor(runs, threads: threads) { index in
          let length = min(run, count - index * run)
          // Both places were checked.
          unsafe sums.pointer(index, count: 1).pointee = unsafe kernels.functions.sum_of_squares(
            values.pointer(index * run, count: length), length)
        }
      }
    }
    return sums.reduce(0, +)
  }
}
