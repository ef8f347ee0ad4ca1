// SPDX-License-Identifier: Apache-2.0

import Minifloat

/// Sixteen values as codes, and what the codes stand for.
struct EncodedSixteen {
  var codes: SIMD16<UInt32>
  /// The decoded values, before any scale.
  var values: SIMD16<Float>
  /// −1 where the value lay beyond the largest code.
  var saturated: SIMD16<Int32>
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

/// −1 in each lane where `mask` holds.
@inline(__always)
private func minusOnes(_ mask: SIMDMask<SIMD16<Int32>>) -> SIMD16<Int32> {
  SIMD16<Int32>().replacing(with: -1, where: mask)
}

/// The bit patterns of floats.
@inline(__always)
private func bits(_ values: SIMD16<Float>) -> SIMD16<UInt32> {
  // Both have the same size and every bit pattern is valid.
  unsafe unsafeBitCast(values, to: SIMD16<UInt32>.self)
}

/// The floats with given bit patterns.
@inline(__always)
private func floats(_ bits: SIMD16<UInt32>) -> SIMD16<Float> {
  // Both have the same size and every bit pattern is valid.
  unsafe unsafeBitCast(bits, to: SIMD16<Float>.self)
}

extension ElementRule.ZeroSign {
  /// Gives codes their sign bits, which `signBit` says the place of.
  @inline(__always)
  func signed(
    _ codes: SIMD16<UInt32>, source: SIMD16<Float>, signBit: UInt32
  ) -> SIMD16<UInt32> {
    let negative = bits(source) .>= 0x8000_0000
    var signs = SIMD16<UInt32>().replacing(with: signBit, where: negative)
    switch self {
    case .kept: break
    case .keptUnlessInputIsZero: signs.replace(with: 0, where: source .== 0)
    case .positive: signs.replace(with: 0, where: codes .== 0)
    case .negativeForZeroInput: signs.replace(with: signBit, where: source .== 0)
    }
    return codes | signs
  }
}

/// E2M1 by comparison with the seven decision thresholds.
struct E2M1Encoder: ElementEncoder {
  static var bitWidth: Int { 4 }

  // A code is the number of thresholds that the magnitude exceeds. A tie that goes up is turned into
  // "exceeds" by taking the float just below it as the threshold.
  let thresholds: SIMD8<Float>
  let zeroSign: ElementRule.ZeroSign

  init(_ rule: ElementRule) {
    zeroSign = rule.zeroSign
    var thresholds = SIMD8<Float>(0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5, .infinity)
    for index in 0..<7 {
      let tieGoesUp =
        switch rule.ties {
        case .even: index % 2 == 1
        case .towardZero: false
        case .awayFromZero: true
        }
      if tieGoesUp { thresholds[index] = thresholds[index].nextDown }
    }
    self.thresholds = thresholds
  }

  @inline(__always)
  func encode(_ scaled: SIMD16<Float>, source: SIMD16<Float>) -> EncodedSixteen {
    let magnitude = floats(bits(scaled) & 0x7FFF_FFFF)
    // The steps between values are 0.5 four times, then 1, 1 and 2.
    let small =
      minusOnes(magnitude .> thresholds[0]) &+ minusOnes(magnitude .> thresholds[1])
      &+ minusOnes(magnitude .> thresholds[2]) &+ minusOnes(magnitude .> thresholds[3])
    let medium = minusOnes(magnitude .> thresholds[4]) &+ minusOnes(magnitude .> thresholds[5])
    let large = minusOnes(magnitude .> thresholds[6])
    let codes = SIMD16<UInt32>(truncatingIfNeeded: 0 &- (small &+ medium &+ large))
    let halves = 0 &- (small &+ medium &+ medium &+ (large &<< 2))
    let unsigned = SIMD16<Float>(halves) * 0.5
    return EncodedSixteen(
      codes: zeroSign.signed(codes, source: source, signBit: 0x8),
      values: floats(bits(unsigned) | (bits(source) & 0x8000_0000)),
      saturated: minusOnes(magnitude .> 6))
  }
}

/// An 8-bit format by integer arithmetic on the bits of a float; ties go to even.
protocol Float8Encoder: ElementEncoder {
  /// The significand bits of a float that the format drops.
  static var droppedBits: UInt32 { get }
  /// The difference between the exponent biases, in the place of the exponent field of a code.
  static var rebias: UInt32 { get }
  /// The bit pattern of the smallest normal value.
  static var leastNormal: UInt32 { get }
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
    let magnitudeBits = bits(scaled) & 0x7FFF_FFFF
    let clamped = pointwiseMin(magnitudeBits, SIMD16(repeating: Self.greatest.bitPattern))
    // Round half to even: add just under half a unit, and one more where the kept part is odd.
    let lowBit = (clamped &>> Self.droppedBits) & 1
    let rounded = (clamped &+ (1 &<< (Self.droppedBits - 1) &- 1) &+ lowBit) &>> Self.droppedBits
    let aligned = floats(clamped) + Self.subnormalAligner
    let subnormals = bits(aligned) &- Self.subnormalAligner.bitPattern
    let isSubnormal = clamped .< Self.leastNormal
    var codes = (rounded &- Self.rebias).replacing(with: subnormals, where: isSubnormal)
    var values = floats((codes &+ Self.rebias) &<< Self.droppedBits)
    values.replace(
      with: SIMD16<Float>(SIMD16<Int32>(truncatingIfNeeded: codes)) * Self.leastSubnormal,
      where: isSubnormal)
    codes.replace(with: 0x7F, where: magnitudeBits .> 0x7F80_0000)
    return EncodedSixteen(
      codes: zeroSign.signed(codes, source: source, signBit: 0x80),
      values: floats(bits(values) | (bits(source) & 0x8000_0000)),
      saturated: minusOnes(magnitudeBits .> Self.greatest.bitPattern))
  }
}

struct E4M3Encoder: Float8Encoder {
  static var droppedBits: UInt32 { 20 }
  static var rebias: UInt32 { (127 - 7) << 3 }
  static var leastNormal: UInt32 { Float(0x1p-6).bitPattern }
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
  static var droppedBits: UInt32 { 21 }
  static var rebias: UInt32 { (127 - 15) << 2 }
  static var leastNormal: UInt32 { Float(0x1p-14).bitPattern }
  static var greatest: Float { 57344 }
  static var subnormalAligner: Float { 0x1p7 }
  static var leastSubnormal: Float { 0x1p-16 }

  let zeroSign: ElementRule.ZeroSign

  init(_ rule: ElementRule) {
    precondition(rule.ties == .even, "8-bit elements round ties to even")
    zeroSign = rule.zeroSign
  }
}
