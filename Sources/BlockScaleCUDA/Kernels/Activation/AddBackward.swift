// SPDX-License-Identifier: Apache-2.0

import Minifloat
package import PTX

/// The first stage of the sum of two gradients: BF16 values, the scales of their groups and the largest.
///
/// ``TensorDivision`` is the second.
///
/// - Constraints: Groups are 1×QB; `isAligned` says that N is a multiple of 16.
/// - Numerics: Those of `addBackward`, to the bit.
/// - Traffic: 4 bytes read and 2 written an element, and 2/QB of scales.
/// - Source: COAT:coat/activation/real_quantization/add_bwd.py.
package struct AddBackward<Output: ActivationElement>: ActivationKernel {
  package let settings: ActivationSettings

  package init(_ settings: ActivationSettings) { self.settings = settings }

  package var name: String {
    kernelName("add_backward", "to", Output.self, settings)
  }

  package func body(_ k: KernelBuilder, _ chunk: ActivationChunk) {
    let sums = zip(chunk.values(k, "first"), chunk.values(k, "second")).map { $0 + $1 }
    chunk.store(sums, for: Output.self, recipe, to: GroupScaledPointers(k, "result"))
  }
}
