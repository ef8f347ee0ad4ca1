// SPDX-License-Identifier: Apache-2.0

public import Minifloat

/// A moment in FP32.
public struct Float32Moment: AdamWMoment, Hashable {
  /// Every element stands for itself.
  public static let groupSize = 1
  /// The values.
  public package(set) var values: [Float]

  /// A moment of zeros.
  public init(count: Int) { values = Array(repeating: 0, count: count) }

  /// A moment of given values.
  public init(encoding values: [Float], expandMinimum: Int = 16) { self.values = values }

  /// The number of elements.
  public var count: Int { values.count }

  /// The values.
  public func decoded() -> [Float] { values }

  /// The part of a range.
  public func slice(_ range: Range<Int>) -> Self { Self(encoding: Array(values[range])) }

  /// Puts a slice back.
  public mutating func replace(_ range: Range<Int>, with slice: Self) {
    values.replaceSubrange(range, with: slice.values)
  }
}

/// A moment in BF16, rounded to the nearest, ties to even.
public struct BFloat16Moment: AdamWMoment, Hashable {
  /// Every element stands for itself.
  public static let groupSize = 1
  /// The values.
  public package(set) var values: [BFloat16]

  /// A moment of zeros.
  public init(count: Int) { values = Array(repeating: BFloat16(bitPattern: 0), count: count) }

  /// A moment of given values.
  public init(encoding values: [Float], expandMinimum: Int = 16) {
    self.values = values.map { BFloat16($0) }
  }

  /// The number of elements.
  public var count: Int { values.count }

  /// The values in FP32.
  public func decoded() -> [Float] { values.map { Float($0) } }

  /// The part of a range.
  public func slice(_ range: Range<Int>) -> Self {
    var result = Self(count: 0)
    result.values = Array(values[range])
    return result
  }

  /// Puts a slice back.
  public mutating func replace(_ range: Range<Int>, with slice: Self) {
    values.replaceSubrange(range, with: slice.values)
  }
}
