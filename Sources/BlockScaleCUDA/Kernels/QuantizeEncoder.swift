// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import PTX

/// Turns runs of eight values into words of codes under a block's scale.
struct RunEncoder {
  let k: KernelBuilder
  let rule: QuantizeRule
  /// Draws for stochastic rounding; nil rounds to nearest.
  var random: PlaceRandom?

  /// Two words of FP8 codes, or one of E2M1.
  ///
  /// - Parameter place: Where the first value lies in its tensor, for stochastic rounding.
  func words(
    _ run: SourceRun, _ choice: BlockChoice, place: RunPlace? = nil
  ) -> [Value<UInt32>] {
    let words = words(run, place) { choice.scaled($1) }
    guard let kept = choice.keptBits else { return words }
    return words.map { $0 & kept }
  }

  /// The same where each value has a factor (and a mask) of its own.
  func words(
    _ run: SourceRun, factors: [Value<Float>], divides: Bool, keptBits: [Value<UInt32>]?
  ) -> [Value<UInt32>] {
    let words = words(run, nil) { divides ? $1 / factors[$0] : $1 * factors[$0] }
    guard let keptBits else { return words }
    if rule.element == .e2m1 {
      // A nibble of each mask.
      let nibbles = keptBits.enumerated().map { $1 & (0xF << (4 * $0)) }
      return [words[0] & reduced(nibbles) { $0 | $1 }]
    }
    return [0, 4].map { words[$0 / 4] & k.gatheredBytes(Array(keptBits[$0..<$0 + 4])) }
  }

  private func words(
    _ run: SourceRun, _ place: RunPlace?, scaled: (Int, Value<Float>) -> Value<Float>
  ) -> [Value<UInt32>] {
    let values = run.floats()
    var scaled = values.enumerated().map {
      scaled($0, $1).rounded(to: rule.elementRule.intermediate)
    }
    if rule.canMakeNaN { scaled = scaled.map { $0.isNaN.select(Value<Float>(0), $0) } }
    return switch rule.element {
    case .e4m3: float8Words(scaled, run, Float8E4M3.self, place)
    case .e5m2: float8Words(scaled, run, Float8E5M2.self, place)
    case .e2m1: [e2m1Word(scaled, values, run, place)]
    }
  }

  private func float8Words<Element: KernelFloat8>(
    _ scaled: [Value<Float>], _ run: SourceRun, _ element: Element.Type, _ place: RunPlace?
  ) -> [Value<UInt32>] {
    precondition(rule.elementRule.zeroSign == .kept, "FP8 codes keep the signs of their values")
    // The conversion keeps all signs but those of NaN.
    let signs = run.signs()
    let codes: [Value<UInt32>]
    if let random, let place {
      codes = random.magnitudes(scaled, random.draws(at: place), as: element)
    } else {
      codes = [0, 4].map { k.codes(Array(scaled[$0..<$0 + 4]), as: element) }
    }
    return zip(codes, signs).map { $0 | $1 }
  }

  private func e2m1Word(
    _ scaled: [Value<Float>], _ values: [Value<Float>], _ run: SourceRun, _ place: RunPlace?
  ) -> Value<UInt32> {
    let magnitudes: [Value<UInt32>]
    if let random, let place {
      let drawn = random.magnitudes(scaled, random.draws(at: place))
      if rule.elementRule.zeroSign == .kept {
        return k.e2m1Codes(magnitudeBytes: drawn, signs: run.signs())
      }
      magnitudes = (0..<8).map { drawn[$0 / 4] >> (8 * ($0 % 4)) }
    } else if rule.elementRule.ties == .even {
      if rule.elementRule.zeroSign == .kept { return k.e2m1Codes(of: scaled, signs: run.signs()) }
      if rule.elementRule.zeroSign == .keptUnlessInputIsZero {
        // Adding zero turns −0 into +0 and changes nothing else.
        let values = values.map { $0 + 0 }
        return k.e2m1Codes(
          of: scaled, signs: [k.signs(Array(values[..<4])), k.signs(Array(values[4...]))])
      }
      magnitudes = scaled.map { k.e2m1Magnitude($0) }
    } else {
      magnitudes = scaled.map { e2m1Magnitude($0) }
    }
    let flags = values.indices.map { sign(of: values[$0], magnitude: magnitudes[$0]) }
    return k.e2m1Codes(
      magnitudes: magnitudes,
      signs: [k.gatheredBytes(Array(flags[..<4])), k.gatheredBytes(Array(flags[4...]))])
  }

  /// The number of decision thresholds that a magnitude exceeds.
  private func e2m1Magnitude(_ value: Value<Float>) -> Value<UInt32> {
    let thresholds = rule.elementRule.ties.e2m1Thresholds
    let magnitude = value.magnitude
    return (0..<7).map { (magnitude .> thresholds[$0]).select(Value<UInt32>(1), Value(0)) }
      .reduce(Value<UInt32>(0).materialized(k)) { $0 + $1 }
  }

  /// 0x80 where a code is negative.
  private func sign(of value: Value<Float>, magnitude: Value<UInt32>) -> Value<UInt32> {
    let isNegative = (value.bits .>= 0x8000_0000)
    let counts: Value<Bool> =
      switch rule.elementRule.zeroSign {
      case .kept: isNegative
      case .keptUnlessInputIsZero: isNegative .& (value .!= Value(0))
      case .positive: isNegative .& ((magnitude & 0x7) .!= 0)
      case .negativeForZeroInput: isNegative .| (value .== Value(0))
      }
    return counts.select(Value<UInt32>(0x80), Value(0))
  }
}
