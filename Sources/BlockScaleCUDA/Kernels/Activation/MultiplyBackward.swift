// SPDX-License-Identifier: Apache-2.0

import Minifloat
package import PTX

/// The first stage of COAT's `fp8_mul_backward`: both gradients of a product in BF16, and the scales
/// of the second's groups and the largest.
///
/// ``TensorDivision`` is the second, which gives the second gradient and its transpose in FP8.
///
/// - Constraints: Groups are 1×QB; `isAligned` says that N is a multiple of 16.
/// - Numerics: Code times scale, and products with the gradient, in FP32; scales are taken before rounding.
/// - Traffic: 4 bytes read and 4 written an element, and 6/QB of scales.
/// - Source: COAT:coat/activation/real_quantization/mul_bwd.py.
package struct MultiplyBackward<
  First: ActivationElement, Second: ActivationElement, Output: ActivationElement
>: ActivationKernel {
  package let settings: ActivationSettings

  package init(_ settings: ActivationSettings) { self.settings = settings }

  package var name: String {
    kernelName("multiply_backward", First.self, Second.self, "to", Output.self, settings)
  }

  package func body(_ k: KernelBuilder, _ chunk: ActivationChunk) {
    let incoming = chunk.values(k, "gradient")
    let first = chunk.decoded(k, "first", as: First.self)
    let second = chunk.decoded(k, "second", as: Second.self)
    chunk.store(
      zip(incoming, second).map { $0 * $1 }, to: k.pointer("firstGradient", to: BFloat16.self))
    chunk.store(
      zip(incoming, first).map { $0 * $1 }, for: Output.self, recipe,
      to: GroupScaledPointers(k, "result"))
  }
}
