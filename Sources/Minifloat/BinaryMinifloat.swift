// SPDX-License-Identifier: Apache-2.0

/// A binary floating-point format of at most sixteen bits that converts to `Float` exactly.
///
/// The conforming types behave like the floating-point types of the standard library: `-0 == 0`,
/// NaN is unequal to itself and unordered, and a conversion from a wider type rounds to nearest
/// with ties to even. They do no arithmetic; convert to `Float` for that.
public protocol BinaryMinifloat: Comparable, Hashable, Sendable, LosslessStringConvertible,
  CustomDebugStringConvertible
{
  /// The unsigned integer that holds a code.
  associatedtype BitPattern: FixedWidthInteger & UnsignedInteger & Sendable

  /// The number of bits of a code.
  static var bitWidth: Int { get }

  /// The code. Only the low ``bitWidth`` bits are ever set.
  var bitPattern: BitPattern { get }

  /// Creates a value from its code.
  ///
  /// - Precondition: `bitPattern` fits in ``bitWidth`` bits.
  init(bitPattern: BitPattern)

  /// Creates the nearest representable value.
  init(_ value: Double, ties: TieRule, overflow: OverflowRule)

  /// Creates the nearest representable value, ties to even.
  ///
  /// This is the common case of ``init(_:ties:overflow:)-(Float,_,_)``.
  init(nearest value: Float, overflow: OverflowRule)

  /// The largest finite value.
  static var greatestFiniteMagnitude: Self { get }

  /// The smallest positive value.
  static var leastNonzeroMagnitude: Self { get }

  /// The smallest positive normal value.
  static var leastNormalMagnitude: Self { get }

  /// The exact value as a `Float`.
  var floatValue: Float { get }
}

//MARK: Conversions

extension BinaryMinifloat {
  /// Creates the nearest representable value, ties to even, overflowing as IEEE 754 does.
  @inlinable
  public init(_ value: Double) { self.init(value, ties: .even, overflow: .ieee) }

  /// Creates the representable value nearest to `value`.
  ///
  /// - Parameters:
  ///   - value: Any value; NaN gives the format's NaN with the same sign.
  ///   - ties: The neighbour that a tie goes to.
  ///   - overflow: What a magnitude beyond the largest finite code becomes.
  @inlinable
  public init(_ value: Float, ties: TieRule = .even, overflow: OverflowRule = .ieee) {
    if ties == .even {
      self.init(nearest: value, overflow: overflow)
    } else {
      self.init(Double(value), ties: ties, overflow: overflow)
    }
  }

  #if !((os(macOS) || targetEnvironment(macCatalyst)) && arch(x86_64))
    /// Creates the nearest representable value, ties to even, overflowing as IEEE 754 does.
    @inlinable
    public init(_ value: Float16) { self.init(Double(value), ties: .even, overflow: .ieee) }
  #endif

  /// Creates a value from decimal or hexadecimal text as `Double` reads it, rounded once more.
  @inlinable
  public init?(_ description: String) {
    guard let value = Double(description) else { return nil }
    self.init(value, ties: .even, overflow: .ieee)
  }
}

extension Float {
  /// Creates the exact value of a code.
  @inlinable
  public init(_ value: some BinaryMinifloat) { self = value.floatValue }
}

extension Double {
  /// Creates the exact value of a code.
  @inlinable
  public init(_ value: some BinaryMinifloat) { self = Double(value.floatValue) }
}

#if !((os(macOS) || targetEnvironment(macCatalyst)) && arch(x86_64))
  extension Float16 {
    /// Creates the nearest half-precision value, ties to even.
    @inlinable
    public init(_ value: some BinaryMinifloat) { self = Float16(value.floatValue) }
  }
#endif

//MARK: Classification

extension BinaryMinifloat {
  /// Whether the code is a NaN.
  @inlinable
  public var isNaN: Bool { floatValue.isNaN }

  /// Whether the code is an infinity.
  @inlinable
  public var isInfinite: Bool { floatValue.isInfinite }

  /// Whether the code is neither infinite nor NaN.
  @inlinable
  public var isFinite: Bool { floatValue.isFinite }

  /// Whether the value is zero of either sign.
  @inlinable
  public var isZero: Bool { floatValue.isZero }

  /// Whether the value lies strictly between zero and the smallest normal magnitude.
  @inlinable
  public var isSubnormal: Bool {
    !isZero && floatValue.magnitude < Self.leastNormalMagnitude.floatValue
  }

  /// The sign bit, also of zeros and NaNs.
  @inlinable
  public var sign: FloatingPointSign { floatValue.sign }
}

//MARK: Conformances

extension BinaryMinifloat {
  /// Compares values: `-0` equals `0`, NaN equals nothing.
  @inlinable
  public static func == (left: Self, right: Self) -> Bool { left.floatValue == right.floatValue }

  /// Orders values; false where either is NaN.
  @inlinable
  public static func < (left: Self, right: Self) -> Bool { left.floatValue < right.floatValue }

  // The defaults of `Comparable` negate `<`, which is true where either is NaN.

  /// Orders values; false where either is NaN.
  @inlinable
  public static func <= (left: Self, right: Self) -> Bool { left.floatValue <= right.floatValue }

  /// Orders values; false where either is NaN.
  @inlinable
  public static func >= (left: Self, right: Self) -> Bool { left.floatValue >= right.floatValue }

  /// Feeds the value, not the code, so that `-0` and `0` hash alike.
  @inlinable
  public func hash(into hasher: inout Hasher) { hasher.combine(floatValue) }

  /// The shortest decimal text of the exact value.
  public var description: String { floatValue.description }

  /// The type, the value and the code.
  public var debugDescription: String {
    let digits = String(bitPattern, radix: 16, uppercase: true)
    let padding = String(repeating: "0", count: (Self.bitWidth + 3) / 4 - digits.count)
    return "\(Self.self)(\(floatValue), bitPattern: 0x\(padding)\(digits))"
  }
}
