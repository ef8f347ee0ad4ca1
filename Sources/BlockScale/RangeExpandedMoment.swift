// SPDX-License-Identifier: Apache-2.0

import Minifloat
import RealModule

/// A moment in E4M3 whose groups are stretched over the format's range before they are rounded.
///
/// A group of 128 elements, the last may have fewer, stores `code = E4M3(±(|x| / c)^k / scale)` with
/// `c = √M·√μ` of its largest and smallest magnitude and
/// `k = ⌊log₂(448²/2) / log₂(M/μ) · e⌋ / e`, so that M becomes 448 and μ no less than 1/224.
/// Decoded it is `±(code · scale)^(1/k) · c`. Powers are those of ``power(_:_:)``. Source:
/// COAT:coat/optimizer/kernels/fp8_adamw_expand_cuda_kernel.cu.
///
/// Where the source's formulas end in NaN they are guarded: zeros do not count as the smallest
/// magnitude; a group of zeros stores zeros; of equal magnitudes, k is 1; k is at most 1024, beyond
/// which the rounding of |x| / c would be stretched too, and at least 1/e. A group with a NaN or an
/// infinity gets a NaN scale.
public struct RangeExpandedMoment: AdamWMoment, Hashable {
  /// 128.
  public static let groupSize = 128

  /// The number of elements.
  public let count: Int
  /// E4M3 codes.
  public package(set) var codes: [UInt8]
  /// The scale of each group.
  public package(set) var scales: [Float]
  /// k of each group.
  public package(set) var exponents: [Float]
  /// √M·√μ of each group.
  public package(set) var centers: [Float]

  /// A moment of zeros.
  public init(count: Int) {
    let groups = (count + Self.groupSize - 1) / Self.groupSize
    self.count = count
    codes = Array(repeating: 0, count: count)
    scales = Array(repeating: 0, count: groups)
    exponents = Array(repeating: 1, count: groups)
    centers = Array(repeating: 1, count: groups)
  }

  /// A moment that was stored.
  ///
  /// - Throws: ``BlockScaleError`` if there is not one scale, exponent and center for each group.
  public init(
    codes: [UInt8], scales: [Float], exponents: [Float], centers: [Float]
  ) throws(BlockScaleError) {
    let groups = (codes.count + Self.groupSize - 1) / Self.groupSize
    guard [scales.count, exponents.count, centers.count].allSatisfy({ $0 == groups }) else {
      throw BlockScaleError(
        .wrongCount,
        "A moment of \(codes.count) elements has \(groups) groups, not \(scales.count) scales, "
          + "\(exponents.count) exponents and \(centers.count) centers.")
    }
    count = codes.count
    self.codes = codes
    self.scales = scales
    self.exponents = exponents
    self.centers = centers
  }

  /// A moment of given values.
  public init(encoding values: [Float], expandMinimum: Int) {
    self.init(count: values.count)
    for group in scales.indices {
      let range = group * Self.groupSize..<min(count, (group + 1) * Self.groupSize)
      encode(values[range], group: group, steps: Float(expandMinimum))
    }
  }

  private mutating func encode(_ values: ArraySlice<Float>, group: Int, steps: Float) {
    var largest: Float = 0
    var smallest = Float.infinity
    for value in values {
      let magnitude = value.magnitude
      // A NaN is kept, as nothing compares with it.
      if magnitude > largest || magnitude.isNaN { largest = magnitude }
      if magnitude < smallest, magnitude > 0 { smallest = magnitude }
    }
    let expansion = RangeExpansion(largest: largest, smallest: smallest, steps: steps)
    (scales[group], exponents[group], centers[group]) =
      (expansion.scale, expansion.exponent, expansion.center)
    guard expansion.scale > 0 else {
      for index in values.indices { codes[index] = 0 }
      return
    }
    // Products with reciprocals, which differ from quotients in the last bit, are several times quicker.
    let (inverseCenter, inverseScale) = (1 / expansion.center, 1 / expansion.scale)
    for index in values.indices {
      let expanded = power(values[index].magnitude * inverseCenter, expansion.exponent)
      let sign: UInt8 = values[index].sign == .minus ? 0x80 : 0
      codes[index] =
        Float8E4M3(expanded * inverseScale, overflow: .saturate).bitPattern | sign
    }
  }

  /// The values in FP32.
  public func decoded() -> [Float] {
    codes.indices.map { index in
      let group = index / Self.groupSize
      let expanded = Float(Float8E4M3(bitPattern: codes[index])) * scales[group]
      let magnitude = power(expanded.magnitude, 1 / exponents[group]) * centers[group]
      return expanded.sign == .minus ? -magnitude : magnitude
    }
  }

  /// The part of a range of whole groups.
  public func slice(_ range: Range<Int>) -> Self {
    let groups = Self.groups(range)
    var result = Self(count: range.count)
    result.codes = Array(codes[range])
    result.scales = Array(scales[groups])
    result.exponents = Array(exponents[groups])
    result.centers = Array(centers[groups])
    return result
  }

  /// Puts a slice back.
  public mutating func replace(_ range: Range<Int>, with slice: Self) {
    let groups = Self.groups(range)
    codes.replaceSubrange(range, with: slice.codes)
    scales.replaceSubrange(groups, with: slice.scales)
    exponents.replaceSubrange(groups, with: slice.exponents)
    centers.replaceSubrange(groups, with: slice.centers)
  }

  private static func groups(_ range: Range<Int>) -> Range<Int> {
    precondition(range.lowerBound % groupSize == 0, "A slice begins where a group begins")
    return range.lowerBound / groupSize..<(range.upperBound + groupSize - 1) / groupSize
  }
}
