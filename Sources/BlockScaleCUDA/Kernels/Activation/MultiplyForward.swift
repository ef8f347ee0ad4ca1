// SPDX-License-Identifier: Apache-2.0

import Minifloat
package import PTX

/// The first stage of COAT's FP8 product: BF16 products, the scales of their groups and the largest.
///
/// ``TensorDivision`` is the second.
///
/// - Constraints: Groups are 1×QB; `isAligned` says that N is a multiple of 16.
/// - Numerics: Code times scale, and the product, in FP32; scales are taken before rounding.
/// - Traffic: 2 bytes read and 2 written an element, and 6/QB of scales.
/// - Source: COAT:coat/activation/real_quantization/mul_fwd.py.
package struct MultiplyForward<
  First: ActivationElement, Second: ActivationElement, Output: ActivationElement
>: ActivationKernel {
  package let settings: ActivationSettings

  package init(_ settings: ActivationSettings) { self.settings = settings }

  package var name: String {
    kernelName("multiply_forward", First.self, Second.self, "to", Output.self, settings)
  }

  package func body(_ k: KernelBuilder, _ chunk: ActivationChunk) {
    let first = chunk.decoded(k, "first", as: First.self)
    let second = chunk.decoded(k, "second", as: Second.self)
    chunk.store(
      zip(first, second).map { $0 * $1 }, for: Output.self, recipe,
      to: GroupScaledPointers(k, "result"))
  }
}
