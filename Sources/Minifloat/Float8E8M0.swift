// SPDX-License-Identifier: Apache-2.0

/// An 8-bit power of two, the scale of the MX formats: no sign, no zero, no infinity, one NaN.
///
/// The value of code `b` is 2^(b − 127); `0xFF` is NaN. Zero, negative values and NaN have no code
/// and convert to NaN. Source: OCP Microscaling Formats (MX) Specification 1.0.
@frozen
public struct Float8E8M0: BinaryMinifloat {
  /// The code.
  public let bitPattern: UInt8

  /// Creates a value from its code.
  @inlinable
  public init(bitPattern: UInt8) { self.bitPattern = bitPattern }

  /// Creates the power of two nearest to `value`.
  ///
  /// A tie lies at 1.5 times a power of two. There is no significand bit that could be even, so
  /// ``TieRule/even`` goes up there, as ml_dtypes and PyTorch do. A positive value below 2⁻¹²⁷
  /// becomes 2⁻¹²⁷.
  @inlinable
  public init(_ value: Double, ties: TieRule, overflow: OverflowRule) {
    guard value > 0 else {
      self.init(bitPattern: 0xFF)
      return
    }
    guard value.isFinite else {
      self.init(bitPattern: overflow == .saturate ? 0xFE : 0xFF)
      return
    }
    let floor = Int(value.exponent) + 127
    let significand = value.significand
    let roundsUp =
      switch ties {
      case _ where significand != 1.5: significand > 1.5
      case .towardZero: false
      case .even, .awayFromZero: true
      }
    self.init(exponentCode: floor + (roundsUp ? 1 : 0), overflow: overflow)
  }

  /// Creates the nearest representable value, ties to even.
  @inlinable
  public init(nearest value: Float, overflow: OverflowRule) {
    self.init(Double(value), ties: .even, overflow: overflow)
  }

  /// Creates the largest power of two that is not above `value`; NaN unless `value` is positive.
  @inlinable
  public init(roundingDown value: Float, overflow: OverflowRule = .saturate) {
    guard value > 0, value.isFinite else {
      self.init(Double(value), ties: .even, overflow: overflow)
      return
    }
    self.init(exponentCode: Int(value.exponent) + 127, overflow: overflow)
  }

  /// Creates the smallest power of two that is not below `value`; NaN unless `value` is positive.
  @inlinable
  public init(roundingUp value: Float, overflow: OverflowRule = .saturate) {
    guard value > 0, value.isFinite else {
      self.init(Double(value), ties: .even, overflow: overflow)
      return
    }
    let isPowerOfTwo = value.significand == 1
    self.init(
      exponentCode: Int(value.exponent) + 127 + (isPowerOfTwo ? 0 : 1), overflow: overflow)
  }

  @usableFromInline
  init(exponentCode: Int, overflow: OverflowRule) {
    if exponentCode > 0xFE {
      bitPattern = overflow == .saturate ? 0xFE : 0xFF
    } else {
      bitPattern = UInt8(Swift.max(exponentCode, 0))
    }
  }

  /// The exact value as a `Float`.
  @inlinable
  public var floatValue: Float {
    switch bitPattern {
    case 0: Float(bitPattern: 0x0040_0000)  // 2^-127 is a subnormal Float.
    case 0xFF: .nan
    default: Float(bitPattern: UInt32(bitPattern) << 23)
    }
  }
}

//MARK: Properties of the format

extension Float8E8M0 {
  /// The number of bits of a code.
  @inlinable
  public static var bitWidth: Int { 8 }

  /// 2¹²⁷.
  @inlinable
  public static var greatestFiniteMagnitude: Self { Self(bitPattern: 0xFE) }

  /// 2⁻¹²⁷; the format has no subnormals.
  @inlinable
  public static var leastNormalMagnitude: Self { Self(bitPattern: 0x00) }

  /// 2⁻¹²⁷.
  @inlinable
  public static var leastNonzeroMagnitude: Self { Self(bitPattern: 0x00) }

  /// The NaN.
  @inlinable
  public static var nan: Self { Self(bitPattern: 0xFF) }

  /// 1.
  @inlinable
  public static var one: Self { Self(bitPattern: 127) }
}
