// SPDX-License-Identifier: Apache-2.0

/// A 16-bit floating-point number with 8 exponent and 7 significand bits: the upper half of a `Float`.
///
/// A conversion from NaN keeps the upper payload bits and sets the quiet bit, so that no NaN turns
/// into an infinity.
@frozen
public struct BFloat16: BinaryMinifloat {
  /// The code.
  public let bitPattern: UInt16

  /// Creates a value from its code.
  @inlinable
  public init(bitPattern: UInt16) {
    self.bitPattern = bitPattern
  }

  @usableFromInline
  static var format: SignedFormat {
    SignedFormat(
      significandBitCount: 7, leastNormalExponent: -126, greatestFinite: 0x7F7F,
      overflow: 0x7F80, nan: 0x7FC0, signBit: 0x8000)
  }

  /// Creates the nearest representable value, rounded once.
  @inlinable
  public init(_ value: Double, ties: TieRule, overflow: OverflowRule) {
    guard !value.isNaN else {
      self.init(quieting: value)
      return
    }
    self.init(bitPattern: UInt16(Self.format.encode(value, ties: ties, overflow: overflow)))
  }

  /// Creates the nearest representable value, ties to even.
  @inlinable
  public init(nearest value: Float, overflow: OverflowRule) {
    // The format is the upper half of FP32, so rounding is an addition that may carry upwards.
    let bits = value.bitPattern
    let rounded = (bits &+ 0x7FFF &+ (bits &>> 16 & 1)) &>> 16
    guard bits & 0x7FFF_FFFF < 0x7F80_0000, rounded & 0x7FFF < 0x7F80 else {
      if value.isNaN {
        self.init(quieting: Double(value))
      } else {
        self.init(bitPattern: UInt16(Self.format.encodeNearest(value, overflow: overflow)))
      }
      return
    }
    self.init(bitPattern: UInt16(truncatingIfNeeded: rounded))
  }

  /// Creates one of the two neighbours of `value`, the upper with a probability equal to the
  /// distance from the lower, so that the expectation is `value`.
  ///
  /// - Parameters:
  ///   - value: The value to round; one that a code holds exactly is kept.
  ///   - overflow: What a magnitude beyond the largest finite code becomes.
  ///   - generator: The source of randomness; one 64-bit number is drawn for each finite nonzero
  ///     value, so a seeded generator makes the rounding reproducible.
  @inlinable
  public init(
    stochastic value: Double, overflow: OverflowRule = .saturate,
    using generator: inout some RandomNumberGenerator
  ) {
    guard !value.isNaN else {
      self.init(quieting: value)
      return
    }
    self.init(
      bitPattern: UInt16(Self.format.encode(value, overflow: overflow, using: &generator)))
  }

  @usableFromInline
  init(quieting nan: Double) {
    bitPattern = UInt16(truncatingIfNeeded: Float(nan).bitPattern >> 16) | 0x0040
  }

  /// The exact value as a `Float`.
  @inlinable
  public var floatValue: Float { Float(bitPattern: UInt32(bitPattern) << 16) }
}

//MARK: Properties of the format

extension BFloat16 {
  /// The number of bits of a code.
  @inlinable
  public static var bitWidth: Int { 16 }

  /// 2¹²⁸ − 2¹²⁰.
  @inlinable
  public static var greatestFiniteMagnitude: Self { Self(bitPattern: 0x7F7F) }

  /// 2⁻¹²⁶.
  @inlinable
  public static var leastNormalMagnitude: Self { Self(bitPattern: 0x0080) }

  /// 2⁻¹³³.
  @inlinable
  public static var leastNonzeroMagnitude: Self { Self(bitPattern: 0x0001) }

  /// Positive infinity.
  @inlinable
  public static var infinity: Self { Self(bitPattern: 0x7F80) }

  /// The positive quiet NaN.
  @inlinable
  public static var nan: Self { Self(bitPattern: 0x7FC0) }
}
