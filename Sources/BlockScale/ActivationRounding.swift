// SPDX-License-Identifier: Apache-2.0

import Minifloat

/// How values are rounded to FP8 under one scale of the whole tensor.
public enum ActivationRounding: Sendable, Hashable {
  /// To the nearest code, ties to even.
  case nearest
  /// To one of the two neighbours, the nearer more likely, so that the expectation is the value.
  ///
  /// Each element draws its own number of 16 bits from the seed and its place, so the result depends
  /// neither on the order of the work nor on threads. The expectation is off by at most 2⁻¹⁷ of the
  /// distance of the neighbours, and by nothing in the mean over values. Give every step another seed.
  /// COAT's own form is not followed: it adds noise before rounding to nearest and is off by half a
  /// unit in the mean.
  case stochastic(seed: UInt64)
}

/// The random number of one place in a tensor, for stochastic rounding.
///
/// Four neighbouring places share 64 bits of Philox2x32, 16 bits each: the counter is the index of the
/// four, the key one half of the mixed seed, whose other half is added to the counter without carries.
/// With seven rounds it passes TestU01's BigCrush. Kernels compute the same in 32-bit arithmetic.
///
/// Source: Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.
package struct PlaceGenerator: RandomNumberGenerator {
  package static let rounds = 7
  package static let multiplier: UInt32 = 0xD256_D193
  /// What a round's key has more than the one before.
  package static let keyStep: UInt32 = 0x9E37_79B9

  private let draw: UInt16

  package init(seed: UInt64, place: Int) {
    self.init(mixedSeed: Self.mixed(seed), place: place)
  }

  package init(mixedSeed: UInt64, place: Int) {
    let index = UInt64(place)
    let group = index >> 2 ^ (mixedSeed >> 32) << 32
    var (left, right) = (UInt32(truncatingIfNeeded: group), UInt32(group >> 32))
    var key = UInt32(truncatingIfNeeded: mixedSeed)
    for _ in 0..<Self.rounds {
      let product = Self.multiplier.multipliedFullWidth(by: left)
      (left, right) = (product.high ^ key ^ right, product.low)
      key &+= Self.keyStep
    }
    let word = index & 2 == 0 ? left : right
    draw = UInt16(truncatingIfNeeded: word >> (16 * UInt32(index & 1)))
  }

  /// The place's number in the high 16 bits, and below them just less than half of their last place:
  /// a fraction is larger exactly if it is at least the number and a half, of 2¹⁶.
  ///
  /// The number is the inverted draw, since kernels add the draw where this is compared.
  package mutating func next() -> UInt64 {
    UInt64(~draw) << 48 | 0x7FFF_FFFF_FFFF
  }

  /// A seed of which every bit changes half of the bits (SplitMix64).
  package static func mixed(_ seed: UInt64) -> UInt64 {
    let start = seed &+ 0x9E37_79B9_7F4A_7C15
    var value = (start ^ start >> 30) &* 0xBF58_476D_1CE4_E5B9
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
