// SPDX-License-Identifier: Apache-2.0

import RealModule

/// Seeded random numbers (SplitMix64): the same on every machine, and a state that is one number.
public struct RandomStream: RandomNumberGenerator, Sendable, Hashable {
  /// What the next number follows from.
  public private(set) var state: UInt64

  /// A stream that goes on from a state.
  public init(state: UInt64) { self.state = state }

  /// One of many streams of a seed.
  public init(seed: UInt64, stream: UInt64 = 0) {
    var first = RandomStream(state: seed)
    var second = RandomStream(state: first.next() ^ stream &* 0xD134_2543_DE82_EF95)
    state = second.next()
  }

  /// The next 64 bits.
  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var value = state
    value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
    return value ^ value >> 31
  }

  /// A number from 0 to below 1.
  public mutating func uniform() -> Double { Double(next() >> 11) * 0x1p-53 }

  /// A whole number from 0 to below a bound.
  public mutating func below(_ bound: Int) -> Int {
    // The bias is below 2⁻³² for the bounds that occur here.
    Int(next().multipliedFullWidth(by: UInt64(bound)).high)
  }

  /// A number of the standard normal distribution (Box and Muller).
  public mutating func normal() -> Double {
    let radius = (-2 * Double.log(1 - uniform())).squareRoot()
    return radius * Double.cos(2 * Double.pi * uniform())
  }
}
