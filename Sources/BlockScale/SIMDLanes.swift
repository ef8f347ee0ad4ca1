// SPDX-License-Identifier: Apache-2.0

// Sixteen lanes without masks.
//
// The standard library writes comparisons with a scalar, `replacing(with:where:)`, `pointwiseMax` and
// their like lane by lane, and the optimizer turns them into loops through memory that are several
// times slower than the vector instructions they stand for. Comparing two vectors does compile to
// instructions; what follows turns its result into lanes of zeros and ones, and selects with those.

extension SIMDMask<SIMD16<Int32>> {
  /// −1 in each lane that is true, 0 in the others.
  @inlinable @inline(__always)
  package var lanes: SIMD16<Int32> {
    // A mask is stored as such lanes.
    unsafe unsafeBitCast(self, to: SIMD16<Int32>.self)
  }
}

extension SIMD16<Float> {
  /// The bit patterns.
  @inlinable @inline(__always)
  package var bits: SIMD16<Int32> {
    // Both have the same size, and every bit pattern is valid.
    unsafe unsafeBitCast(self, to: SIMD16<Int32>.self)
  }

  /// The values of bit patterns.
  @inlinable @inline(__always)
  package init(bits: SIMD16<Int32>) {
    // Both have the same size, and every bit pattern is valid.
    self = unsafe unsafeBitCast(bits, to: SIMD16<Float>.self)
  }

  /// The bit patterns without their sign bits; as integers they order like the magnitudes, with
  /// infinity and NaN above every finite value.
  @inlinable @inline(__always)
  package var magnitudeBits: SIMD16<Int32> { bits & 0x7FFF_FFFF }

  /// −1 in each lane that exceeds a threshold.
  @inlinable @inline(__always)
  package func lanes(above threshold: Float) -> SIMD16<Int32> {
    (self .> SIMD16(repeating: threshold)).lanes
  }

  /// −1 in each lane that is NaN.
  @inlinable @inline(__always)
  package var nanLanes: SIMD16<Int32> { (self .!= self).lanes }

  /// −1 in each lane that is zero of either sign.
  @inlinable @inline(__always)
  package var zeroLanes: SIMD16<Int32> { (self .== SIMD16()).lanes }
}

extension SIMD16<Int32> {
  /// Takes `other` where `lanes` are −1.
  @inlinable @inline(__always)
  package func replaced(with other: Self, in lanes: Self) -> Self {
    (self & ~lanes) | (other & lanes)
  }

  /// The larger of each pair of lanes.
  ///
  /// - Precondition: No lane is negative.
  @inlinable @inline(__always)
  package func maximum(_ other: Self) -> Self {
    let difference = self &- other
    return self &- (difference & (difference &>> 31))
  }

  /// The smaller of each pair of lanes.
  ///
  /// - Precondition: No lane is negative.
  @inlinable @inline(__always)
  package func minimum(_ other: Self) -> Self {
    let difference = self &- other
    return other &+ (difference & (difference &>> 31))
  }

  /// −1 in each lane that is less than a bound.
  ///
  /// - Precondition: Neither is negative.
  @inlinable @inline(__always)
  package func lanes(below bound: Int32) -> Self { (self &- Self(repeating: bound)) &>> 31 }
}
