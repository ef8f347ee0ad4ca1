// SPDX-License-Identifier: Apache-2.0

package import Minifloat

// Four eight-bit or eight four-bit codes in a word, from and to FP32, on targets with and without the
// instructions. Both ways give the same bits but for NaN, whose sign the instructions drop; kernels
// that keep it add the signs of their values with `signs`.

/// An eight-bit format that kernels convert to and from.
package protocol KernelFloat8: PairElement {
  /// The significand bits of FP32 that the format drops.
  static var droppedBits: Int { get }
  /// The exponent of the smallest normal value.
  static var leastNormalExponent: Int { get }
  /// The largest finite value.
  static var greatest: Float { get }
}

extension Float8E4M3: KernelFloat8 {
  package static var droppedBits: Int { 20 }
  package static var leastNormalExponent: Int { -6 }
  package static var greatest: Float { 448 }
}

extension Float8E5M2: KernelFloat8 {
  package static var droppedBits: Int { 21 }
  package static var leastNormalExponent: Int { -14 }
  package static var greatest: Float { 57344 }
}

// MARK: Eight bits

extension KernelBuilder {
  /// The nearest codes of four values, the first in the low byte; too large ones saturate.
  package func codes<Element: KernelFloat8>(
    _ values: [Value<Float>], as element: Element.Type
  ) -> Value<UInt32> {
    precondition(values.count == 4, "a word holds four codes")
    if has(.float8Conversion) {
      return joined(
        pair(low: values[0], high: values[1], as: element),
        pair(low: values[2], high: values[3], as: element))
    }
    return gatheredBytes(values.map { code($0, as: element) })
  }

  /// The nearest code of one value, in the low byte; a value that is too large saturates.
  package func code<Element: KernelFloat8>(
    _ value: Value<Float>, as element: Element.Type
  ) -> Value<UInt32> {
    if has(.float8Conversion) {
      return pair(low: value, high: Value<Float>(0), as: element)
        .reinterpreted(as: UInt16.self).widened
    }
    let sign = value.bits >> 24 & 0x80
    let magnitude = value.magnitude
    let clamped = minimum(magnitude, Value(element.greatest))
    // Just under half a unit, and one more where the kept part is odd: ties go to even.
    let odd = clamped.bits >> element.droppedBits & 1
    let half = (1 << (element.droppedBits - 1)) - 1
    let rebias = (element.leastNormalExponent + 126) << (23 - element.droppedBits)
    let normal = ((clamped.bits + half + odd) >> element.droppedBits) - rebias
    // In the sum the smallest subnormal is the last place, so the addition rounds to it.
    let aligner = Float(
      sign: .plus, exponent: element.leastNormalExponent + element.droppedBits, significand: 1)
    let subnormal = (clamped + aligner).bits - Int(aligner.bitPattern)
    let leastNormal = Float(sign: .plus, exponent: element.leastNormalExponent, significand: 1)
    let code = (clamped .< leastNormal).select(subnormal, normal)
    return value.isNaN.select(Value(0x7F), code | sign)
  }

  /// The values of four codes.
  package func values<Element: KernelFloat8>(
    of word: Value<UInt32>, as element: Element.Type
  ) -> [Value<Float>] {
    if has(.float8Conversion) {
      let (low, high) = pairs(of: word, as: element)
      let (first, second) = (halves(of: low).floats, halves(of: high).floats)
      return [first.low, first.high, second.low, second.high]
    }
    return (0..<4).map { value(ofCode: word >> (8 * $0) & 0xFF, as: element) }
  }

  /// The value of a code in the low byte of a word whose other bytes are zero.
  package func value<Element: KernelFloat8>(
    ofCode code: Value<UInt32>, as element: Element.Type
  ) -> Value<Float> {
    if has(.float8Conversion) {
      let pair = code.low16.reinterpreted(as: Pair<Element>.self)
      return halves(of: pair).floats.low
    }
    let magnitude = code & 0x7F
    // Read as FP32 the fields are the value times a power of two, subnormals included.
    let bias = 1 - element.leastNormalExponent
    let scaled =
      (magnitude << element.droppedBits).floatFromBits
      * Float(sign: .plus, exponent: 127 - bias, significand: 1)
    let special =
      element.droppedBits == 21
      // E5M2 keeps IEEE's infinity and NaN: the exponent field of ones stays one.
      ? (magnitude .>= 0x7C).select(
        (magnitude .== 0x7C).select(Value(0x7F80_0000), Value(0x7FFF_FFFF)), scaled.bits)
      : (magnitude .== 0x7F).select(Value(0x7FFF_FFFF), scaled.bits)
    return (special | (code & 0x80) << 24).floatFromBits
  }
}

// MARK: Four bits

extension KernelBuilder {
  /// The E2M1 codes of eight values, the first in the low four bits; ties go to even, too large
  /// values saturate, and NaN has the magnitude 6.
  ///
  /// - Parameter signs: Eight bytes in two words, 0x80 where a code is negative.
  package func e2m1Codes(
    of values: [Value<Float>], signs: [Value<UInt32>]
  ) -> Value<UInt32> {
    precondition(values.count == 8 && signs.count == 2, "a word holds eight codes")
    guard has(.float4Conversion) else {
      return e2m1Codes(magnitudes: values.map { e2m1Magnitude($0) }, signs: signs)
    }
    let bytes = stride(from: 0, to: 8, by: 2).map {
      pair(low: values[$0], high: values[$0 + 1], as: Float4E2M1.self)
        .reinterpreted(as: UInt16.self).widened
    }
    return gatheredBytes(bytes) & 0x7777_7777 | packedNibbles(signs[0] >> 4, signs[1] >> 4)
  }

  /// Eight E2M1 codes from words that hold a magnitude's code each in their low bytes.
  package func e2m1Codes(
    magnitudes: [Value<UInt32>], signs: [Value<UInt32>]
  ) -> Value<UInt32> {
    e2m1Codes(
      magnitudeBytes: [
        gatheredBytes(Array(magnitudes[..<4])), gatheredBytes(Array(magnitudes[4...])),
      ], signs: signs)
  }

  /// The same from two words with a magnitude's code in each byte.
  package func e2m1Codes(
    magnitudeBytes: [Value<UInt32>], signs: [Value<UInt32>]
  ) -> Value<UInt32> {
    packedNibbles(magnitudeBytes[0] | signs[0] >> 4, magnitudeBytes[1] | signs[1] >> 4)
  }

  /// The E2M1 code of a magnitude, ties to even, in the low bits of a word whose next bits are zero.
  ///
  /// Codes count steps of 1/2 up to 2, of 1 up to 4, and of 2 beyond: the code is the least of 2x, x + 2
  /// and x/2 + 4, each rounded to an integer, and ties are even in all three alike. Sums with 1.5·2²³
  /// round so and show the integer in their low bits; they spare the integer units, of which a GPU has
  /// half as many.
  package func e2m1Magnitude(_ value: Value<Float>) -> Value<UInt32> {
    let magnitude = minimum(value.magnitude, Value(6))
    let aligner: Float = 12_582_912
    let halves = magnitude.multiplied(by: Value(2), adding: Value(aligner))
    let ones = magnitude + (aligner + 2)
    let twos = magnitude.multiplied(by: Value(0.5), adding: Value(aligner + 4))
    return minimum(minimum(halves, ones), twos).bits
  }

  /// Eight codes of four bits from two words with one in each byte.
  package func packedNibbles(_ low: Value<UInt32>, _ high: Value<UInt32>) -> Value<UInt32> {
    // Even bytes then hold two codes each.
    let first = low | low >> 4
    let second = high | high >> 4
    return first.permuted(with: second, selector: Value(0x6420))
  }

  /// The values of the eight codes of a word.
  package func e2m1Values(of word: Value<UInt32>) -> [Value<Float>] {
    (0..<8).map { index in
      let code = index == 0 ? word : word >> (4 * index)
      // Read as FP32 the fields are the value times 2⁻¹²⁶, the subnormal code included.
      let bits = (code & 0x7) << 22 | (code & 0x8) << 28
      return bits.floatFromBits * 0x1p126
    }
  }
}

// MARK: Bytes

extension KernelBuilder {
  /// The low bytes of four words in one.
  package func gatheredBytes(_ words: [Value<UInt32>]) -> Value<UInt32> {
    let low = words[0].permuted(with: words[1], selector: Value(0x0040))
    let high = words[2].permuted(with: words[3], selector: Value(0x0040))
    return low.permuted(with: high, selector: Value(0x5410))
  }

  /// The high bytes of four words in one.
  package func gatheredHighBytes(_ words: [Value<UInt32>]) -> Value<UInt32> {
    let low = words[0].permuted(with: words[1], selector: Value(0x0073))
    let high = words[2].permuted(with: words[3], selector: Value(0x0073))
    return low.permuted(with: high, selector: Value(0x5410))
  }

  /// A byte for each of four values: 0x80 where its sign bit is set.
  package func signs(_ values: [Value<Float>]) -> Value<UInt32> {
    gatheredHighBytes(values.map(\.bits)) & 0x8080_8080
  }
}
