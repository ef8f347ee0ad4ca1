// SPDX-License-Identifier: Apache-2.0

extension KernelTree {
  /// Checks that the target has what the kernel asks for, and that the parts of each instruction fit.
  ///
  /// What passes can be written as text that `ptxas` accepts.
  ///
  /// - Throws: a sentence that names the kernel, the instruction with its Swift line, and what is
  ///   lacking or wrong.
  package func validate() throws(KernelError) {
    try validateLaunch()
    for parameter in parameters where !parameter.name.isIdentifier {
      throw fault("has a parameter \"\(parameter.name)\", which is no name in PTX")
    }
    for (index, parameter) in parameters.enumerated()
    where parameters[..<index].contains(where: { $0.name == parameter.name }) {
      throw fault("has two parameters called \(parameter.name)")
    }
    try validate(body, inLoop: false)
  }

  private func validateLaunch() throws(KernelError) {
    guard name.isIdentifier else { throw fault("has a name that PTX does not take") }
    guard (1...1024).contains(bounds.threads) else {
      throw fault("asks for \(bounds.threads) threads a block; a block has 1 to 1024")
    }
    guard sharedBytes >= 0, sharedBytes <= target.maximumSharedBytes else {
      throw fault(
        "asks for \(sharedBytes) bytes of shared memory; \(target.name) has "
          + "\(target.maximumSharedBytes) for a block")
    }
    guard (1...8).contains(bounds.clusterBlocks) else {
      throw fault("asks for clusters of \(bounds.clusterBlocks) blocks; a cluster has 1 to 8")
    }
    if bounds.clusterBlocks > 1, !target.features.contains(.cluster) {
      throw fault("needs \(Target.Feature.cluster.rawValue), which \(target.name) lacks")
    }
    if let registers = bounds.maximumRegisters, !(16...255).contains(registers) {
      throw fault("limits registers to \(registers); a thread has 16 to 255")
    }
    if let blocks = bounds.minimumBlocks, !(1...32).contains(blocks) {
      throw fault("asks for \(blocks) blocks a multiprocessor; one holds 1 to 32")
    }
    guard registerCounts.count == RegisterKind.allCases.count else {
      throw fault(
        "counts \(registerCounts.count) kinds of registers instead of \(RegisterKind.allCases.count)"
      )
    }
  }

  private func validate(_ statements: [Statement], inLoop: Bool) throws(KernelError) {
    for statement in statements {
      switch statement {
      case .instruction(let instruction, let guardian, let line):
        try validate(instruction, line)
        try validate(guardian, line)
      case .branch(let condition, let then, let otherwise, let line):
        try validate(condition, line)
        try validate(then, inLoop: inLoop)
        try validate(otherwise, inLoop: inLoop)
      case .loop(let body, let line):
        guard !body.isEmpty else { throw fault("has a loop without end", line) }
        try validate(body, inLoop: true)
      case .leave(let condition, let line):
        guard inLoop else { throw fault("leaves a loop where there is none", line) }
        try validate(condition, line)
      case .exit(let condition, let line):
        try validate(condition, line)
      case .comment:
        break
      }
    }
  }

  private func validate(_ instruction: Instruction, _ line: SourceLine) throws(KernelError) {
    if let feature = instruction.requirement, !target.features.contains(feature) {
      throw fault(
        "uses \(instruction.name), which needs \(feature.rawValue); \(target.name) lacks that", line
      )
    }
    do {
      try InstructionCheck(tree: self).check(instruction)
    } catch {
      throw fault("uses \(instruction.name) \(error.text)", line)
    }
    for register in instruction.writes { try validate(register, line) }
    for register in instruction.reads { try validate(register, line) }
  }

  private func validate(_ condition: Guard?, _ line: SourceLine) throws(KernelError) {
    guard let register = condition?.predicate else { return }
    try validate(register, line)
    if register.kind != .predicate {
      throw fault("has \(register.text) as a condition, which is no predicate", line)
    }
  }

  private func validate(_ register: Register, _ line: SourceLine) throws(KernelError) {
    if !(0..<registerCounts[register.kind.rawValue]).contains(register.index) {
      throw fault(
        "names the register \(register.text), of \(registerCounts[register.kind.rawValue]) of its kind",
        line)
    }
  }

  private func fault(_ sentence: String, _ line: SourceLine? = nil) -> KernelError {
    KernelError("Kernel \(name)\(line.map { " (\($0))" } ?? "") \(sentence).")
  }
}

extension String {
  /// Whether it begins with a letter and has letters, digits and underscores only.
  fileprivate var isIdentifier: Bool {
    guard let first = utf8.first, first.isLetter else { return false }
    return utf8.allSatisfy {
      $0.isLetter || $0 == UInt8(ascii: "_") || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
    }
  }
}

extension UInt8 {
  fileprivate var isLetter: Bool {
    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(self | 0x20)
  }
}
