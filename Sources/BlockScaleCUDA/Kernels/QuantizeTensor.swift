// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
package import PTX

/// FP8 codes of a tensor under one scale.
///
/// - Constraints: `maximum` holds the largest magnitude, which `ScaleMaximum` finds. Any number of
///   values; `isAligned` as there.
/// - Numerics: Those of `rule`, whose bytes the reference gives.
/// - Traffic: With `ScaleMaximum` each value is read twice, and each code written once.
package struct QuantizeTensor: Kernel {
  package var rule: QuantizeRule
  package var isAligned = true
  /// Whether values are rounded up or down at random, in proportion to their distance.
  package var isStochastic = false

  package init(_ rule: QuantizeRule, isAligned: Bool = true, isStochastic: Bool = false) {
    precondition(rule.isPerTensor && rule.element != .e2m1, "FP8 under one scale")
    self.rule = rule
    self.isAligned = isAligned
    self.isStochastic = isStochastic
  }

  static let threads = 256
  static let runsPerThread = 4

  /// What the maximum of `ScaleMaximum` must be of.
  package var maximumKind: ScaleMaximum.Kind { rule.hidesNonFinite ? .numbers : .all }

  package var name: String {
    "quantize_\(rule.name)" + (isAligned ? "" : "_unaligned") + (isStochastic ? "_stochastic" : "")
  }

  package var bounds: LaunchBounds { LaunchBounds(threads: Self.threads, minimumBlocks: 4) }

  package func body(_ k: KernelBuilder) {
    let values = k.pointer("values", to: UInt16.self)
    let codes = k.pointer("codes", to: UInt8.self)
    let scale = k.pointer("scales", to: UInt8.self)
    let largest = k.pointer("maximum", to: Float.self).load(cache: .readOnly)
    let random = isStochastic ? PlaceRandom(k) : nil
    let count = k.uint32("rows").multipliedWide(by: k.uint32("columns"))

    let step = Self.threads * SourceRun.count
    let first = k.special(.blockX).multipliedWide(
      by: Value(step * Self.runsPerThread), adding: (k.thread << 3).widened)
    let places = (0..<Self.runsPerThread).map { first + Value($0 * step) }
    let reader = TensorReader(
      k: k, format: rule.source, isAligned: isAligned, values: values, count: count)
    let runs = places.map { reader.run(at: $0) }

    let choice = rule.chooser(k, tensorMaximum: nil)(largest)
    let encoder = RunEncoder(k: k, rule: rule, random: random)
    for (run, place) in zip(runs, places) {
      let words = encoder.words(run, choice, place: RunPlace(first: place, isAligned: true))
      let codes = codes[place]
      if isAligned {
        codes.assuming(UInt32.self).store(words, if: place .< count)
      } else {
        codes.storeBytes(of: words) { place + Value($0) .< count }
      }
    }
    let isFirst = first .== 0
    switch rule.scale.byteCount {
    case 4: scale.assuming(UInt32.self).store(choice.scaleCode, if: isFirst)
    case 2: scale.assuming(UInt16.self).store(choice.scaleCode.low16, if: isFirst)
    default: scale.store(choice.scaleCode.low16, if: isFirst)
    }
  }
}
