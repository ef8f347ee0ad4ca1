// SPDX-License-Identifier: Apache-2.0

package import BlockScale
import Minifloat
package import PTX

/// The functions that have a backward kernel.
package enum ActivationFunction: String, Sendable, Hashable {
  case silu, gelu
}

/// The first stage of the gradient of SiLU or GELU: BF16 values, the scales of their groups and the
/// largest.
///
/// ``TensorDivision`` is the second.
///
/// - Constraints: Groups are 1×QB; `isAligned` says that N is a multiple of 16.
/// - Numerics: Those of `siluBackward` and `geluBackward`, to the bit.
/// - Traffic: 3 bytes read and 2 written an element, and 4/QB of scales.
/// - Source: COAT:coat/activation/real_quantization/silu_bwd.py, gelu_bwd.py.
package struct ActivationBackward<Input: ActivationElement, Output: ActivationElement>:
  ActivationKernel
{
  package var function: ActivationFunction
  package var groupSize: Int
  package var recipe: ActivationRecipe
  package var isAligned: Bool

  package init(
    function: ActivationFunction, groupSize: Int = 16, recipe: ActivationRecipe = .storedScale,
    isAligned: Bool = true
  ) {
    self.function = function
    self.groupSize = groupSize
    self.recipe = recipe
    self.isAligned = isAligned
  }

  package var name: String {
    kernelName(
      function.rawValue, "backward", Input.self, "to", Output.self, "g", groupSize, recipe,
      isAligned ? "" : "tails")
  }

  package func body(_ k: KernelBuilder, _ chunk: ActivationChunk) {
    let incoming = chunk.values(k, "gradient")
    let input = chunk.decoded(k, "input", as: Input.self)
    let slopes =
      switch function {
      case .silu: k.siluDerivatives(input)
      case .gelu: input.map { k.geluDerivative($0) }
      }
    chunk.store(
      zip(incoming, slopes).map { $0 * $1 }, for: Output.self, recipe,
      to: GroupScaledPointers(k, "result"))
  }
}
