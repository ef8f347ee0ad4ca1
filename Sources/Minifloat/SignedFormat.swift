// SPDX-License-Identifier: Apache-2.0

/// The parameters that tell one sign-exponent-significand format from another.
///
/// A code is read as sign, exponent field and significand field; a zero exponent field marks
/// subnormals. One encoder serves every format, so that a rounding rule is written once.
@usableFromInline
struct SignedFormat: Sendable {
  /// The number of explicitly stored significand bits.
  @usableFromInline let significandBitCount: Int
  /// The exponent of the smallest normal value.
  @usableFromInline let leastNormalExponent: Int
  /// The magnitude bits of the largest finite value.
  @usableFromInline let greatestFinite: UInt32
  /// The magnitude bits of infinity, or of NaN where the format has no infinity, or of the largest
  /// finite value where it has neither.
  @usableFromInline let overflow: UInt32
  /// The magnitude bits of the canonical NaN.
  @usableFromInline let nan: UInt32
  /// The sign bit.
  @usableFromInline let signBit: UInt32

  @usableFromInline
  init(
    significandBitCount: Int, leastNormalExponent: Int, greatestFinite: UInt32, overflow: UInt32,
    nan: UInt32, signBit: UInt32
  ) {
    self.significandBitCount = significandBitCount
    self.leastNormalExponent = leastNormalExponent
    self.greatestFinite = greatestFinite
    self.overflow = overflow
    self.nan = nan
    self.signBit = signBit
  }

  /// The code of `value`, rounded once.
  ///
  /// `Double` holds every `Float`, `Float16` and `BFloat16` exactly, so a conversion from any of
  /// them through here rounds once as well.
  @inlinable
  func encode(_ value: Double, ties: TieRule, overflow rule: OverflowRule) -> UInt32 {
    encode(value, overflow: rule) { ties.rounded($0) }
  }

  /// The code of `value`, rounded up with a probability equal to the discarded fraction.
  ///
  /// The expectation of the result equals `value` as long as it does not overflow.
  @inlinable
  func encode(
    _ value: Double, overflow rule: OverflowRule, using generator: inout some RandomNumberGenerator
  ) -> UInt32 {
    encode(value, overflow: rule) { magnitude in
      let floor = magnitude.rounded(.down)
      // 53 uniform bits: as many as the fraction of a Double can need.
      let threshold = Double(generator.next() >> 11) * 0x1p-53
      return magnitude - floor > threshold ? floor + 1 : floor
    }
  }

  @inlinable
  func encode(
    _ value: Double, overflow rule: OverflowRule, rounded: (Double) -> Double
  ) -> UInt32 {
    let sign = value.sign == .minus ? signBit : 0
    if value.isNaN { return sign | nan }
    let beyond = rule == .saturate ? greatestFinite : overflow
    if value.isInfinite { return sign | beyond }
    let magnitude = value.magnitude
    if magnitude.isZero { return sign }
    // The unit in the last place is a power of two, so the division is exact and the only rounding
    // is the one asked for. A carry out of the significand moves on into the exponent field.
    let exponent = Swift.max(Int(magnitude.exponent), leastNormalExponent)
    if exponent > leastNormalExponent + Int(greatestFinite >> UInt32(significandBitCount)) {
      return sign | beyond
    }
    let inUnits = Double(
      sign: .plus, exponent: significandBitCount - exponent, significand: magnitude)
    let code =
      UInt32(exponent - leastNormalExponent) << UInt32(significandBitCount)
      + UInt32(rounded(inUnits))
    return sign | (code > greatestFinite ? beyond : code)
  }

  /// The code of a `Float`, ties to even: the same as through `Double`, in integer arithmetic.
  @inlinable
  func encodeNearest(_ value: Float, overflow rule: OverflowRule) -> UInt32 {
    let magnitude = value.bitPattern & 0x7FFF_FFFF
    let sign = value.sign == .minus ? signBit : 0
    if magnitude > 0x7F80_0000 { return sign | nan }
    let beyond = rule == .saturate ? greatestFinite : overflow
    let leastNormal = UInt32(leastNormalExponent + 127) << 23
    let code: UInt32
    if magnitude >= leastNormal {
      // Half a unit, less one unless the kept part is odd, carries into it exactly where it should.
      let dropped = UInt32(23 - significandBitCount)
      let half = (UInt32(1) << (dropped - 1)) - 1 + (magnitude >> dropped & 1)
      code =
        (magnitude + half) >> dropped
        - UInt32(leastNormalExponent + 126) << UInt32(significandBitCount)
    } else {
      // In the sum the smallest subnormal is the last place, so the addition rounds to it.
      let aligner = Float(
        sign: .plus, exponent: leastNormalExponent - significandBitCount + 23, significand: 1)
      code = (Float(bitPattern: magnitude) + aligner).bitPattern - aligner.bitPattern
    }
    return sign | (code > greatestFinite ? beyond : code)
  }
}
