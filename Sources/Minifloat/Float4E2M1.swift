// SPDX-License-Identifier: Apache-2.0

/// A 4-bit floating-point number with 2 exponent bits and 1 significand bit: no infinity, no NaN.
///
/// Values: ±{0, 0.5, 1, 1.5, 2, 3, 4, 6}. Whatever lies beyond 6, infinity included, becomes 6 under
/// either overflow rule, and NaN becomes +6, as `cvt.rn.satfinite.e2m1x2` does.
/// Source: OCP Microscaling Formats (MX) Specification 1.0.
@frozen
public struct Float4E2M1: BinaryMinifloat {
  /// The code.
  public let bitPattern: UInt8

  /// Creates a value from its code.
  @inlinable
  public init(bitPattern: UInt8) {
    precondition(bitPattern < 16, "A Float4E2M1 code has four bits")
    self.bitPattern = bitPattern
  }

  @usableFromInline
  static var format: SignedFormat {
    SignedFormat(
      significandBitCount: 1, leastNormalExponent: 0, greatestFinite: 0x7,
      overflow: 0x7, nan: 0x7, signBit: 0x8)
  }

  /// Creates the nearest representable value, rounded once.
  @inlinable
  public init(_ value: Double, ties: TieRule, overflow: OverflowRule) {
    let code = Self.format.encode(value, ties: ties, overflow: overflow)
    bitPattern = value.isNaN ? 0x7 : UInt8(code)
  }

  /// Creates the nearest representable value, ties to even.
  @inlinable
  public init(nearest value: Float, overflow: OverflowRule) {
    bitPattern = value.isNaN ? 0x7 : UInt8(Self.format.encodeNearest(value, overflow: overflow))
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
    let code = Self.format.encode(value, overflow: overflow, using: &generator)
    bitPattern = value.isNaN ? 0x7 : UInt8(code)
  }

  /// The exact value as a `Float`.
  @inlinable
  public var floatValue: Float {
    let magnitude = UInt32(bitPattern & 0x7)
    let sign = UInt32(bitPattern & 0x8) << 28
    return Float(bitPattern: sign | magnitude << 22) * 0x1p126
  }
}

//MARK: Properties of the format

extension Float4E2M1 {
  /// The number of bits of a code.
  @inlinable
  public static var bitWidth: Int { 4 }

  /// 6.
  @inlinable
  public static var greatestFiniteMagnitude: Self { Self(bitPattern: 0x7) }

  /// 1.
  @inlinable
  public static var leastNormalMagnitude: Self { Self(bitPattern: 0x2) }

  /// 0.5.
  @inlinable
  public static var leastNonzeroMagnitude: Self { Self(bitPattern: 0x1) }
}
