// SPDX-License-Identifier: Apache-2.0

package import Minifloat

/// Sixteen values as codes, and what the codes stand for.
struct EncodedSixteen {
  var codes: SIMD16<Int32>
  /// The decoded values, before any scale.
  var values: SIMD16<Float>
}

/// Encodes scaled values of one element format, sixteen at a time.
///
/// The conforming types have no state that differs between blocks, so that the loop around them
/// specializes to straight-line vector code.
protocol ElementEncoder {
  static var bitWidth: Int { get }

  init(_ rule: ElementRule)

  /// - Parameters:
  ///   - scaled: Values in the range of the format.
  ///   - source: The same values before scaling, which give the signs.
  func encode(_ scaled: SIMD16<Float>, source: SIMD16<Float>) -> EncodedSixteen
}

extension ElementRule.ZeroSign {
  /// Gives codes their sign bits, which `signBit` says the place of.
  @inline(__always)
  func signed(
    _ codes: SIMD16<Int32>, source: SIMD16<Float>, signBit: Int32
  ) -> SIMD16<Int32> {
    // Arithmetic shifts spread the sign over its lane.
    var signs = (source.bits &>> 31) & signBit
    switch self {
    case .kept: break
    case .keptUnlessInputIsZero: signs &= ~source.zeroLanes
    case .positive: signs &= ~codes.lanes(below: 1)
    case .negativeForZeroInput: signs |= source.zeroLanes & signBit
    }
    return codes | signs
  }
}

extension TieRule {
  /// Seven thresholds, and infinity: an E2M1 code is the number of those that a magnitude exceeds.
  ///
  /// A tie that goes up is turned into "exceeds" by taking the float just below it.
  package var e2m1Thresholds: SIMD8<Float> {
    var thresholds = SIMD8<Float>(0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5, .infinity)
    for index in 0..<7 {
      let tieGoesUp =
        switch self {
        case .even: index % 2 == 1
        case .towardZero: false
        case .awayFromZero: true
        }
      if tieGoesUp { thresholds[index] = thresholds[index].nextDown }
    }
    return thresholds
  }
}

/// E2M1 by comparison with the seven decision thresholds.
struct E2M1Encoder: ElementEncoder {
  static var bitWidth: Int { 4 }

  let thresholds: SIMD8<Float>
  let zeroSign: ElementRule.ZeroSign

  init(_ rule: ElementRule) {
    zeroSign = rule.zeroSign
    thresholds = rule.ties.e2m1Thresholds
  }

  @inline(__always)
  func encode(_ scaled: SIMD16<Float>, source: SIMD16<Float>) -> EncodedSixteen {
    let magnitude = SIMD16<Float>(bits: scaled.magnitudeBits)
    // The steps between values are 0.5 four times, then 1, 1 and 2.
    let small =
      magnitude.lanes(above: thresholds[0]) &+ magnitude.lanes(above: thresholds[1])
      &+ magnitude.lanes(above: thresholds[2]) &+ magnitude.lanes(above: thresholds[3])
    let medium = magnitude.lanes(above: thresholds[4]) &+ magnitude.lanes(above: thresholds[5])
    let large = magnitude.lanes(above: thresholds[6])
    let codes = SIMD16() &- (small &+ medium &+ large)
    let halves = SIMD16() &- (small &+ medium &+ medium &+ (large &<< 2))
    let unsigned = SIMD16<Float>(halves) * 0.5
    return EncodedSixteen(
      codes: zeroSign.signed(codes, source: source, signBit: 0x8),
      values: SIMD16<Float>(bits: unsigned.bits | (source.bits & .min)))
  }
}

/// An 8-bit format by integer arithmetic on the bits of a float; ties go to even.
protocol Float8Encoder: ElementEncoder {
  /// The significand bits of a float that the format drops.
  static var droppedBits: Int32 { get }
  /// The difference between the exponent biases, in the place of the exponent field of a code.
  static var rebias: Int32 { get }
  /// The smallest normal value.
  static var leastNormal: Float { get }
  /// The largest finite value.
  static var greatest: Float { get }
  /// A float whose last place is worth the smallest subnormal, so that an addition rounds to it.
  static var subnormalAligner: Float { get }
  /// The smallest subnormal.
  static var leastSubnormal: Float { get }

  var zeroSign: ElementRule.ZeroSign { get }
}

extension Float8Encoder {
  static var bitWidth: Int { 8 }

  @inline(__always)
  func encode(_ scaled: SIMD16<Float>, source: SIMD16<Float>) -> EncodedSixteen {
    let magnitude = SIMD16<Float>(bits: scaled.magnitudeBits)
    let clampedBits = magnitude.bits.minimum(
      SIMD16(repeating: Int32(bitPattern: Self.greatest.bitPattern)))
    let clamped = SIMD16<Float>(bits: clampedBits)
    // Round half to even: add just under half a unit, and one more where the kept part is odd.
    let lowBit = (clampedBits &>> Self.droppedBits) & 1
    let rounded =
      (clampedBits &+ (1 &<< (Self.droppedBits - 1) &- 1) &+ lowBit) &>> Self.droppedBits
    let aligner = Int32(bitPattern: Self.subnormalAligner.bitPattern)
    let subnormals = (clamped + Self.subnormalAligner).bits &- aligner
    let isSubnormal = clampedBits.lanes(below: Int32(bitPattern: Self.leastNormal.bitPattern))
    let codes = (rounded &- Self.rebias).replaced(with: subnormals, in: isSubnormal)
    let normalValues = (codes &+ Self.rebias) &<< Self.droppedBits
    let subnormalValues = SIMD16<Float>(codes) * Self.leastSubnormal
    let values = normalValues.replaced(with: subnormalValues.bits, in: isSubnormal)
    // With these bits set a code, or a value, is NaN whatever it was.
    let nanLanes = scaled.nanLanes
    let withNaN = codes | (nanLanes & 0x7F)
    let nan = nanLanes & Int32(bitPattern: Float.nan.bitPattern)
    return EncodedSixteen(
      codes: zeroSign.signed(withNaN, source: source, signBit: 0x80),
      values: SIMD16<Float>(bits: values | (source.bits & .min) | nan))
  }
}

struct E4M3Encoder: Float8Encoder {
  static var droppedBits: Int32 { 20 }
  static var rebias: Int32 { (127 - 7) << 3 }
  static var leastNormal: Float { 0x1p-6 }
  static var greatest: Float { 448 }
  static var subnormalAligner: Float { 0x1p14 }
  static var leastSubnormal: Float { 0x1p-9 }

  let zeroSign: ElementRule.ZeroSign

  init(_ rule: ElementRule) {
    precondition(rule.ties == .even, "8-bit elements round ties to even")
    zeroSign = rule.zeroSign
  }
}

struct E5M2Encoder: Float8Encoder {
  static var droppedBits: Int32 { 21 }
  static var rebias: Int32 { (127 - 15) << 2 }
  static var leastNormal: Float { 0x1p-14 }
  static var greatest: Float { 57344 }
  static var subnormalAligner: Float { 0x1p7 }
  static var leastSubnormal: Float { 0x1p-16 }

  let zeroSign: ElementRule.ZeroSign

  init(_ rule: ElementRule) {
    precondition(rule.ties == .even, "8-bit elements round ties to even")
    zeroSign = rule.zeroSign
  }
}
