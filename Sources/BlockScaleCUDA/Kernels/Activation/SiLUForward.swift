// SPDX-License-Identifier: Apache-2.0

package import BlockScale
import Minifloat
package import PTX

/// SiLU from FP8 to FP8 in groups.
///
/// - Constraints: Groups are 1×QB; `isAligned` says that N is a multiple of 16.
/// - Numerics: Those of `siluForward`, to the bit.
/// - Traffic: 1 byte read and 1 written an element, and 4/QB of scales.
/// - Source: COAT:coat/activation/real_quantization/silu_fwd.py.
package struct SiLUForward<Input: ActivationElement, Output: ActivationElement>: ActivationKernel {
  package var groupSize: Int
  package var recipe: ActivationRecipe
  package var isAligned: Bool

  package init(
    groupSize: Int = 16, recipe: ActivationRecipe = .storedScale,
    isAligned: Bool = true
  ) {
    self.groupSize = groupSize
    self.recipe = recipe
    self.isAligned = isAligned
  }

  package var name: String {
    kernelName(
      "silu_forward", Input.self, "to", Output.self, "g", groupSize, recipe,
      isAligned ? "" : "tails")
  }

  package func body(_ k: KernelBuilder, _ chunk: ActivationChunk) {
    let values = k.silus(chunk.decoded(k, "input", as: Input.self))
    chunk.store(k, values, as: Output.self, recipe, to: "result")
  }
}
