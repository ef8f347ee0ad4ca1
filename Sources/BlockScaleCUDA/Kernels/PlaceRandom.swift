// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import PTX

/// Where eight neighbouring values of a tensor begin.
struct RunPlace {
  let first: Value<UInt64>
  /// Whether it is a multiple of eight, so that the values draw whole groups of numbers.
  let isAligned: Bool
}

/// The numbers of `PlaceGenerator`: one for each place of a tensor, from a seed.
struct PlaceRandom {
  private let k: KernelBuilder
  /// The key of each round.
  private let keys: [Value<UInt32>]
  private let stream: Value<UInt32>

  /// Takes the seed, mixed once on the host, from the kernel's parameter.
  init(_ k: KernelBuilder) {
    self.k = k
    let seed = k.uint64("mixedSeed").halves
    keys = (0..<PlaceGenerator.rounds).map {
      seed.low + Int(UInt32($0) &* PlaceGenerator.keyStep)
    }
    stream = seed.high
  }

  /// The numbers of eight neighbours, two in a word.
  func draws(at place: RunPlace) -> [Value<UInt32>] {
    let (low, high) = place.first.halves
    let group = low.shiftedRight(with: high, by: 2)
    let highGroup = high >> 2
    if place.isAligned { return words(group, highGroup) + words(group + 1, highGroup) }
    // Eight neighbours may begin anywhere in the first of three groups.
    let all = words(group, highGroup) + next(group, highGroup, 1) + next(group, highGroup, 2)
    let skipsWord = (low & 2) .!= 0
    let words = (0..<5).map { skipsWord.select(all[$0 + 1], all[$0]) }
    let selector = ((low & 1) .!= 0).select(Value<UInt32>(0x5432), Value(0x3210))
    return (0..<4).map { words[$0].permuted(with: words[$0 + 1], selector: selector) }
  }

  private func next(
    _ group: Value<UInt32>, _ highGroup: Value<UInt32>, _ distance: Int
  ) -> [Value<UInt32>] {
    let index = group + distance
    return words(index, highGroup + (index .< group).select(Value<UInt32>(1), Value(0)))
  }

  /// The four numbers of a group of places, two in a word (Philox2x32).
  private func words(_ group: Value<UInt32>, _ highGroup: Value<UInt32>) -> [Value<UInt32>] {
    var (left, right) = (group, highGroup ^ stream)
    for key in keys {
      let product = left.multipliedWide(by: Value(Int(PlaceGenerator.multiplier))).halves
      (left, right) = (product.high ^ key ^ right, product.low)
    }
    return [left, right]
  }
}

// MARK: Rounding

extension PlaceRandom {
  /// Two words of codes without their signs, drawn from the neighbours of eight values; NaN is 0x7F.
  func magnitudes<Element: KernelFloat8>(
    _ values: [Value<Float>], _ draws: [Value<UInt32>], as element: Element.Type
  ) -> [Value<UInt32>] {
    let rebias = (element.leastNormalExponent + 126) << (23 - element.droppedBits)
    let drawn = values.enumerated().map {
      let magnitude = minimumOrNaN($1.magnitude, Value(element.greatest))
      // NaN becomes the code 0x7F, which no number reaches.
      return raised(
        aligned(magnitude, leastNormalExponent: element.leastNormalExponent),
        atMost: (rebias + 0x7F) << element.droppedBits, draws, $0, droppedBits: element.droppedBits)
    }
    return codes(drawn, mask: 0x7F7F_7F7F, top: 0x4040_4040)
  }

  /// Two words with E2M1 codes in bytes, without their signs; NaN is zero.
  func magnitudes(_ values: [Value<Float>], _ draws: [Value<UInt32>]) -> [Value<UInt32>] {
    let drawn = values.enumerated().map {
      let magnitude = maximum($1.magnitude, Value(0))
      return raised(
        aligned(magnitude, leastNormalExponent: 0), atMost: Int(Float(6).bitPattern), draws, $0,
        droppedBits: 22)
    }
    return codes(drawn, mask: 0x0707_0707, top: 0x0404_0404)
  }

  /// The bits of a magnitude as a code followed by the fraction that the code drops.
  ///
  /// Normal codes have the fields of FP32. Below, the sum with the least normal number has the
  /// format's steps at the same bits, and an exponent too high by one; what the sum cuts off lies
  /// below the last bit of a draw. Of the two readings the larger one is right: the sum is more than
  /// twice the magnitude, and twice is one more in the exponent, only below the least normal number.
  private func aligned(
    _ magnitude: Value<Float>, leastNormalExponent: Int
  ) -> Value<UInt32> {
    let leastNormal = Float(sign: .plus, exponent: leastNormalExponent, significand: 1)
    let sum = magnitude.addingTowardZero(Value(leastNormal))
    return maximum(sum.bits - 1 << 23, magnitude.bits)
  }

  /// A word whose high byte holds the low bits of the code that was drawn.
  ///
  /// The fraction has 20 to 22 bits and is moved to the upper end of 24. A draw and half of its last
  /// place are added: w + 1/2 + fraction·2¹⁶ carries at 2¹⁶, so that the code goes up where the
  /// fraction is at least 65535 − w + 1/2 of 2¹⁶. The half comes with the limit, which it moves too.
  private func raised(
    _ bits: Value<UInt32>, atMost limit: Int, _ draws: [Value<UInt32>], _ index: Int,
    droppedBits: Int
  ) -> Value<UInt32> {
    let half = 1 << (droppedBits - 17)
    let draw = draws[index / 2].permuted(
      with: Value(0), selector: Value(index % 2 == 0 ? 0x4104 : 0x4324))
    return (minimum(bits + half, Value(limit + half)) << (24 - droppedBits)) + draw
  }

  /// Codes from the high bytes of words, which hold them above the exponent's bias.
  ///
  /// Of the bias only the code's highest bit lies in the byte, and adding that turns it.
  private func codes(_ drawn: [Value<UInt32>], mask: Int, top: Int) -> [Value<UInt32>] {
    [0, 4].map { (k.gatheredHighBytes(Array(drawn[$0..<$0 + 4])) ^ top) & mask }
  }
}
