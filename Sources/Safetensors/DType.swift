// SPDX-License-Identifier: Apache-2.0

/// The element types that a safetensors file can hold.
///
/// The raw value is the name in the file. The cases stand in the order in which the reference
/// library declares them, which is the order that it sorts by; see
/// ``SafetensorsHeader/canonicalOrder(_:)``.
///
/// Source: the `Dtype` enumeration of the `safetensors` crate, release 0.8.
public enum DType: String, Sendable, Hashable, CaseIterable {
  /// A Boolean, one byte each.
  case bool = "BOOL"
  /// 4-bit floating point E2M1, two elements to a byte.
  case f4 = "F4"
  /// 6-bit floating point E2M3, four elements to three bytes.
  case f6E2M3 = "F6_E2M3"
  /// 6-bit floating point E3M2, four elements to three bytes.
  case f6E3M2 = "F6_E3M2"
  /// An unsigned 8-bit integer.
  case u8 = "U8"
  /// A signed 8-bit integer.
  case i8 = "I8"
  /// 8-bit floating point E5M2, with infinities.
  case f8E5M2 = "F8_E5M2"
  /// 8-bit floating point E4M3 without infinities (OCP "FN").
  case f8E4M3 = "F8_E4M3"
  /// An 8-bit power of two, unsigned (OCP "FNU"), used as a scale.
  case f8E8M0 = "F8_E8M0"
  /// 8-bit floating point E4M3 with one NaN and no negative zero ("FNUZ").
  case f8E4M3FNUZ = "F8_E4M3FNUZ"
  /// 8-bit floating point E5M2 with one NaN, no infinity and no negative zero ("FNUZ").
  case f8E5M2FNUZ = "F8_E5M2FNUZ"
  /// A signed 16-bit integer.
  case i16 = "I16"
  /// An unsigned 16-bit integer.
  case u16 = "U16"
  /// IEEE 754 binary16.
  case f16 = "F16"
  /// Brain floating point: the upper half of a binary32.
  case bf16 = "BF16"
  /// A signed 32-bit integer.
  case i32 = "I32"
  /// An unsigned 32-bit integer.
  case u32 = "U32"
  /// IEEE 754 binary32.
  case f32 = "F32"
  /// A complex number of two binary32.
  case c64 = "C64"
  /// IEEE 754 binary64.
  case f64 = "F64"
  /// A signed 64-bit integer.
  case i64 = "I64"
  /// An unsigned 64-bit integer.
  case u64 = "U64"
}

extension DType {
  /// The size of one element in bits.
  public var bitWidth: Int {
    switch self {
    case .f4: 4
    case .f6E2M3, .f6E3M2: 6
    case .bool, .u8, .i8, .f8E5M2, .f8E4M3, .f8E8M0, .f8E4M3FNUZ, .f8E5M2FNUZ: 8
    case .i16, .u16, .f16, .bf16: 16
    case .i32, .u32, .f32: 32
    case .c64, .f64, .i64, .u64: 64
    }
  }

  /// The position among all cases, which is the reference library's order.
  var rank: Int {
    // The list has 22 entries, so the search for this one always succeeds.
    Self.allCases.firstIndex(of: self) ?? 0
  }
}
