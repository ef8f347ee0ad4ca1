// SPDX-License-Identifier: Apache-2.0

extension EntryWriter {
  /// Writes statements; `leave` jumps to the label, which ends the innermost loop.
  mutating func write(_ statements: [Statement], leavingTo end: String?) {
    for statement in statements {
      switch statement {
      case .instruction(let instruction, let guardian, let line):
        note(line)
        write(instruction, guardedBy: guardian)
      case .branch(let condition, let then, let otherwise, let line):
        note(line)
        writeBranch(condition, then: then, otherwise: otherwise, leavingTo: end)
      case .loop(let body, let line):
        note(line)
        writeLoop(body)
      case .leave(let condition, let line):
        note(line)
        writeJump(to: end ?? "", condition)
      case .exit(let condition, let line):
        note(line)
        writeLine(condition.map { "@\($0.text) exit;" } ?? "exit;")
      case .comment(let text):
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
          writeLine("// \(line)")
        }
      }
    }
  }

  /// A jump that all lanes take is uniform; of others nothing is known.
  private mutating func writeJump(to label: String, _ condition: Guard?) {
    writeLine(condition.map { "@\($0.text) bra \(label);" } ?? "bra.uni \(label);")
  }

  private mutating func writeBranch(
    _ condition: Guard, then: [Statement], otherwise: [Statement], leavingTo end: String?
  ) {
    let number = nextLabelNumber()
    let endLabel = "$endif\(number)"
    switch (then.isEmpty, otherwise.isEmpty) {
    case (true, true):
      return
    case (false, true):
      writeJump(to: endLabel, condition.negated)
      write(then, leavingTo: end)
    case (true, false):
      writeJump(to: endLabel, condition)
      write(otherwise, leavingTo: end)
    case (false, false):
      let elseLabel = "$else\(number)"
      writeJump(to: elseLabel, condition.negated)
      write(then, leavingTo: end)
      writeJump(to: endLabel, nil)
      writeLabel(elseLabel)
      write(otherwise, leavingTo: end)
    }
    writeLabel(endLabel)
  }

  /// A loop whose last statement leaves on a condition jumps back on the opposite.
  ///
  /// The driver leaves loops as they are: what is to be repeated without one, Swift repeats while the kernel
  /// is built. Otherwise it makes up to twice the instructions, and takes twice the time to compile them.
  private mutating func writeLoop(_ body: [Statement]) {
    let number = nextLabelNumber()
    let start = "$loop\(number)", end = "$done\(number)"
    writeLabel(start)
    writeLine(".pragma \"nounroll\";")
    if case .leave(let condition?, let line)? = body.last {
      write(Array(body.dropLast()), leavingTo: end)
      note(line)
      writeJump(to: start, condition.negated)
    } else {
      write(body, leavingTo: end)
      writeJump(to: start, nil)
    }
    writeLabel(end)
  }
}

extension Guard {
  fileprivate var negated: Guard { Guard(predicate, is: !expected) }
}
