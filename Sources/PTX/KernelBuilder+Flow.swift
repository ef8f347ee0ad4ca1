// SPDX-License-Identifier: Apache-2.0

// Control flow of the running kernel. Lanes may part anywhere; they meet again at the end of the
// branch or loop.

extension KernelBuilder {
  /// A register that may be written again.
  package func variable<Type: RegisterValue>(_ initial: Value<Type>) -> Variable<Type> {
    Variable(initial, self)
  }

  /// Does something in the lanes where the predicate holds.
  package func when(
    _ predicate: Value<Bool>, file: String = #fileID, line: Int = #line, _ body: () -> Void
  ) {
    at(file, line)
    let place = self.line
    let then = collected(body)
    append(.branch(Guard(predicate.register), then: then, otherwise: [], place))
  }

  /// Does one thing in the lanes where the predicate holds, and another in the rest.
  package func when(
    _ predicate: Value<Bool>, file: String = #fileID, line: Int = #line, _ body: () -> Void,
    otherwise: () -> Void
  ) {
    at(file, line)
    let place = self.line
    let then = collected(body)
    let rest = collected(otherwise)
    append(.branch(Guard(predicate.register), then: then, otherwise: rest, place))
  }

  /// Repeats until every lane has left.
  package func loop(file: String = #fileID, line: Int = #line, _ body: () -> Void) {
    at(file, line)
    let place = self.line
    append(.loop(collected(body), place))
  }

  /// Leaves the innermost loop where the predicate holds.
  package func leave(if predicate: Value<Bool>, file: String = #fileID, line: Int = #line) {
    at(file, line)
    append(.leave(Guard(predicate.register), self.line))
  }

  /// Ends the lanes where the predicate holds.
  package func exit(if predicate: Value<Bool>, file: String = #fileID, line: Int = #line) {
    at(file, line)
    append(.exit(Guard(predicate.register), self.line))
  }

  /// Repeats for `start`, `start + step` and so on, below `end`.
  package func forEach<Type: IntegerRegisterValue>(
    from start: Value<Type>, below end: Value<Type>, by step: Value<Type>, file: String = #fileID,
    line: Int = #line, _ body: (Value<Type>) -> Void
  ) {
    at(file, line)
    let index = variable(start)
    loop(file: file, line: line) {
      leave(if: index.value .>= end, file: file, line: line)
      body(index.value)
      at(file, line)
      index.value = index.value + step
    }
  }
}
