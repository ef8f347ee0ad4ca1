// SPDX-License-Identifier: Apache-2.0

import Minifloat
package import PTX

/// The first stage of COAT's SwiGLU: SiLU of the gate, rounded to FP8 in groups as if it were stored,
/// times up; BF16 products, the scales of their groups and the largest.
///
/// ``TensorDivision`` is the second.
///
/// - Constraints: Groups are 1×QB; `isAligned` says that N is a multiple of 16.
/// - Numerics: Those of `siluForward` and `multiplyForward` one after the other, to the bit.
/// - Traffic: 2 bytes read and 2 written an element, and 6/QB of scales.
package struct SwiGLUProduct<Input: ActivationElement, Output: ActivationElement>: ActivationKernel
{
  package let settings: ActivationSettings

  package init(_ settings: ActivationSettings) { self.settings = settings }

  package var name: String {
    kernelName("swiglu_product", Input.self, "to", Output.self, settings)
  }

  package func body(_ k: KernelBuilder, _ chunk: ActivationChunk) {
    let gate = chunk.decoded(k, "gate", as: Input.self)
    let up = chunk.decoded(k, "up", as: Input.self)
    let silus = chunk.requantized(k.silus(gate), as: Input.self, recipe)
    chunk.store(
      zip(silus, up).map { $0 * $1 }, for: Output.self, recipe,
      to: GroupScaledPointers(k, "result"))
  }
}
