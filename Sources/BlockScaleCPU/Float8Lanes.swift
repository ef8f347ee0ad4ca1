// SPDX-License-Identifier: Apache-2.0

import BlockScale

/// Sixteen codes of an 8-bit format at a time, as `Float8Element.code` encodes and its format decodes
/// them one by one.
protocol Float8Lanes {
  /// The significand bits of a float that the format drops.
  static var droppedBits: Int32 { get }
  /// The difference between the exponent biases, in the place of the exponent field of a code.
  static var rebias: Int32 { get }
  /// The smallest normal code.
  static var leastNormalCode: Int32 { get }
  /// The smallest normal value.
  static var leastNormal: Float { get }
  /// The largest finite value.
  static var greatest: Float { get }
  /// The code of the largest finite value.
  static var greatestCode: Int32 { get }
  /// A float whose last place is worth the smallest subnormal, so that an addition rounds to it.
  static var subnormalAligner: Float { get }
  /// The smallest subnormal.
  static var leastSubnormal: Float { get }
  /// The significand bits that a code beyond the largest finite one gives a float.
  static func specialBits(_ magnitude: SIMD16<Int32>) -> SIMD16<Int32>
}

extension Float8Lanes {
  /// The codes nearest to quotients, ties to even, saturating; a NaN becomes 0x7F.
  ///
  /// - Parameter source: What was divided by a positive number, which gives the signs.
  @inline(__always)
  static func encode(_ quotients: SIMD16<Float>, source: SIMD16<Float>) -> SIMD16<Int32> {
    let clampedBits = quotients.magnitudeBits.minimum(
      SIMD16(repeating: Int32(bitPattern: greatest.bitPattern)))
    // Round half to even: add just under half a unit, and one more where the kept part is odd.
    let lowBit = (clampedBits &>> droppedBits) & 1
    let rounded = (clampedBits &+ (1 &<< (droppedBits - 1) &- 1) &+ lowBit) &>> droppedBits
    let aligner = Int32(bitPattern: subnormalAligner.bitPattern)
    let subnormals = (SIMD16<Float>(bits: clampedBits) + subnormalAligner).bits &- aligner
    let isSubnormal = clampedBits.lanes(below: Int32(bitPattern: leastNormal.bitPattern))
    let magnitudes = (rounded &- rebias).replaced(with: subnormals, in: isSubnormal)
    let signs = (source.bits &>> 31) & 0x80
    return (magnitudes | signs).replaced(with: SIMD16(repeating: 0x7F), in: quotients.nanLanes)
  }

  /// The values of codes.
  @inline(__always)
  static func decode(_ codes: SIMD16<Int32>) -> SIMD16<Float> {
    let magnitudes = codes & 0x7F
    // Arithmetic on subnormal floats is slow, so subnormal codes go through integers.
    let subnormals = SIMD16<Float>(magnitudes) * leastSubnormal
    let normals = (magnitudes &+ rebias) &<< droppedBits
    let isSubnormal = magnitudes.lanes(below: leastNormalCode)
    let isFinite = magnitudes.lanes(below: greatestCode + 1)
    let finite = normals.replaced(with: subnormals.bits, in: isSubnormal)
    let bits = specialBits(magnitudes).replaced(with: finite, in: isFinite)
    return SIMD16<Float>(bits: bits | (codes & 0x80) &<< 24)
  }
}

enum E4M3Lanes: Float8Lanes {
  static var droppedBits: Int32 { 20 }
  static var rebias: Int32 { (127 - 7) << 3 }
  static var leastNormalCode: Int32 { 0x08 }
  static var leastNormal: Float { 0x1p-6 }
  static var greatest: Float { 448 }
  static var greatestCode: Int32 { 0x7E }
  static var subnormalAligner: Float { 0x1p14 }
  static var leastSubnormal: Float { 0x1p-9 }

  @inline(__always)
  static func specialBits(_ magnitude: SIMD16<Int32>) -> SIMD16<Int32> {
    SIMD16(repeating: 0x7FC0_0000)
  }
}

enum E5M2Lanes: Float8Lanes {
  static var droppedBits: Int32 { 21 }
  static var rebias: Int32 { (127 - 15) << 2 }
  static var leastNormalCode: Int32 { 0x04 }
  static var leastNormal: Float { 0x1p-14 }
  static var greatest: Float { 57344 }
  static var greatestCode: Int32 { 0x7B }
  static var subnormalAligner: Float { 0x1p7 }
  static var leastSubnormal: Float { 0x1p-16 }

  @inline(__always)
  static func specialBits(_ magnitude: SIMD16<Int32>) -> SIMD16<Int32> {
    (magnitude &<< 21) & 0x7F_FFFF | 0x7F80_0000
  }
}
