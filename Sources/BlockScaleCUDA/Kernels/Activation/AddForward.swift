// SPDX-License-Identifier: Apache-2.0

import Minifloat
package import PTX

/// The sum of two tensors in BF16 and, rounded once, in FP8 in groups.
///
/// - Constraints: Groups are 1×QB; `isAligned` says that N is a multiple of 16.
///   With `residualIsFloat8` the first summand is codes of `Residual` in groups, otherwise BF16.
/// - Numerics: Those of `addForward`, to the bit.
/// - Traffic: 4 (or 3) bytes read and 3 written an element, and 2/QB (or 4/QB) of scales.
/// - Source: COAT:coat/activation/real_quantization/add_fwd.py, and VILA's `fp8_add_Ig16_Ifp_Ofp_Og16`.
package struct AddForward<Residual: ActivationElement, Output: ActivationElement>: ActivationKernel
{
  package let settings: ActivationSettings
  package let residualIsFloat8: Bool

  package init(_ settings: ActivationSettings, residualIsFloat8: Bool = false) {
    self.settings = settings
    self.residualIsFloat8 = residualIsFloat8
  }

  package var name: String {
    kernelName(
      "add_forward", residualIsFloat8 ? kernelName(Residual.self) : "bf16", "to", Output.self,
      settings)
  }

  package func body(_ k: KernelBuilder, _ chunk: ActivationChunk) {
    let first =
      residualIsFloat8
      ? chunk.decoded(k, "first", as: Residual.self) : chunk.values(k, "first")
    let sums = zip(first, chunk.values(k, "second")).map { $0 + $1 }
    chunk.store(sums, to: k.pointer("sum", to: BFloat16.self))
    chunk.store(k, sums, as: Output.self, recipe, to: "result")
  }
}
