// SPDX-License-Identifier: Apache-2.0

extension EntryWriter {
  /// What the lanes of a warp do together.
  mutating func writeWarp(_ instruction: Instruction) {
    switch instruction {
    case .shuffle(let mode, let result, let valid, let value, let lane, let clamp, let mask):
      emit(
        "shfl.sync", mode.rawValue, "b32",
        operands: valid.map { "\(result.text)|\($0.text)" } ?? result.text,
        operand(value, .b32), operand(lane, .u32), operand(clamp, .b32), operand(mask, .b32))
    case .ballot(let result, let predicate, let mask):
      emit("vote.sync.ballot.b32", operands: result.text, predicate.text, operand(mask, .b32))
    case .vote(let mode, let result, let predicate, let mask):
      emit(
        "vote.sync", mode.rawValue, "pred",
        operands: result.text, predicate.text, operand(mask, .b32))
    case .reduceWarp(let operation, let type, let result, let value, let mask):
      let named =
        switch operation {
        case .and, .or, .xor: type.bits
        default: type.arithmetic
        }
      emit(
        "redux.sync", operation.rawValue, named.rawValue,
        operands: result.text, operand(value, named), operand(mask, .b32))
    case .elect(let result, let mask):
      emit("elect.sync", operands: "_|\(result.text)", operand(mask, .b32))
    case .synchronizeWarp(let mask):
      emit("bar.warp.sync", operands: operand(mask, .b32))
    default:
      preconditionFailure("not of this family: \(instruction)")
    }
  }
}
