// SPDX-License-Identifier: Apache-2.0

import Minifloat
package import PTX

/// The first stage of COAT's GELU: BF16 values, the scales of their groups and the largest.
///
/// ``TensorDivision`` is the second.
///
/// - Constraints: Groups are 1×QB; `isAligned` says that N is a multiple of 16.
/// - Numerics: Those of `geluForward`, to the bit.
/// - Traffic: 1 byte read and 2 written an element, and 4/QB of scales.
/// - Source: COAT:coat/activation/real_quantization/gelu_fwd.py.
package struct GELUForward<Input: ActivationElement, Output: ActivationElement>: ActivationKernel {
  package let settings: ActivationSettings

  package init(_ settings: ActivationSettings) { self.settings = settings }

  package var name: String {
    kernelName("gelu_forward", Input.self, "to", Output.self, settings)
  }

  package func body(_ k: KernelBuilder, _ chunk: ActivationChunk) {
    let values = chunk.decoded(k, "input", as: Input.self).map { k.gelu($0) }
    chunk.store(values, for: Output.self, recipe, to: GroupScaledPointers(k, "result"))
  }
}
