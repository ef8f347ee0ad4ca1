// SPDX-License-Identifier: Apache-2.0

import Minifloat
package import PTX

/// The first stage of the gradients of COAT's SwiGLU: those of up, and of the gate or its SiLU, in BF16,
/// with the scales of groups and the largest.
///
/// ``TensorDivision`` is the second, once for either gradient.
///
/// - Constraints: Groups are 1×QB; `isAligned` says that N is a multiple of 16.
///   `isWhole` gives the gate's gradient with its scales, otherwise that of the SiLU without.
/// - Numerics: Those of `multiplyBackwardSiLUForward`, and of `siluBackward` after it, to the bit: the
///   gradient of the SiLU is rounded to BF16.
/// - Traffic: 4 bytes read and 4 written an element, and 6/QB or 8/QB of scales.
/// - Source: VILA's `fp8_mul_backward_silu_forward`.
package struct SwiGLUGradientsStage<Input: ActivationElement, Output: ActivationElement>:
  ActivationKernel
{
  package let settings: ActivationSettings
  package let isWhole: Bool

  package init(_ settings: ActivationSettings, isWhole: Bool = true) {
    self.settings = settings
    self.isWhole = isWhole
  }

  package var name: String {
    kernelName("swiglu_gradients", isWhole ? "" : "silu", Input.self, "to", Output.self, settings)
  }

  package func body(_ k: KernelBuilder, _ chunk: ActivationChunk) {
    let incoming = chunk.values(k, "gradient")
    let gate = chunk.decoded(k, "gate", as: Input.self)
    let up = chunk.decoded(k, "up", as: Input.self)
    let sigmas = k.sigmoids(gate)
    let silus = zip(gate, sigmas).map { $0 * $1 }
    let stored = chunk.requantized(silus, as: Input.self, recipe)
    chunk.store(
      zip(incoming, stored).map { $0 * $1 }, for: Output.self, recipe,
      to: GroupScaledPointers(k, "upGradient"))
    let gradients = zip(incoming, up).map { $0 * $1 }
    guard isWhole else {
      return chunk.store(gradients, to: k.pointer("siluGradient", to: BFloat16.self))
    }
    let slopes = zip(sigmas, silus).map { $0 + $1 * (1 - $0) }
    chunk.store(
      zip(gradients, slopes).map { $0.bfloat16.float * $1 }, for: Output.self, recipe,
      to: GroupScaledPointers(k, "gateGradient"))
  }
}
