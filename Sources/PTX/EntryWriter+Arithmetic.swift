// SPDX-License-Identifier: Apache-2.0

extension EntryWriter {
  /// Operations of one, two or three operands, comparisons and predicates.
  ///
  /// Sums and products of floating-point values name their rounding: without it `ptxas` may contract
  /// a product and a sum into one rounding, and bytes would differ from other back ends.
  mutating func writeArithmetic(_ instruction: Instruction) {
    switch instruction {
    case .unary(let operation, let type, let result, let value):
      let named = operation.type(type)
      emit(
        operation.opcode(type), named.rawValue, operands: result.text, operand(value, named))
    case .binary(let operation, let type, let result, let left, let right):
      let named = operation.type(type)
      // The count of a shift has 32 bits whatever it shifts.
      let second = operation == .shiftLeft || operation == .shiftRight ? .u32 : named
      emit(
        operation.opcode(type), named.rawValue,
        operands: result.text, operand(left, named), operand(right, second))
    case .ternary(.funnelShiftRight, _, let result, let low, let high, let count):
      emit(
        "shf.r.wrap.b32",
        operands: result.text, operand(low, .b32), operand(high, .b32), operand(count, .u32))
    case .ternary(let operation, let type, let result, let a, let b, let c):
      let named = type.arithmetic
      let opcode =
        operation == .multiplyAddWide ? "mad.wide" : named.isFloatingPoint ? "fma.rn" : "mad.lo"
      emit(
        opcode, named.rawValue,
        operands: result.text, operand(a, named), operand(b, named),
        operand(c, operation == .multiplyAddWide ? named.wide : named))
    case .compare(let comparison, let type, let result, let left, let right):
      emit(
        "setp", comparison.rawValue, type.rawValue,
        operands: result.text, operand(left, type), operand(right, type))
    case .predicateLogic(.not, let result, let value, _):
      emit("not.pred", operands: result.text, value.text)
    case .predicateLogic(let operation, let result, let left, let right):
      emit(operation.rawValue, "pred", operands: result.text, left.text, right?.text ?? "")
    default:
      preconditionFailure("not of this family: \(instruction)")
    }
  }
}

extension ScalarType {
  /// An integer of twice the bits.
  var wide: ScalarType {
    switch self {
    case .u16: .u32
    case .u32: .u64
    case .s32: .s64
    default: self
    }
  }
}

extension UnaryOperation {
  /// Logic and counts read bits; negation reads signed integers.
  fileprivate func type(_ type: ScalarType) -> ScalarType {
    switch self {
    case .not, .populationCount, .leadingZeros, .reverseBits: type.bits
    case .negate, .absolute:
      switch type.arithmetic {
      case .u32: .s32
      case .u64: .s64
      default: type
      }
    default: type
    }
  }

  /// For BF16 `ex2` exists with subnormals flushed only.
  fileprivate func opcode(_ type: ScalarType) -> String {
    self == .approximateExponential2 && type.isBFloat16 ? "ex2.approx.ftz" : rawValue
  }
}

extension BinaryOperation {
  fileprivate func type(_ type: ScalarType) -> ScalarType {
    switch self {
    case .and, .or, .xor, .shiftLeft: type.bits
    // The type says whether the sign is shifted in.
    case .shiftRight: type.isSigned ? type : type.bits
    default: type.arithmetic
    }
  }

  fileprivate func opcode(_ type: ScalarType) -> String {
    switch self {
    case .add, .subtract, .divide: type.isFloatingPoint ? rawValue + ".rn" : rawValue
    case .multiply: type.isFloatingPoint ? "mul.rn" : "mul.lo"
    default: rawValue
    }
  }
}
