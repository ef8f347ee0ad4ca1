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
  /// - Parameter place: The index of the first value in its tensor, for stochastic rounding.
  func words(
    _ run: SourceRun, _ choice: BlockChoice, place: Value<UInt64>? = nil
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
    _ run: SourceRun, _ place: Value<UInt64>?, scaled: (Int, Value<Float>) -> Value<Float>
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
    _ scaled: [Value<Float>], _ run: SourceRun, _ element: Element.Type, _ place: Value<UInt64>?
  ) -> [Value<UInt32>] {
    precondition(rule.elementRule.zeroSign == .kept, "FP8 codes keep the signs of their values")
    // The conversion keeps all signs but those of NaN.
    let signs = run.signs()
    return [0, 4].map { first in
      let codes: Value<UInt32>
      if let random, let place {
        codes = k.gatheredBytes(
          (first..<first + 4).map {
            random.code(
              scaled[$0], place + Value($0), significandBits: 23 - element.droppedBits,
              leastNormalExponent: element.leastNormalExponent, greatest: element.greatest)
          })
      } else {
        codes = k.codes(Array(scaled[first..<first + 4]), as: element)
      }
      return codes | signs[first / 4]
    }
  }

  private func e2m1Word(
    _ scaled: [Value<Float>], _ values: [Value<Float>], _ run: SourceRun, _ place: Value<UInt64>?
  ) -> Value<UInt32> {
    let magnitudes: [Value<UInt32>]
    if let random, let place {
      magnitudes = scaled.indices.map {
        random.code(
          scaled[$0], place + Value($0), significandBits: 1, leastNormalExponent: 0, greatest: 6)
      }
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

/// The numbers of `PlaceGenerator`: one for each place of a tensor, from a seed.
struct PlaceRandom {
  let k: KernelBuilder
  /// The seed, mixed once on the host.
  let mixedSeed: Value<UInt64>

  /// 53 random bits of a place.
  private func bits(_ place: Value<UInt64>) -> Value<UInt64> {
    let golden = Value<UInt64>(Int(bitPattern: 0x9E37_79B9_7F4A_7C15))
    var value = place.multiplied(by: golden, adding: mixedSeed + golden)
    value = (value ^ value >> 30) * Value(Int(bitPattern: 0xBF58_476D_1CE4_E5B9))
    value = (value ^ value >> 27) * Value(Int(bitPattern: 0x94D0_49BB_1331_11EB))
    return (value ^ value >> 31) >> 11
  }

  /// The code, without a sign, of one of the two neighbours of a magnitude, drawn for a place.
  ///
  /// It goes up with a probability equal to the discarded fraction; NaN is 0x7F of eight bits and
  /// zero of four.
  func code(
    _ value: Value<Float>, _ place: Value<UInt64>, significandBits: Int, leastNormalExponent: Int,
    greatest: Float
  ) -> Value<UInt32> {
    // Where NaN meets a number, the number is taken: what cannot be encoded is put right below.
    let magnitude = minimum(value.magnitude, Value(greatest))
    let field = maximum(magnitude.bits >> 23, Value(leastNormalExponent + 127))
    // In units of the last place of the code, a power of two: 2^(significandBits − exponent).
    let units = magnitude * ((254 + significandBits - field) << 23).floatFromBits
    let whole = units.truncated
    let fraction = units - whole.float
    // Random bits below the fraction, of 2^53, take the upper neighbour.
    let limit = (fraction * 0x1p53).roundedUp
    let up = (bits(place) .< limit).select(Value<UInt32>(1), Value(0))
    let code = ((field - (leastNormalExponent + 127)) << significandBits) + whole + up
    let isWide = significandBits > 1
    return value.isNaN.select(Value<UInt32>(isWide ? 0x7F : 0), code)
  }
}
