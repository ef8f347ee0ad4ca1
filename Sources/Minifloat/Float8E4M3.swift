// SPDX-License-Identifier: Apache-2.0

/// An 8-bit floating-point number with 4 exponent and 3 significand bits: "FN", no infinity, one NaN.
///
/// Values: ±448 at most, normal down to 2⁻⁶, subnormal down to 2⁻⁹; `0x7F` and `0xFF` are NaN.
/// Source: OCP 8-bit Floating Point Specification 1.0; "FP8 Formats for Deep Learning",
/// arXiv 2209.05433.
@frozen
public struct Float8E4M3: BinaryMinifloat {
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
      significandBitCount: 3, leastNormalExponent: -6, greatestFinite: 0x7E,
      overflow: 0x7F, nan: 0x7F, signBit: 0x80)
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
    if magnitude == 0x7F { return Float(bitPattern: sign | 0x7FC0_0000) }
    // Reading the fields 20 places further left divides by 2^120, subnormals included.
    return Float(bitPattern: sign | magnitude << 20) * 0x1p120
  }
}

//MARK: Properties of the format

extension Float8E4M3 {
  /// The number of bits of a code.
  @inlinable
  public static var bitWidth: Int { 8 }

  /// 448.
  @inlinable
  public static var greatestFiniteMagnitude: Self { Self(bitPattern: 0x7E) }

  /// 2⁻⁶.
  @inlinable
  public static var leastNormalMagnitude: Self { Self(bitPattern: 0x08) }

  /// 2⁻⁹.
  @inlinable
  public static var leastNonzeroMagnitude: Self { Self(bitPattern: 0x01) }

  /// The positive NaN.
  ///
  /// There is no other payload.
  @inlinable
  public static var nan: Self { Self(bitPattern: 0x7F) }
}
