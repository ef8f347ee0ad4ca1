// SPDX-License-Identifier: Apache-2.0

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
  package let settings: ActivationSettings
  package let function: ActivationFunction

  package init(_ function: ActivationFunction, _ settings: ActivationSettings) {
    self.settings = settings
    self.function = function
  }

  package var name: String {
    kernelName(function.rawValue, "backward", Input.self, "to", Output.self, settings)
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
