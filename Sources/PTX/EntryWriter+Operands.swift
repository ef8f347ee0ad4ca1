// SPDX-License-Identifier: Apache-2.0

extension RegisterKind {
  /// The type of its declarations.
  var typeName: String {
    switch self {
    case .predicate: "pred"
    case .bits16: "b16"
    case .bits32: "b32"
    case .bits64: "b64"
    }
  }

  /// What its registers' names begin with.
  var prefix: String {
    switch self {
    case .predicate: "%p"
    case .bits16: "%h"
    case .bits32: "%r"
    case .bits64: "%d"
    }
  }

  /// Its registers read as bits.
  var bits: ScalarType {
    switch self {
    case .predicate: .predicate
    case .bits16: .b16
    case .bits32: .b32
    case .bits64: .b64
    }
  }
}

extension Register {
  var text: String { kind.prefix + String(index) }
}

extension Guard {
  var text: String { expected ? predicate.text : "!" + predicate.text }
}

extension Address {
  /// In brackets; PTX writes a negative offset as `+-2`.
  var text: String {
    offset == 0 ? "[\(base.text)]" : "[\(base.text)+\(offset)]"
  }
}

extension [Register] {
  /// In braces.
  var text: String { "{" + map(\.text).joined(separator: ", ") + "}" }
}

extension EntryWriter {
  /// The text of an operand of this type.
  ///
  /// PTX has no literals for values of 16 bits in floating point; those get a register.
  mutating func operand(_ operand: Operand, _ type: ScalarType) -> String {
    switch operand {
    case .register(let register):
      return register.text
    case .immediate(let bits):
      switch type {
      case .f16, .bf16, .f16x2, .bf16x2:
        return held(bits, type.registerKind.bits)
      default:
        return type.literal(bits)
      }
    }
  }

  /// The text of an operand that PTX reads from a register only.
  mutating func heldOperand(_ operand: Operand, _ type: ScalarType) -> String {
    switch operand {
    case .register(let register): register.text
    case .immediate(let bits): held(bits, type)
    }
  }

  /// A register that holds these bits while the instruction is written.
  mutating func held(_ bits: UInt64, _ type: ScalarType) -> String {
    let name = scratch(type.rawValue)
    emit("mov", type.rawValue, operands: name, type.literal(bits))
    return name
  }
}

extension ScalarType {
  /// The low bits as a literal: floating-point values by their bits, signed integers with a sign,
  /// others in decimal, and in hexadecimal where they are bits and more than a digit.
  func literal(_ bits: UInt64) -> String {
    switch self {
    case .f32: "0f" + hexadecimal(bits, digits: 8)
    case .f64: "0d" + hexadecimal(bits, digits: 16)
    case .s32: "\(Int32(truncatingIfNeeded: bits))"
    case .s64: "\(Int64(bitPattern: bits))"
    case .predicate: "\(bits & 1)"
    case .b8, .b16, .b32, .b64, .f16, .bf16, .f16x2, .bf16x2:
      low(bits) < 10 ? "\(low(bits))" : "0x" + String(low(bits), radix: 16, uppercase: true)
    case .u8, .u16, .u32, .u64: "\(low(bits))"
    }
  }

  private func low(_ bits: UInt64) -> UInt64 {
    byteCount == 8 ? bits : bits & (1 << (8 * UInt64(byteCount)) - 1)
  }

  private func hexadecimal(_ bits: UInt64, digits: Int) -> String {
    let text = String(low(bits), radix: 16, uppercase: true)
    return String(repeating: "0", count: digits - text.count) + text
  }

  /// Whether it is a floating-point value or a pair of them.
  var isFloatingPoint: Bool {
    switch self {
    case .f16, .bf16, .f32, .f64, .f16x2, .bf16x2: true
    default: false
    }
  }

  /// Whether it is BF16 or a pair of it.
  var isBFloat16: Bool { self == .bf16 || self == .bf16x2 }

  var isSigned: Bool { self == .s32 || self == .s64 }

  /// Its bits without meaning, as logic and moves name them.
  var bits: ScalarType { byteCount == 1 ? .b8 : registerKind.bits }

  /// As arithmetic names it: bits count as unsigned integers.
  var arithmetic: ScalarType {
    switch self {
    case .b16: .u16
    case .b32: .u32
    case .b64: .u64
    default: self
    }
  }

  /// As loads, stores and exchanges name it: values of 16 bits and pairs as bits.
  var memory: ScalarType {
    switch self {
    case .f16, .bf16: .b16
    case .f16x2, .bf16x2: .b32
    default: self
    }
  }
}
