// SPDX-License-Identifier: Apache-2.0

import RealModule

/// How a group of a ``RangeExpandedMoment`` is stretched.
package struct RangeExpansion: Sendable {
  /// NaN for a group with a NaN or an infinity, zero for one of zeros.
  package let scale: Float
  package let exponent: Float
  package let center: Float

  private static let largestExponent: Float = 1024
  /// log₂(448²/2), the binades that a group is stretched over.
  private static let binades = Float.log2(448 * 448 / 2)

  /// - Parameters:
  ///   - largest: The largest magnitude, NaN if there is one.
  ///   - smallest: The smallest that is not zero.
  ///   - steps: The steps per unit of the exponent.
  package init(largest: Float, smallest: Float, steps: Float) {
    guard largest.isFinite, largest > 0 else {
      (scale, exponent, center) = (largest.isFinite ? 0 : .nan, 1, 1)
      return
    }
    // The source adds in double precision and stores a float.
    let largest = Float(Double(largest) + 1e-30)
    let smallest = Float(Double(smallest) + 1e-30)
    center = largest.squareRoot() * smallest.squareRoot()
    let ratio = largest / smallest
    let range = ratio.isFinite ? Float.log2(ratio) : Float.log2(largest) - Float.log2(smallest)
    var exponent: Float = 1
    if range > 0 {
      exponent = (Self.binades / range * steps).rounded(.down) / steps
      exponent = min(max(exponent, 1 / steps), Self.largestExponent)
    }
    self.exponent = exponent
    scale = power(largest / center, exponent) / 448
  }
}

/// A power of a number that is not negative, in FP32 arithmetic whose every operation is written down,
/// so that all back ends have the same bits.
///
/// Its relative error is below 1e-5 where the result lies within 2^±20, which the three significant
/// bits of E4M3 do not see. Zero and subnormal numbers give zero, NaN gives NaN.
package func power(_ base: Float, _ exponent: Float) -> Float {
  guard base >= .leastNormalMagnitude else { return base.isNaN ? base : 0 }
  // base = 2^e · m with m from √½ to √2.
  let offset = Int32(bitPattern: base.bitPattern) &- 0x3F35_04F3
  let e = offset >> 23
  let m = Float(bitPattern: base.bitPattern &- UInt32(bitPattern: e << 23))
  // log₂ m = 2/ln 2 · artanh s; near one it is as exact relative to itself.
  let s = (m - 1) / (m + 1)
  let t = s * s
  var series = t * (1 / 9 as Float) + (1 / 7 as Float)
  series = series * t + (1 / 5 as Float)
  series = series * t + (1 / 3 as Float)
  series = series * t + 1
  let logarithm = Float(e) + s * (2.885_390_1 as Float) * series
  let y = min(max(exponent * logarithm, -126), 127)
  // Adding 1.5 · 2²³ leaves the nearest integer in the low bits.
  let shifted = y + 12_582_912
  let z = (y - (shifted - 12_582_912)) * (0.693_147_18 as Float)
  let n = Int32(bitPattern: shifted.bitPattern) &- 0x4B40_0000
  return exponentialSeries(z) * powerOfTwo(n)
}

/// e^z for |z| up to ln 2 / 2: the Taylor series, whose next term is below 2⁻²⁶.
private func exponentialSeries(_ z: Float) -> Float {
  var result = z * (1 / 5040 as Float) + (1 / 720 as Float)
  result = result * z + (1 / 120 as Float)
  result = result * z + (1 / 24 as Float)
  result = result * z + (1 / 6 as Float)
  result = result * z + (0.5 as Float)
  result = result * z + 1
  return result * z + 1
}

/// 2^n for a normal number.
private func powerOfTwo(_ n: Int32) -> Float {
  Float(bitPattern: UInt32(bitPattern: (n &+ 127) << 23))
}

/// e^x in FP32 arithmetic whose every operation is written down, so that all back ends have the same
/// bits, within one unit in the last place; products and sums are fused.
///
/// Zero below −87.3, infinity above 88.7, NaN for NaN.
package func exponential(_ x: Float) -> Float {
  let (low, high): (Float, Float) = (-87.33654, 88.72283)
  if x.isNaN { return x }
  if x < low { return 0 }
  if x > high { return .infinity }
  // Adding 1.5 · 2²³ leaves the nearest integer in the low bits.
  let shifted = Float(12_582_912).addingProduct(x, 1.442_695_04)
  let n = shifted - 12_582_912
  // ln 2 in two parts, so that the remainder is exact enough.
  let z = x.addingProduct(n, -0.693_359_375).addingProduct(n, 2.121_944_40e-4)
  let series = ExponentialSeries.coefficients.dropLast().reversed()
    .reduce(ExponentialSeries.coefficients[6]) { $1.addingProduct($0, z) }
  let exponent = Int32(bitPattern: shifted.bitPattern) &- 0x4B40_0000
  // Two factors, since 2¹²⁸ is no FP32 number.
  let half = exponent >> 1
  return series * powerOfTwo(half) * powerOfTwo(exponent - half)
}

/// The coefficients of e^z for |z| up to ln 2 / 2, from the constant on: minimax, within 3.1e-9.
package enum ExponentialSeries {
  package static let coefficients: [Float] = [
    1, 1, 0x1.fffffcp-2, 0x1.555492p-3, 0x1.5558f2p-5, 0x1.123a2p-7, 0x1.6a23dp-10,
  ]
}
