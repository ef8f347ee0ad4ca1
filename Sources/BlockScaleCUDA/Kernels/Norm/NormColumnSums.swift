// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
package import PTX

/// The sums of panels of 64 rows for the gradients of a norm's weight and, of LayerNorm, its bias.
///
/// ``PanelTotals`` adds the panels.
///
/// - Constraints: `statistics` holds 1/√… and the mean of each row (``NormBackward``).
/// - Numerics: Those of the reference's `columnSums`: FP32, rows in their order.
/// - Traffic: 3 bytes read an element.
package struct NormColumnSums<Input: ActivationElement>: Kernel {
  package var kind: NormKind
  package var groupSize: Int

  package init(_ kind: NormKind, groupSize: Int = 16) {
    self.kind = kind
    self.groupSize = groupSize
  }

  package static var threads: Int { 128 }
  /// Rows whose loads are in flight together.
  private static var together: Int { 8 }

  package var name: String {
    kernelName(kind.rawValue, "norm_column_sums", Input.self, "g", groupSize)
  }
  package var bounds: LaunchBounds { LaunchBounds(threads: Self.threads) }

  package func body(_ k: KernelBuilder) {
    let (rows, columns) = (k.uint32("rows"), k.uint32("columns"))
    let codes = k.pointer("input", to: Input.self)
    let scales = k.pointer("inputScales", to: BFloat16.self)
    let gradient = k.pointer("gradient", to: BFloat16.self)
    let statistics = k.pointer("statistics", to: Float.self)
    let weightPanels = k.pointer("weightPanels", to: Float.self)
    let biasPanels = kind == .layer ? k.pointer("biasPanels", to: Float.self) : nil
    let column = k.special(.blockX).multiplied(by: Value(Self.threads), adding: k.thread)
    let panel = k.special(.blockY)
    let groups = columns.dividedUp(by: groupSize)
    let weightSum = k.variable(Value<Float>(0))
    let biasSum = k.variable(Value<Float>(0))
    k.repeated(Value(columnSumPanelRows / Self.together)) { step in
      let first = panel * columnSumPanelRows + step * Self.together
      let terms = (0..<Self.together).map { index -> (weight: Value<Float>, bias: Value<Float>) in
        let row = first + index
        let inside = (row .< rows) .& (column .< columns)
        let place = row.multipliedWide(by: columns, adding: column.widened)
        let code = codes[place].load(
          cache: .readOnly, if: inside, otherwise: Value<UInt16>(bits: 0))
        let scale = scales[row.multipliedWide(by: groups, adding: (column / groupSize).widened)]
          .load(cache: .readOnly, if: inside, otherwise: Value(bits: 0))
        let incoming = gradient[place].load(
          cache: .readOnly, if: inside, otherwise: Value(bits: 0)
        ).float
        let ofRow = statistics[row << 1]
        let inverse = ofRow.load(cache: .readOnly, if: inside, otherwise: Value(0))
        var value = k.value(ofCode: code.widened, as: Input.self) * scale.float
        if kind == .layer {
          value =
            value - ofRow.advanced(by: 1).load(cache: .readOnly, if: inside, otherwise: Value(0))
        }
        // Outside the matrix all is zero, which does not change a sum that began at +0.
        return (incoming * (value * inverse), incoming)
      }
      for term in terms {
        weightSum.value = weightSum.value + term.weight
        biasSum.value = biasSum.value + term.bias
      }
    }
    let place = panel.multipliedWide(by: columns, adding: column.widened)
    weightPanels[place].store(weightSum.value, if: column .< columns)
    biasPanels?[place].store(biasSum.value, if: column .< columns)
  }
}

/// The sums down the columns of FP32 panels, in their order.
///
/// - Constraints: P×N panels and N sums.
/// - Traffic: The panels read once.
package struct PanelTotals: Kernel {
  package init() {}

  package static let threads = 128

  package var name: String { "panel_totals" }
  package var bounds: LaunchBounds { LaunchBounds(threads: Self.threads) }

  package func body(_ k: KernelBuilder) {
    let (panels, columns) = (k.uint32("rows"), k.uint32("columns"))
    let (source, target) = (k.pointer("panels", to: Float.self), k.pointer("sums", to: Float.self))
    let column = k.special(.blockX).multiplied(by: Value(Self.threads), adding: k.thread)
    let total = k.variable(Value<Float>(0))
    k.forEach(from: Value<UInt32>(0), below: panels, by: Value(1)) { panel in
      let place = panel.multipliedWide(by: columns, adding: column.widened)
      total.value =
        total.value + source[place].load(if: column .< columns, otherwise: Value(0))
    }
    target[column].store(total.value, if: column .< columns)
  }
}
