// SPDX-License-Identifier: Apache-2.0

public import Minifloat

/// The element formats that codes are stored in.
public enum ElementFormat: String, Sendable, Hashable, CaseIterable {
  case e4m3
  case e5m2
  case e2m1

  /// The bits of one code.
  public var bitWidth: Int { self == .e2m1 ? 4 : 8 }

  /// The largest finite magnitude: 448, 57344 or 6.
  public var greatestFiniteMagnitude: Float {
    switch self {
    case .e4m3: 448
    case .e5m2: 57344
    case .e2m1: 6
    }
  }

  /// The bytes that `count` codes of one row take; a row of 4-bit codes ends on a whole byte.
  package func byteCount(_ count: Int) -> Int { (count * bitWidth + 7) / 8 }
}

/// The formats that the scale of a block is stored in.
public enum ScaleFormat: String, Sendable, Hashable, CaseIterable {
  case float32
  case bfloat16
  case float16
  case e4m3
  case e8m0

  /// The bytes of one scale.
  public var byteCount: Int {
    switch self {
    case .float32: 4
    case .bfloat16, .float16: 2
    case .e4m3, .e8m0: 1
    }
  }

  /// The code that makes a whole block NaN.
  package var nanCode: UInt32 {
    switch self {
    case .float32: 0x7FC0_0000
    case .bfloat16: 0x7FC0
    case .float16: 0x7E00
    case .e4m3: 0x7F
    case .e8m0: 0xFF
    }
  }

  /// The value of a scale's code.
  @inline(__always)
  package func value(ofCode code: UInt32) -> Float {
    switch self {
    case .float32: Float(bitPattern: code)
    case .bfloat16: Float(bitPattern: code << 16)
    case .float16: Float(Float16(bitPattern: UInt16(truncatingIfNeeded: code)))
    case .e4m3: Float(Float8E4M3(bitPattern: UInt8(truncatingIfNeeded: code)))
    case .e8m0: Float(Float8E8M0(bitPattern: UInt8(truncatingIfNeeded: code)))
    }
  }
}

/// The formats of the values that are quantized.
public enum SourceFormat: String, Sendable, Hashable, CaseIterable {
  case float32
  case bfloat16
  case float16

  /// The bytes of one value.
  public var byteCount: Int { self == .float32 ? 4 : 2 }

  /// Rounds to this format and back, as arithmetic carried out in it would.
  package func rounded(_ value: Float) -> Float {
    switch self {
    case .float32: value
    case .bfloat16: Float(BFloat16(value))
    case .float16: Float(Float16(value))
    }
  }
}

/// An element format as a type: what the codes of a ``BlockScaledMatrix`` mean.
public protocol BlockElement: BinaryMinifloat where BitPattern == UInt8 {
  /// The same format as a value.
  static var elementFormat: ElementFormat { get }
}

extension Float8E4M3: BlockElement {
  /// E4M3.
  public static var elementFormat: ElementFormat { .e4m3 }
}

extension Float8E5M2: BlockElement {
  /// E5M2.
  public static var elementFormat: ElementFormat { .e5m2 }
}

extension Float4E2M1: BlockElement {
  /// E2M1.
  public static var elementFormat: ElementFormat { .e2m1 }
}

/// A scale format as a type.
public protocol BlockScaleValue: Sendable, Hashable, BitwiseCopyable {
  /// The same format as a value.
  static var scaleFormat: ScaleFormat { get }
}

extension Float: BlockScaleValue {
  /// FP32.
  public static var scaleFormat: ScaleFormat { .float32 }
}

extension BFloat16: BlockScaleValue {
  /// BF16.
  public static var scaleFormat: ScaleFormat { .bfloat16 }
}

extension Float16: BlockScaleValue {
  /// FP16.
  public static var scaleFormat: ScaleFormat { .float16 }
}

extension Float8E4M3: BlockScaleValue {
  /// E4M3, the scale of NVFP4.
  public static var scaleFormat: ScaleFormat { .e4m3 }
}

extension Float8E8M0: BlockScaleValue {
  /// E8M0, the scale of MX.
  public static var scaleFormat: ScaleFormat { .e8m0 }
}
