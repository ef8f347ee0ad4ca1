// SPDX-License-Identifier: Apache-2.0

// Who a thread is, and what threads of a warp or block do together.

extension KernelBuilder {
  /// What a special register holds.
  package func special(_ register: SpecialRegister) -> Value<UInt32> {
    let result = self.register(.bits32)
    append(.readSpecial(result, register))
    let differs: [SpecialRegister] = [.threadX, .threadY, .lane]
    return Value(result, self, uniform: !differs.contains(register))
  }

  /// The thread's index in its block.
  package var thread: Value<UInt32> { special(.threadX) }
  /// The thread's index in its warp.
  package var lane: Value<UInt32> { special(.lane) }
  /// The warp's index in its block, known to be the same in all its lanes.
  package var warp: Value<UInt32> { uniform(thread >> 5) }

  /// The first lane's value, known to be the same in all lanes.
  package func uniform(_ value: Value<UInt32>) -> Value<UInt32> {
    Value(shuffle(.index, value, lane: Value(0), clamp: 31).register, self, uniform: true)
  }

  /// Waits for all threads of the block.
  package func barrier(file: String = #fileID, line: Int = #line) {
    at(file, line)
    append(.barrier(id: .immediate(0), threads: nil))
  }

  /// Waits for so many threads that name the same barrier, 1 to 15.
  package func barrier(_ id: Int, threads: Int, file: String = #fileID, line: Int = #line) {
    at(file, line)
    append(.barrier(id: .immediate(UInt64(id)), threads: threads))
  }

  /// Orders memory accesses.
  package func fence(_ fence: Fence, file: String = #fileID, line: Int = #line) {
    at(file, line)
    append(.fence(fence))
  }

  func shuffle<Type: RegisterValue>(
    _ mode: ShuffleMode, _ value: Value<Type>, lane: Value<UInt32>, clamp: Int
  ) -> Value<Type> {
    precondition(Type.scalar.registerKind == .bits32, "shuffles move 32 bits")
    let result = register(.bits32)
    append(
      .shuffle(
        mode, result, valid: nil, value.operand, lane: lane.operand,
        clamp: .immediate(UInt64(clamp)),
        mask: .immediate(0xFFFF_FFFF)))
    return Value(result, self)
  }
}

extension Value {
  /// The value of the lane whose index differs in these bits; all lanes of the warp take part.
  package func shuffled(xor bits: Int) -> Value {
    Self.builder(builder).shuffle(.butterfly, self, lane: Value<UInt32>(bits), clamp: 31)
  }

  /// The value of a lane; all lanes of the warp take part.
  package func shuffled(from lane: Value<UInt32>) -> Value {
    Self.builder(builder).shuffle(.index, self, lane: lane, clamp: 31)
  }

  /// Combines the values of neighbouring lanes, a power of two of them, in each of them.
  package func reduced(lanes: Int, _ combine: (Value, Value) -> Value) -> Value {
    precondition(lanes > 0 && lanes <= 32 && lanes & (lanes - 1) == 0, "1, 2, 4, 8, 16 or 32 lanes")
    var result = self
    var distance = lanes / 2
    while distance > 0 {
      result = combine(result, result.shuffled(xor: distance))
      distance /= 2
    }
    return result
  }
}

extension Value where Type: IntegerRegisterValue {
  /// The sum, least, largest, conjunction or disjunction over all lanes of the warp (`redux.sync`).
  package func reducedOverWarp(_ operation: BinaryOperation) -> Value {
    precondition(Type.scalar.registerKind == .bits32, "integers of 32 bits")
    let k = Self.builder(builder)
    let result = k.register(.bits32)
    k.append(.reduceWarp(operation, Type.scalar, result, operand, mask: .immediate(0xFFFF_FFFF)))
    return Value(result, k, uniform: true)
  }
}

extension Value where Type == Bool {
  /// Whether it holds in any lane of the warp.
  package var anyLane: Value {
    let k = Self.builder(builder)
    let result = k.register(.predicate)
    k.append(.vote(.any, result, register, mask: .immediate(0xFFFF_FFFF)))
    return Value(result, k, uniform: true)
  }

  /// A bit for each lane of the warp where it holds.
  package var ballot: Value<UInt32> {
    let k = Self.builder(builder)
    let result = k.register(.bits32)
    k.append(.ballot(result, register, mask: .immediate(0xFFFF_FFFF)))
    return Value<UInt32>(result, k, uniform: true)
  }
}
