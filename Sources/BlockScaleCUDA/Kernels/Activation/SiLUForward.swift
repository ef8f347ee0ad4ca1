// SPDX-License-Identifier: Apache-2.0

import Minifloat
package import PTX

/// SiLU from FP8 to FP8 in groups.
///
/// - Constraints: Groups are 1×QB; `isAligned` says that N is a multiple of 16.
/// - Numerics: Those of `siluForward`, to the bit.
/// - Traffic: 1 byte read and 1 written an element, and 4/QB of scales.
/// - Source: COAT:coat/activation/real_quantization/silu_fwd.py.
package struct SiLUForward<Input: ActivationElement, Output: ActivationElement>: ActivationKernel {
  package let settings: ActivationSettings

  package init(_ settings: ActivationSettings) { self.settings = settings }

  package var name: String {
    kernelName("silu_forward", Input.self, "to", Output.self, settings)
  }

  package func body(_ k: KernelBuilder, _ chunk: ActivationChunk) {
    let values = k.silus(chunk.decoded(k, "input", as: Input.self))
    chunk.store(k, values, as: Output.self, recipe, to: "result")
  }
}
