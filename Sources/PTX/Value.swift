// SPDX-License-Identifier: Apache-2.0

package import Minifloat

/// A type that a register can hold.
package protocol RegisterValue {
  /// How instructions read the register.
  static var scalar: ScalarType { get }
}

/// Integers that kernels compute with.
package protocol IntegerRegisterValue: RegisterValue, FixedWidthInteger {}
/// Floating-point values that kernels compute with.
package protocol FloatingRegisterValue: RegisterValue, BinaryFloatingPoint {}

extension Bool: RegisterValue { package static var scalar: ScalarType { .predicate } }
extension UInt16: RegisterValue { package static var scalar: ScalarType { .u16 } }
extension UInt32: IntegerRegisterValue { package static var scalar: ScalarType { .u32 } }
extension Int32: IntegerRegisterValue { package static var scalar: ScalarType { .s32 } }
extension UInt64: IntegerRegisterValue { package static var scalar: ScalarType { .u64 } }
extension Int64: IntegerRegisterValue { package static var scalar: ScalarType { .s64 } }
extension Float: FloatingRegisterValue { package static var scalar: ScalarType { .f32 } }
extension Double: FloatingRegisterValue { package static var scalar: ScalarType { .f64 } }
extension BFloat16: RegisterValue { package static var scalar: ScalarType { .bf16 } }

/// IEEE half precision; a name of its own, for Swift's `Float16` does not exist on every processor.
package enum Half: RegisterValue { package static var scalar: ScalarType { .f16 } }

/// Two values in one register, the first in the low half.
package enum Pair<Element: PairElement>: RegisterValue {
  package static var scalar: ScalarType {
    switch Element.pairFormat {
    case .bf16x2: .bf16x2
    case .f16x2: .f16x2
    case .e4m3x2, .e5m2x2, .e2m1x2, .ue8m0x2: .b16
    }
  }
}

/// What pairs are made of.
package protocol PairElement {
  static var pairFormat: PairFormat { get }
}

extension BFloat16: PairElement { package static var pairFormat: PairFormat { .bf16x2 } }
extension Half: PairElement { package static var pairFormat: PairFormat { .f16x2 } }
extension Float8E4M3: PairElement { package static var pairFormat: PairFormat { .e4m3x2 } }
extension Float8E5M2: PairElement { package static var pairFormat: PairFormat { .e5m2x2 } }
extension Float4E2M1: PairElement { package static var pairFormat: PairFormat { .e2m1x2 } }

/// A typed value of a running kernel: a register, or a constant.
///
/// It is the same in every lane of a warp if `isUniform` says so; that is known of parameters, block
/// indices and constants, and of what is computed from them alone.
package struct Value<Type: RegisterValue> {
  package let operand: Operand
  /// Constants have none and take that of the other operand.
  package let builder: KernelBuilder?
  package let isUniform: Bool

  package init(_ register: Register, _ builder: KernelBuilder, uniform: Bool = false) {
    precondition(register.kind == Type.scalar.registerKind, "a register of another kind")
    self.operand = .register(register)
    self.builder = builder
    self.isUniform = uniform
  }

  /// A constant, as its bits.
  package init(bits: UInt64) {
    operand = .immediate(bits)
    builder = nil
    isUniform = true
  }

  /// The register that holds the value.
  ///
  /// - Precondition: It is no constant; `materialized` moves one into a register.
  package var register: Register {
    guard case .register(let register) = operand else {
      preconditionFailure("a constant lies in no register")
    }
    return register
  }

  /// The same value in a register.
  package func materialized(_ k: KernelBuilder) -> Value {
    if case .register = operand { return self }
    let register = k.register(Type.scalar.registerKind)
    k.append(.move(register, operand))
    return Value(register, k, uniform: true)
  }

  /// The same bits under another type, without an instruction.
  package func reinterpreted<Other: RegisterValue>(as other: Other.Type) -> Value<Other> {
    precondition(
      Other.scalar.registerKind == Type.scalar.registerKind,
      "\(Type.self) and \(Other.self) differ in size")
    return Value<Other>(operand: operand, builder: builder, isUniform: isUniform)
  }

  init(operand: Operand, builder: KernelBuilder?, isUniform: Bool) {
    self.operand = operand
    self.builder = builder
    self.isUniform = isUniform
  }
}

extension Value where Type: IntegerRegisterValue {
  /// A constant; of a negative one, or one that is too large, the low bits.
  package init(_ constant: Int) {
    self.init(bits: UInt64(truncatingIfNeeded: Type(truncatingIfNeeded: constant)))
  }
}

extension Value where Type == Float {
  /// A constant.
  package init(_ constant: Float) { self.init(bits: UInt64(constant.bitPattern)) }
}

extension Value where Type == Double {
  /// A constant.
  package init(_ constant: Double) { self.init(bits: constant.bitPattern) }
}

/// A register that may be written again: what loops carry.
package struct Variable<Type: RegisterValue> {
  /// For instructions that read and write it at once.
  let register: Register
  private let builder: KernelBuilder

  init(_ initial: Value<Type>, _ builder: KernelBuilder) {
    register = builder.register(Type.scalar.registerKind)
    self.builder = builder
    builder.append(.move(register, initial.operand))
  }

  /// What it holds at this point of the kernel.
  ///
  /// Reading gives the register itself, which later writes change; `snapshot` keeps it.
  package var value: Value<Type> {
    get { Value(register, builder) }
    nonmutating set { builder.append(.move(register, newValue.operand)) }
  }

  /// A copy that later writes do not change.
  package func snapshot() -> Value<Type> {
    let copy = builder.register(Type.scalar.registerKind)
    builder.append(.move(copy, .register(register)))
    return Value(copy, builder)
  }

  /// Writes where the predicate holds.
  package func set(_ value: Value<Type>, if predicate: Value<Bool>) {
    builder.append(.move(register, value.operand), if: predicate)
  }
}
