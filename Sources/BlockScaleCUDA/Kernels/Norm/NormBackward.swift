// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
package import PTX

/// The gradient of the input of RMSNorm or LayerNorm in BF16, and the statistics of rows for
/// ``NormColumnSums``.
///
/// - Constraints: Input in 1×QB groups; the weight, where there is one, of N FP32 values.
/// - Numerics: Those of `rmsNormBackward` and `layerNormBackward`, to the bit; sums in the order of
///   `rowSum`.
/// - Traffic: 3 bytes read (again from the caches in later passes) and 2 written an element.
/// - Source: As ``NormForward``.
package struct NormBackward<Input: ActivationElement>: Kernel {
  package var kind: NormKind
  package var hasWeight: Bool
  package var groupSize: Int

  package init(_ kind: NormKind, hasWeight: Bool = true, groupSize: Int = 16) {
    self.kind = kind
    self.hasWeight = hasWeight
    self.groupSize = groupSize
  }

  package var name: String {
    kernelName(
      kind.rawValue, "norm_backward", Input.self, "g", groupSize, hasWeight ? "" : "weightless")
  }
  package var bounds: LaunchBounds { LaunchBounds(threads: NormRow<Input>.threads) }

  package func body(_ k: KernelBuilder) {
    let (rows, columns) = (k.uint32("rows"), k.uint32("columns"))
    let row = NormRow<Input>(k, rows: rows, columns: columns, groupSize: groupSize)
    let weight = hasWeight ? k.pointer("weight", to: Float.self) : nil
    let gradient = k.pointer("gradient", to: BFloat16.self)
    let result = k.pointer("result", to: BFloat16.self)
    let stored = k.pointer("statistics", to: Float.self)
    let statistics = row.statistics(kind, epsilon: k.float("epsilon"))
    let count = columns.float

    func load(_ element: NormRow<Input>.Element) -> Value<Float> {
      let incoming = element.matrix(gradient)
      return weight.map { element.parameter($0) * incoming } ?? incoming
    }
    let slope =
      row.sum(load) { element, weighted in statistics.normalized(element.value) * weighted } / count
    let mean = kind == .layer ? row.sum(load) { $1 } / count : nil
    row.forEach(load) { element, weighted in
      var change = statistics.normalized(element.value) * slope
      if let mean { change = change + mean }
      let value = statistics.inverse * (weighted - change)
      let rounded = value.isNaN.select(Value(BFloat16.nan), value.bfloat16)
      result[element.place].store(rounded, if: element.isInside)
    }
    stored[row.row << 1].store(statistics.inverse, if: row.isLeader)
    if let mean = statistics.mean {
      stored[row.row << 1].advanced(by: 1).store(mean, if: row.isLeader)
    }
  }
}
