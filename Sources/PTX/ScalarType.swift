// SPDX-License-Identifier: Apache-2.0

/// How an instruction reads the bits of its registers: PTX's fundamental types.
package enum ScalarType: String, Hashable, Sendable, CaseIterable {
  case predicate = "pred"
  case b8, b16, b32, b64
  case u8, u16, u32, u64
  case s32, s64
  case f16, bf16, f32, f64
  case f16x2, bf16x2

  /// The kind of register that holds one.
  package var registerKind: RegisterKind {
    switch self {
    case .predicate: .predicate
    // PTX has no registers of eight bits; loads widen.
    case .b8, .u8, .b16, .u16, .f16, .bf16: .bits16
    case .b32, .u32, .s32, .f32, .f16x2, .bf16x2: .bits32
    case .b64, .u64, .s64, .f64: .bits64
    }
  }

  /// Its bytes in memory.
  package var byteCount: Int {
    switch self {
    case .predicate: 0
    case .b8, .u8: 1
    case .b16, .u16, .f16, .bf16: 2
    case .b32, .u32, .s32, .f32, .f16x2, .bf16x2: 4
    case .b64, .u64, .s64, .f64: 8
    }
  }
}

/// The four kinds of virtual registers that kernels use; instructions say how they read the bits.
package enum RegisterKind: Int, Hashable, Sendable, CaseIterable {
  case predicate, bits16, bits32, bits64
}

/// A virtual register: its number counts registers of its kind.
package struct Register: Hashable, Sendable {
  package var kind: RegisterKind
  package var index: Int

  package init(kind: RegisterKind, index: Int) {
    self.kind = kind
    self.index = index
  }
}

/// What an instruction reads: a register, or bits that are written into the text.
package enum Operand: Hashable, Sendable {
  case register(Register)
  /// The low bits count, as many as the instruction's type has.
  case immediate(UInt64)
}
