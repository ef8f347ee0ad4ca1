// SPDX-License-Identifier: Apache-2.0

import Minifloat

/// How values are rounded to FP8 under one scale of the whole tensor.
public enum ActivationRounding: Sendable, Hashable {
  /// To the nearest code, ties to even.
  case nearest
  /// To one of the two neighbours, the nearer more likely, so that the expectation is the value.
  ///
  /// Each element draws its own number from the seed and its place, so the result depends neither on
  /// the order of the work nor on threads. Give every step another seed. COAT's own form is not
  /// followed: it adds noise before rounding to nearest and is off by half a unit in the mean.
  case stochastic(seed: UInt64)
}

/// Random numbers of one place in a tensor (SplitMix64 from a mixed start).
package struct PlaceGenerator: RandomNumberGenerator {
  private var state: UInt64

  package init(seed: UInt64, place: Int) {
    state = Self.mixed(seed) &+ UInt64(truncatingIfNeeded: place) &* 0x9E37_79B9_7F4A_7C15
  }

  package mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    return Self.mixed(state)
  }

  package static func mixed(_ bits: UInt64) -> UInt64 {
    var value = (bits ^ bits >> 30) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
    return value ^ value >> 31
  }
}

extension Float8Element {
  /// A code next to a quotient, drawn for a place.
  package static func code(
    _ value: Float, dividedBy divisor: Float, seed: UInt64, place: Int
  ) -> UInt8 {
    let quotient = value.magnitude / divisor
    if quotient.isNaN { return 0x7F }
    var generator = PlaceGenerator(seed: seed, place: place)
    let sign: UInt8 = value.sign == .minus ? 0x80 : 0
    return sign
      | UInt8(Self(stochastic: Double(quotient), overflow: .saturate, using: &generator).bitPattern)
  }
}
