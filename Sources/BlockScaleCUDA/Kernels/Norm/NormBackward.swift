// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
package import PTX

/// The gradient of the input of RMSNorm or LayerNorm in BF16, and the statistics of rows for
/// ``NormColumnSums``.
///
/// A block of the grid has two rows and goes over them three or four times (``NormRows``).
///
/// - Constraints: Input in 1×QB groups; the weight, where there is one, of N FP32 values; `isAligned`
///   says that N is a multiple of 16.
/// - Numerics: Those of `rmsNormBackward` and `layerNormBackward`, to the bit; sums in the order of
///   `rowSum`.
/// - Traffic: 3 bytes and 2/QB of scales read (again from the caches in later passes) and 2 written an
///   element.
/// - Source: As ``NormForward``.
package struct NormBackward<Input: ActivationElement>: Kernel {
  package var kind: NormKind
  package var hasWeight: Bool
  package var groupSize: Int
  package var isAligned: Bool

  package init(
    _ kind: NormKind, hasWeight: Bool = true, groupSize: Int = 16, isAligned: Bool = true
  ) {
    self.kind = kind
    self.hasWeight = hasWeight
    self.groupSize = groupSize
    self.isAligned = isAligned
  }

  package var name: String {
    kernelName(
      kind.rawValue, "norm_backward", Input.self, "g", groupSize, hasWeight ? "" : "weightless",
      isAligned ? "" : "tails")
  }
  package var bounds: LaunchBounds {
    // With more blocks the driver spills, and the rows in work would not stay in the second-level cache.
    LaunchBounds(threads: NormRows<Input>.threads, minimumBlocks: isAligned ? 3 : nil)
  }

  package func body(_ k: KernelBuilder) {
    let rows = NormRows<Input>(k, groupSize: groupSize, isAligned: isAligned)
    let weight = hasWeight ? k.pointer("weight", to: Float.self) : nil
    let gradient = rows.matrix("gradient", bytesPerValue: 2)
    let target = rows.matrix("result", bytesPerValue: 2)
    let stored = k.pointer("statistics", to: Float.self)
    let tiles = rows.termTiles(kind == .layer ? 2 : 1)
    let statistics = rows.statistics(kind, epsilon: k.float("epsilon"), in: tiles)
    let count = rows.columns.float

    /// Normalized values and weighted gradients of both rows.
    func operands(
      _ column: Value<UInt32>, _ inputs: NormRows<Input>.Inputs
    ) -> [(normalized: [Value<Float>], weighted: [Value<Float>])] {
      let weights = weight.map { rows.parameter($0, at: column) }
      return zip(rows.values(of: inputs), inputs.gradient).enumerated().map { row, operands in
        let incoming = operands.1.flatMap { word in
          let floats = word.reinterpreted(as: Pair<BFloat16>.self).floats
          return [floats.low, floats.high]
        }
        return (
          operands.0.map { statistics[row].normalized($0) },
          weights.map { zip($0, incoming).map { $0 * $1 } } ?? incoming
        )
      }
    }
    let sums = rows.sums(kind == .layer ? 2 : 1, in: tiles, gradient: gradient) { column, inputs in
      let operands = operands(column, inputs)
      let products = operands.map { zip($0.normalized, $0.weighted).map { $0 * $1 } }
      return kind == .layer ? [products, operands.map(\.weighted)] : [products]
    } result: {
      $0 / count
    }
    rows.forEachRun { column in
      let values = operands(column, rows.inputs(at: column, gradient: gradient)).enumerated()
        .flatMap { row, operands in
          zip(operands.normalized, operands.weighted).map { normalized, weighted in
            var change = normalized * sums[0][row]
            if kind == .layer { change = change + sums[1][row] }
            return statistics[row].inverse * (weighted - change)
          }
        }
      let words = k.bfloat16Words(values)
      for row in sums[0].indices {
        let first = row * words.count / 2
        rows.store(
          Array(words[first..<first + words.count / 2]), to: target, row: row, at: column)
      }
    }
    for (row, ofRow) in statistics.enumerated() {
      let place = stored[rows.rows[row] << 1]
      let isWriter = k.thread .== 0
      // A row that stands twice has the same statistics both times.
      place.store(ofRow.inverse, if: isWriter)
      if let mean = ofRow.mean { place.advanced(by: 1).store(mean, if: isWriter) }
    }
  }
}
