// SPDX-License-Identifier: Apache-2.0

import PTX

/// A binary floating-point format with infinities, up to FP32, and its roundings.
struct FloatLayout {
  var significandBits: Int
  var leastNormalExponent: Int
  /// The bits of infinity; the next smaller code is the largest finite.
  var infinity: UInt32
  /// The NaN that the hardware writes.
  var nan: UInt32
  var signBit: UInt32

  static let float16 = FloatLayout(
    significandBits: 10, leastNormalExponent: -14, infinity: 0x7C00, nan: 0x7FFF, signBit: 0x8000)
  static let bfloat16 = FloatLayout(
    significandBits: 7, leastNormalExponent: -126, infinity: 0x7F80, nan: 0x7FFF, signBit: 0x8000)
  static let float32 = FloatLayout(
    significandBits: 23, leastNormalExponent: -126, infinity: 0x7F80_0000, nan: 0x7FFF_FFFF,
    signBit: 0x8000_0000)

  /// The exact value of a code of 16 bits.
  @inline(__always)
  func decode(_ code: UInt16) -> Double {
    if significandBits == 7 { return Double(Float(bitPattern: UInt32(code) << 16)) }
    let magnitude = UInt32(code & 0x7FFF)
    let sign = UInt32(code & 0x8000) << 16
    // Reading the fields 13 places further left divides by 2^112, subnormals included.
    if magnitude < 0x7C00 {
      return Double(Float(bitPattern: sign | magnitude << 13) * 0x1p112)
    }
    return Double(Float(bitPattern: sign | 0x7F80_0000 | (magnitude & 0x3FF) << 13))
  }

  /// The nearest code, ties to even.
  func encode(_ value: Double) -> UInt16 { UInt16(encode(value, .nearestEven)) }

  /// The code of a value, rounded once; NaN becomes the hardware's.
  func encode(_ value: Double, _ rounding: Rounding) -> UInt32 {
    if value.isNaN { return nan }
    let isNegative = value.sign == .minus
    let sign = isNegative ? signBit : 0
    if value.isInfinite { return sign | infinity }
    let magnitude = value.magnitude
    if magnitude == 0 { return sign }
    let exponent = Int(magnitude.bitPattern >> 52) - 1023
    let largestExponent = leastNormalExponent + Int(infinity >> UInt32(significandBits)) - 2
    let (roundsAway, isNearest): (Bool, Bool) =
      switch rounding {
      case .towardZero, .towardZeroInteger: (false, false)
      case .down, .downInteger: (isNegative, false)
      case .up, .upInteger: (!isNegative, false)
      case .none, .nearestEven, .nearestEvenInteger: (false, true)
      }
    if exponent > largestExponent {
      return sign | (roundsAway || isNearest ? infinity : infinity - 1)
    }
    // Below the smallest normal value the unit stays the same, and more bits go. What lies more
    // than a place below the unit is all one to the roundings.
    let lift = Swift.max(0, leastNormalExponent - exponent)
    let dropped = UInt64(Swift.min(52 - significandBits + lift, 60))
    let significand = magnitude.bitPattern & (1 << 52 - 1) | 1 << 52
    let kept = significand >> dropped
    let rest = significand & (1 << dropped - 1)
    let half: UInt64 = 1 << (dropped - 1)
    let isUp =
      isNearest ? rest > half || rest == half && kept & 1 != 0 : roundsAway && rest != 0
    // A carry out of the significand moves on into the exponent field, up to infinity.
    let code =
      UInt32(exponent + lift - leastNormalExponent) << UInt32(significandBits)
      + UInt32(kept) + (isUp ? 1 : 0)
    return sign | Swift.min(code, infinity)
  }

  /// One of two codes: the smaller or larger value.
  @inline(__always)
  func select(_ operation: BinaryOperation, _ x: UInt16, _ y: UInt16) -> UInt16 {
    let left = decode(x)
    let result = binary(operation, left, decode(y))
    return result.isNaN ? UInt16(nan) : result.bitPattern == left.bitPattern ? x : y
  }

  /// Both 16-bit halves of three registers.
  @inline(__always)
  func inHalves(
    _ x: UInt32, _ y: UInt32, _ z: UInt32, _ operation: (Double, Double, Double) -> Double
  ) -> UInt32 {
    func half(_ shift: UInt32) -> UInt32 {
      let low = { (bits: UInt32) in decode(UInt16(truncatingIfNeeded: bits >> shift)) }
      return UInt32(encode(operation(low(x), low(y), low(z)))) << shift
    }
    return half(0) | half(16)
  }

  /// An operation whose result, rounded to this format, is the exact one rounded once.
  func binary(_ operation: BinaryOperation, _ x: Double, _ y: Double) -> Double {
    switch operation {
    case .add: sumToOdd(x, y)
    case .subtract: sumToOdd(x, -y)
    case .multiply: x * y
    case .minimum: smaller(x, y)
    case .maximum: larger(x, y)
    case .minimumNaN: x.isNaN || y.isNaN ? .nan : smaller(x, y)
    case .maximumNaN: x.isNaN || y.isNaN ? .nan : larger(x, y)
    default: preconditionFailure("decoding refuses \(operation) of 16-bit values")
    }
  }
}
