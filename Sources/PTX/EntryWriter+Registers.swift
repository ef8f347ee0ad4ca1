// SPDX-License-Identifier: Apache-2.0

extension EntryWriter {
  /// Moves, addresses and rearrangements of bits.
  mutating func writeRegisters(_ instruction: Instruction) {
    switch instruction {
    case .move(let result, let value):
      let type = result.kind.bits
      emit("mov", type.rawValue, operands: result.text, operand(value, type))
    case .readSpecial(let result, let special):
      emit("mov.u32", operands: result.text, special.rawValue)
    case .loadParameter(let result, let index):
      emit(
        "ld.param", result.kind.bits.rawValue,
        operands: result.text, "[\(PTXName.parameter(tree.parameters[index]))]")
    case .tensorMapAddress(let result, let index):
      emit("mov.b64", operands: result.text, PTXName.parameter(tree.parameters[index]))
      emit("cvta.param.u64", operands: result.text, result.text)
    case .sharedAddress(let result, let offset):
      emit(
        "mov.u32",
        operands: result.text, PTXName.sharedMemory + (offset == 0 ? "" : "+\(offset)"))
    case .globalAddress(let result, let generic):
      emit("cvta.to.global.u64", operands: result.text, generic.text)
    case .pack(let result, let parts):
      emit("mov", result.kind.bits.rawValue, operands: result.text, parts.text)
    case .unpack(let parts, let value):
      emit("mov", value.kind.bits.rawValue, operands: parts.text, value.text)
    case .select(let result, let yes, let no, let predicate):
      let type = result.kind.bits
      emit(
        "selp", type.rawValue,
        operands: result.text, operand(yes, type), operand(no, type), predicate.text)
    case .permuteBytes(let result, let low, let high, let selector):
      emit(
        "prmt.b32",
        operands: result.text, operand(low, .b32), operand(high, .b32), operand(selector, .b32))
    case .logic3(let result, let a, let b, let c, let table):
      emit(
        "lop3.b32",
        operands: result.text, operand(a, .b32), operand(b, .b32), operand(c, .b32),
        ScalarType.b8.literal(UInt64(table)))
    default:
      preconditionFailure("not of this family: \(instruction)")
    }
  }
}
