// SPDX-License-Identifier: Apache-2.0

package import BlockScale
import Minifloat
package import PTX

/// The first stage of RMSNorm or LayerNorm from FP8: the values, and the largest scale of a row.
///
/// A block of the grid has two rows and goes over them two or three times (``NormRows``).
///
/// ``TensorDivision`` is the second. RMSNorm stores BF16 values, LayerNorm FP32 ones.
///
/// - Constraints: Input in 1×QB groups; weight and bias, where there are, of N FP32 values; `isAligned`
///   says that N is a multiple of 16.
/// - Numerics: Those of `rmsNormForward` and `layerNormForward`, to the bit; sums in the order of `rowSum`.
/// - Traffic: 1 byte and 2/QB of scales read (again from the caches for every further sum and for the
///   values) and 2 or 4 written an element.
/// - Source: COAT:coat/activation/real_quantization/func_rmsnorm.py, func_layernorm_param.py.
package struct NormForward<Input: ActivationElement, Output: ActivationElement>: Kernel {
  package var kind: NormKind
  package var hasWeight: Bool
  package var hasBias: Bool
  package var groupSize: Int
  package var recipe: ActivationRecipe
  package var isAligned: Bool

  package init(
    _ kind: NormKind, hasWeight: Bool = true, hasBias: Bool = false, groupSize: Int = 16,
    recipe: ActivationRecipe = .storedScale, isAligned: Bool = true
  ) {
    self.kind = kind
    self.hasWeight = hasWeight
    self.hasBias = hasBias
    self.groupSize = groupSize
    self.recipe = recipe
    self.isAligned = isAligned
  }

  package var name: String {
    kernelName(
      kind.rawValue, "norm_forward", Input.self, "to", Output.self, "g", groupSize,
      hasWeight ? "" : "weightless", hasBias ? "bias" : "", recipe,
      isAligned ? "" : "tails")
  }
  package var bounds: LaunchBounds {
    // Means take registers, which six blocks do not leave on every target.
    LaunchBounds(
      threads: NormRows<Input>.threads, minimumBlocks: isAligned ? (kind == .rms ? 6 : 5) : nil)
  }

  package func body(_ k: KernelBuilder) {
    let rows = NormRows<Input>(k, groupSize: groupSize, isAligned: isAligned)
    let weight = hasWeight ? k.pointer("weight", to: Float.self) : nil
    let bias = hasBias ? k.pointer("bias", to: Float.self) : nil
    let target = rows.matrix("values", bytesPerValue: kind == .rms ? 2 : 4)
    let largest = k.pointer("largest", to: UInt32.self)
    let maximumOfBlock = BlockMaximum(k)
    let statistics = rows.statistics(kind, epsilon: k.float("epsilon"), in: rows.termTiles())

    let larger: (Value<Float>, Value<Float>) -> Value<Float> = { first, second in
      recipe == .coat ? maximum(first, second) : maximumOrNaN(first, second)
    }
    let largestOfThread = k.variable(Value<Float>(0))
    rows.forEachRun { column in
      let inputs = rows.inputs(at: column)
      let weights = weight.map { rows.parameter($0, at: column) }
      let biases = bias.map { rows.parameter($0, at: column) }
      for (row, values) in rows.values(of: inputs).enumerated() {
        let results = values.enumerated().map { index, value in
          var result = statistics[row].normalized(value)
          if let weights { result = result * weights[index] }
          if let biases { result = result + biases[index] }
          return result
        }
        let magnitudes = results.enumerated().map { index, value in
          isAligned
            ? value.magnitude
            : rows.isInside(column, index).select(value.magnitude, Value<Float>(0))
        }
        largestOfThread.value = larger(largestOfThread.value, reduced(magnitudes, larger))
        rows.store(
          kind == .rms ? words(k, results) : results.map(\.bits), to: target, row: row,
          at: column)
      }
    }
    // Scales never fall where magnitudes rise, and neither has a sign.
    maximumOfBlock.raise(largest, to: largestOfThread.snapshot().bits) { bits in
      let maximum = bits.floatFromBits
      let scale =
        kind == .rms
        ? k.storedGroupScale(maximum: maximum, Output.self, recipe)
        : k.groupScale(maximum: maximum, Output.self, recipe).stored
      return scale.reinterpreted(as: UInt16.self).widened
    }
  }

  /// Values rounded to BF16, two in a word; which NaN becomes of NaN is all one to the division.
  private func words(_ k: KernelBuilder, _ values: [Value<Float>]) -> [Value<UInt32>] {
    stride(from: 0, to: values.count, by: 2).map {
      k.pair(low: values[$0], high: values[$0 + 1], as: BFloat16.self)
        .reinterpreted(as: UInt32.self)
    }
  }
}
