// SPDX-License-Identifier: Apache-2.0

/// An 8-bit floating-point number with 5 exponent and 2 significand bits, laid out as IEEE 754 would.
///
/// Values: ±57344 at most, normal down to 2⁻¹⁴, subnormal down to 2⁻¹⁶; `0x7C` is infinity and
/// `0x7D` to `0x7F` are NaN. A conversion from NaN gives the quiet NaN `0x7E` with its sign.
/// Source: OCP 8-bit Floating Point Specification 1.0; arXiv 2209.05433.
@frozen
public struct Float8E5M2: BinaryMinifloat {
  /// The code.
  public let bitPattern: UInt8

  /// Creates a value from its code.
  @inlinable
  public init(bitPattern: UInt8) {
    self.bitPattern = bitPattern
  }

  @usableFromInline
  static var format: SignedFormat {
    SignedFormat(
      significandBitCount: 2, leastNormalExponent: -14, greatestFinite: 0x7B,
      overflow: 0x7C, nan: 0x7E, signBit: 0x80)
  }

  /// Creates the nearest representable value, rounded once.
  @inlinable
  public init(_ value: Double, ties: TieRule, overflow: OverflowRule) {
    bitPattern = UInt8(Self.format.encode(value, ties: ties, overflow: overflow))
  }

  /// Creates the nearest representable value, ties to even.
  @inlinable
  public init(nearest value: Float, overflow: OverflowRule) {
    bitPattern = UInt8(Self.format.encodeNearest(value, overflow: overflow))
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
    bitPattern = UInt8(Self.format.encode(value, overflow: overflow, using: &generator))
  }

  /// The exact value as a `Float`.
  @inlinable
  public var floatValue: Float {
    let magnitude = UInt32(bitPattern & 0x7F)
    let sign = UInt32(bitPattern & 0x80) << 24
    // Infinity and NaN keep their significand bits under an exponent field of ones.
    if magnitude >= 0x7C { return Float(bitPattern: sign | 0x7F80_0000 | magnitude << 21) }
    return Float(bitPattern: sign | magnitude << 21) * 0x1p112
  }
}

//MARK: Properties of the format

extension Float8E5M2 {
  /// The number of bits of a code.
  @inlinable
  public static var bitWidth: Int { 8 }

  /// 57344.
  @inlinable
  public static var greatestFiniteMagnitude: Self { Self(bitPattern: 0x7B) }

  /// 2⁻¹⁴.
  @inlinable
  public static var leastNormalMagnitude: Self { Self(bitPattern: 0x04) }

  /// 2⁻¹⁶.
  @inlinable
  public static var leastNonzeroMagnitude: Self { Self(bitPattern: 0x01) }

  /// Positive infinity.
  @inlinable
  public static var infinity: Self { Self(bitPattern: 0x7C) }

  /// The positive quiet NaN.
  @inlinable
  public static var nan: Self { Self(bitPattern: 0x7E) }
}
