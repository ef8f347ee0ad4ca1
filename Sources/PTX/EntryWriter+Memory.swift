// SPDX-License-Identifier: Apache-2.0

extension EntryWriter {
  mutating func writeMemory(_ instruction: Instruction) {
    switch instruction {
    case .load(let access, let results, let address):
      emit(
        "ld", access.isVolatile ? "volatile" : "", access.space.rawValue, access.cache.loadSuffix,
        access.vector, access.type.memory.rawValue,
        operands: results.count == 1 ? results[0].text : results.text, address.text)
    case .store(let access, let values, let address):
      let type = access.type.memory
      let texts = values.map { operand($0, type) }
      emit(
        "st", access.isVolatile ? "volatile" : "", access.space.rawValue,
        access.cache == .evictFirst ? "cs" : "", access.vector, type.rawValue,
        operands: address.text,
        texts.count == 1 ? texts[0] : "{" + texts.joined(separator: ", ") + "}")
    case .atomic(
      let operation, let type, let space, let result?, let address, let value, .some(let new)):
      let named = operation.type(type)
      emit(
        "atom", space.rawValue, operation.rawValue, named.rawValue,
        operands: result.text, address.text, operand(value, named), operand(new, named))
    case .atomic(let operation, let type, let space, let result?, let address, let value, nil):
      let named = operation.type(type)
      emit(
        "atom", space.rawValue, operation.rawValue, named.flushSuffix, named.rawValue,
        operands: result.text, address.text, operand(value, named))
    case .atomic(let operation, let type, let space, nil, let address, let value, _):
      let named = operation.type(type)
      emit(
        "red", space.rawValue, operation.rawValue, named.flushSuffix, named.rawValue,
        operands: address.text, operand(value, named))
    case .prefetchL2(let address):
      emit("prefetch.global.L2", operands: address.text)
    default:
      preconditionFailure("not of this family: \(instruction)")
    }
  }
}

extension MemoryAccess {
  fileprivate var vector: String { count == 1 ? "" : "v\(count)" }
}

extension CacheHint {
  fileprivate var loadSuffix: String {
    switch self {
    case .normal, .evictFirst: ""
    case .readOnly: "nc"
    }
  }
}

extension ScalarType {
  /// Sums of halves must say that subnormals are kept.
  var flushSuffix: String {
    switch self {
    case .f16, .bf16, .f16x2, .bf16x2: "noftz"
    default: ""
    }
  }
}

extension AtomicOperation {
  /// Logic and exchanges read bits; sums of integers are the same signed or not, and PTX has the
  /// unsigned one for 64 bits only.
  fileprivate func type(_ type: ScalarType) -> ScalarType {
    switch self {
    case .add: type == .s64 ? .u64 : type.arithmetic
    case .minimum, .maximum: type.arithmetic
    case .and, .or, .exchange, .compareAndSwap: type.bits
    }
  }
}
