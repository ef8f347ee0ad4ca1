// SPDX-License-Identifier: Apache-2.0

package import BlockScale
import Minifloat
package import PTX

/// The first stage of RMSNorm or LayerNorm from FP8: the values, and the largest scale of a row.
///
/// ``TensorDivision`` is the second. RMSNorm stores BF16 values, LayerNorm FP32 ones.
///
/// - Constraints: Input in 1×QB groups; weight and bias, where there are, of N FP32 values.
/// - Numerics: Those of `rmsNormForward` and `layerNormForward`, to the bit; sums in the order of `rowSum`.
/// - Traffic: 1 byte read (again from the caches for the values) and 2 or 4 written an element.
/// - Source: COAT:coat/activation/real_quantization/func_rmsnorm.py, func_layernorm_param.py.
package struct NormForward<Input: ActivationElement, Output: ActivationElement>: Kernel {
  package var kind: NormKind
  package var hasWeight: Bool
  package var hasBias: Bool
  package var groupSize: Int
  package var recipe: ActivationRecipe

  package init(
    _ kind: NormKind, hasWeight: Bool = true, hasBias: Bool = false, groupSize: Int = 16,
    recipe: ActivationRecipe = .storedScale
  ) {
    self.kind = kind
    self.hasWeight = hasWeight
    self.hasBias = hasBias
    self.groupSize = groupSize
    self.recipe = recipe
  }

  package var name: String {
    kernelName(
      kind.rawValue, "norm_forward", Input.self, "to", Output.self, "g", groupSize,
      hasWeight ? "" : "weightless", hasBias ? "bias" : "", recipe)
  }
  package var bounds: LaunchBounds { LaunchBounds(threads: NormRow<Input>.threads) }

  package func body(_ k: KernelBuilder) {
    let (rows, columns) = (k.uint32("rows"), k.uint32("columns"))
    let row = NormRow<Input>(k, rows: rows, columns: columns, groupSize: groupSize)
    let weight = hasWeight ? k.pointer("weight", to: Float.self) : nil
    let bias = hasBias ? k.pointer("bias", to: Float.self) : nil
    let target = k.pointer("values", to: UInt8.self)
    let largest = k.pointer("largest", to: UInt32.self)
    let statistics = row.statistics(kind, epsilon: k.float("epsilon"))

    let larger: (Value<Float>, Value<Float>) -> Value<Float> = { first, second in
      recipe == .coat ? maximum(first, second) : maximumOrNaN(first, second)
    }
    let largestOfLane = k.variable(Value<Float>(0))
    row.forEach { element in
      (weight.map { element.parameter($0) }, bias.map { element.parameter($0) })
    } _: { element, parameters in
      var value = statistics.normalized(element.value)
      if let weight = parameters.0 { value = value * weight }
      if let bias = parameters.1 { value = value + bias }
      let magnitude = element.isInside.select(value.magnitude, Value<Float>(0))
      largestOfLane.value = larger(largestOfLane.value, magnitude)
      if kind == .rms {
        target.assuming(BFloat16.self)[element.place].store(value.bfloat16, if: element.isInside)
      } else {
        target.assuming(Float.self)[element.place].store(value, if: element.isInside)
      }
    }
    let ofRow = largestOfLane.snapshot().reduced(lanes: 16, larger)
    let scale =
      kind == .rms
      ? k.storedGroupScale(maximum: ofRow, Output.self, recipe)
      : k.groupScale(maximum: ofRow, Output.self, recipe).stored
    largest.atomicMaximum(scale.reinterpreted(as: UInt16.self).widened, if: row.isLeader)
  }
}
