// SPDX-License-Identifier: Apache-2.0

package import BlockScale
import Minifloat
package import PTX

/// FP8 codes of values in groups with BF16 scales; or the scales alone and the largest, the first of
/// two stages in which a tensor gets one scale (``TensorDivision``).
///
/// - Constraints: Groups are 1×QB; `isAligned` says that N is a multiple of 16.
/// - Numerics: Those of `quantizeGroups` and `quantizePerTensor`, to the bit.
/// - Traffic: The values read, and 1 byte (or none) written an element and 2/QB of scales.
/// - Source: COAT:coat/activation/real_quantization/_quantize.py, _quantize_pertensor.py.
package struct QuantizeGroups<Output: ActivationElement>: ActivationKernel {
  package let settings: ActivationSettings
  package let source: SourceFormat
  package let scalesAlone: Bool

  package init(
    _ settings: ActivationSettings, source: SourceFormat = .bfloat16, scalesAlone: Bool = false
  ) {
    self.settings = settings
    self.source = source
    self.scalesAlone = scalesAlone
  }

  package var name: String {
    kernelName(
      scalesAlone ? "group_scales" : "quantize_groups", source.rawValue, "to", Output.self, settings
    )
  }

  package func body(_ k: KernelBuilder, _ chunk: ActivationChunk) {
    let values = chunk.values(k, "values", source)
    guard scalesAlone else {
      return chunk.store(k, values, as: Output.self, recipe, to: "result")
    }
    let scale = k.groupScale(
      maximum: chunk.largestMagnitude(values, recipe), Output.self, recipe)
    chunk.storeForGroup(scale.stored, to: k.pointer("resultScales", to: BFloat16.self))
    chunk.raise(k.pointer("resultLargest", to: UInt32.self), to: scale.stored)
  }
}
