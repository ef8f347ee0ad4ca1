// SPDX-License-Identifier: Apache-2.0

public import Minifloat

/// A type whose values can be quantized: `Float`, `BFloat16` or `Float16`.
public protocol SourceValue: Sendable, BitwiseCopyable {
  /// The same format as a value.
  static var sourceFormat: SourceFormat { get }

  /// Rounds to this format, half to even, beyond its range to infinity.
  init(rounding value: Float)

  /// Sixteen consecutive values, which need not be aligned.
  static func loadSixteen(_ address: UnsafeRawPointer) -> SIMD16<Float>

  /// One value, which need not be aligned.
  static func load(_ address: UnsafeRawPointer) -> Float
}

extension Float: SourceValue {
  /// The value as it is.
  @inline(__always)
  public init(rounding value: Float) { self = value }

  /// FP32.
  public static var sourceFormat: SourceFormat { .float32 }

  /// Sixteen consecutive values, which need not be aligned.
  @inline(__always)
  public static func loadSixteen(_ address: UnsafeRawPointer) -> SIMD16<Float> {
    // The caller vouches for the extent of the memory.
    unsafe address.loadUnaligned(as: SIMD16<Float>.self)
  }

  /// One value, which need not be aligned.
  @inline(__always)
  public static func load(_ address: UnsafeRawPointer) -> Float {
    // The caller vouches for the extent of the memory.
    unsafe address.loadUnaligned(as: Float.self)
  }
}

extension BFloat16: SourceValue {
  /// Rounds to this format, half to even, beyond its range to infinity.
  @inline(__always)
  public init(rounding value: Float) { self.init(nearest: value, overflow: .ieee) }

  /// BF16.
  public static var sourceFormat: SourceFormat { .bfloat16 }

  /// Sixteen consecutive values, which need not be aligned.
  @inline(__always)
  public static func loadSixteen(_ address: UnsafeRawPointer) -> SIMD16<Float> {
    // The caller vouches for the extent of the memory.
    let halves = unsafe address.loadUnaligned(as: SIMD16<UInt16>.self)
    return SIMD16<Float>(bits: SIMD16<Int32>(truncatingIfNeeded: halves) &<< 16)
  }

  /// One value, which need not be aligned.
  @inline(__always)
  public static func load(_ address: UnsafeRawPointer) -> Float {
    // The caller vouches for the extent of the memory.
    Float(bitPattern: UInt32(unsafe address.loadUnaligned(as: UInt16.self)) << 16)
  }
}

extension Float16: SourceValue {
  /// Rounds to this format, half to even, beyond its range to infinity.
  @inline(__always)
  public init(rounding value: Float) { self.init(value) }

  /// FP16.
  public static var sourceFormat: SourceFormat { .float16 }

  /// Sixteen consecutive values, which need not be aligned.
  @inline(__always)
  public static func loadSixteen(_ address: UnsafeRawPointer) -> SIMD16<Float> {
    // Without F16C a conversion is a library call for each value, so the fields are moved instead:
    // read 13 places further left they are the value times 2^-112, subnormals included.
    // The caller vouches for the extent of the memory.
    let halves = SIMD16<Int32>(
      truncatingIfNeeded: unsafe address.loadUnaligned(as: SIMD16<UInt16>.self))
    let magnitude = halves & 0x7FFF
    let scaled = SIMD16<Float>(bits: magnitude &<< 13) * 0x1p112
    // An exponent field of ones stays one.
    let special = (SIMD16(repeating: 0x7BFF) &- magnitude) &>> 31
    let bits = scaled.bits.replaced(with: magnitude &<< 13 | 0x7F80_0000, in: special)
    return SIMD16<Float>(bits: bits | (halves & 0x8000) &<< 16)
  }

  /// One value, which need not be aligned.
  @inline(__always)
  public static func load(_ address: UnsafeRawPointer) -> Float {
    // The caller vouches for the extent of the memory.
    Float(unsafe address.loadUnaligned(as: Float16.self))
  }
}

extension SourceValue {
  /// The first `count` of at most sixteen consecutive values; zero stands for the others.
  @inline(__always)
  package static func load(_ address: UnsafeRawPointer, count: Int) -> SIMD16<Float> {
    // The caller vouches for `count` values at `address`.
    if count >= 16 { return unsafe loadSixteen(address) }
    var values = SIMD16<Float>()
    for index in 0..<count {
      // Inside the `count` values that the caller vouches for.
      values[index] = unsafe load(address + index * sourceFormat.byteCount)
    }
    return values
  }
}

/// The largest magnitude of a run of values, as a bit pattern without sign.
///
/// NaN orders above infinity, so a result of `0x7F80_0000` or more tells that a value is not finite.
package func maximumMagnitudeBits<Source: SourceValue>(
  _ type: Source.Type, _ values: UnsafeRawBufferPointer
) -> UInt32 {
  let count = values.count / Source.sourceFormat.byteCount
  // An empty buffer has no base address and is not read.
  guard count > 0, let base = values.baseAddress else { return 0 }
  var maximum = SIMD16<Int32>()
  var index = 0
  while index < count {
    // Inside the buffer: `load` is told how many values are left.
    let chunk = unsafe Source.load(
      base + index * Source.sourceFormat.byteCount, count: count - index)
    maximum = maximum.maximum(chunk.magnitudeBits)
    index += 16
  }
  return UInt32(maximum.max())
}

extension SourceFormat {
  /// The largest magnitude of a run of values of this format, as a bit pattern without sign.
  package func maximumMagnitudeBits(_ values: UnsafeRawBufferPointer) -> UInt32 {
    // The pointer is only passed on.
    switch self {
    case .float32: unsafe BlockScale.maximumMagnitudeBits(Float.self, values)
    case .bfloat16: unsafe BlockScale.maximumMagnitudeBits(BFloat16.self, values)
    case .float16: unsafe BlockScale.maximumMagnitudeBits(Float16.self, values)
    }
  }
}
