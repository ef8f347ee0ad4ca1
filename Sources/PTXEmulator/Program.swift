// SPDX-License-Identifier: Apache-2.0

import PTX

/// Executes one instruction for the lanes of a mask.
typealias Work = (Warp, UInt32) throws(Fault) -> Progress

/// Whether an instruction is done, or its warp waits and executes it again.
enum Progress {
  case done, wait
}

/// Where a register or constant lies in a warp's register storage.
struct Place {
  var offset: Int
  var kind: RegisterKind
}

/// A kernel as a linear list of steps; structured flow has become jumps with masks to restore.
final class Program {
  enum Action {
    case work(Work)
    /// Enters a branch; `otherwise` is its `.otherwise` step.
    case branch(otherwise: Int)
    case otherwise(end: Int)
    /// Lanes meet again.
    case endBranch
    case loop
    case repeatLoop(head: Int)
    /// Leaves the innermost loop, which so many branches lie in.
    case leave(branches: Int)
    case exit
    case end
  }

  struct Step {
    var action: Action
    /// The predicate that guards it, or -1.
    var guardIndex = -1
    var guardExpected = true
    /// Slots that must hold values, and slots that hold one afterwards.
    var reads: [Int] = []
    var writes: [Int] = []
    /// Slots of matrix products among them, for steps other than products.
    var productSlots: [Int] = []
    /// Where to go on when no lane is left: the end of the innermost branch or loop.
    var skip = 0
    var line: SourceLine
  }

  let tree: KernelTree
  let steps: [Step]
  let constants: [(place: Place, value: UInt64)]
  /// The bytes of registers that are no predicates, constants included.
  let registerBytes: Int
  let slotCount: Int
  /// The name of a slot in errors, as the renderer writes registers.
  let slotNames: [String]
  let usesProducts: Bool

  init(_ tree: KernelTree) throws(EmulatorError) {
    var decoder = Decoder(tree)
    decoder.flatten(tree.body, branches: 0)
    let last = decoder.steps.last?.line ?? SourceLine(file: "?", line: 0)
    decoder.steps.append(Step(action: .end, line: last))
    decoder.closeSkips()
    if let (text, line) = decoder.problem {
      throw EmulatorError(
        kind: .malformed, line: line, description: "kernel \(tree.name) \(text) (\(line))")
    }
    self.tree = tree
    steps = decoder.steps
    constants = decoder.constants.map { ($0.value, $0.key.value) }
    registerBytes = decoder.registerBytes
    slotCount = decoder.slotCount
    slotNames = decoder.slotNames
    usesProducts = decoder.usesProducts
  }
}

/// Turns a tree into steps.
struct Decoder {
  struct Constant: Hashable {
    var kind: RegisterKind
    var value: UInt64
  }

  let tree: KernelTree
  var steps: [Program.Step] = []
  var constants: [Constant: Place] = [:]
  var registerBytes: Int
  /// The first thing that PTX has not, and where.
  var problem: (text: String, line: SourceLine)?
  var line = SourceLine(file: "?", line: 0)

  let slotCount: Int
  let slotNames: [String]
  private(set) var usesProducts = false
  private var firstSlot: [Int] = []
  private var firstByte: [Int] = []
  private var productSlots: Set<Int> = []

  init(_ tree: KernelTree) {
    self.tree = tree
    var counts = tree.registerCounts
    counts += Array(repeating: 0, count: Swift.max(0, RegisterKind.allCases.count - counts.count))
    var slot = 0
    var bytes = 0
    var names: [String] = []
    let prefixes = ["%p", "%h", "%r", "%d"]
    for (kind, width) in zip(RegisterKind.allCases, [0, 2, 4, 8]) {
      firstSlot.append(slot)
      firstByte.append(bytes)
      slot += counts[kind.rawValue]
      bytes += counts[kind.rawValue] * width * 32
      names += (0..<counts[kind.rawValue]).map { prefixes[kind.rawValue] + "\($0)" }
    }
    slotCount = slot
    slotNames = names
    registerBytes = bytes
    collectProducts(tree.body)
  }

  private mutating func collectProducts(_ statements: [Statement]) {
    for statement in statements {
      switch statement {
      case .instruction(.wgmma(let product), _, _):
        usesProducts = true
        productSlots.formUnion(product.sums.map { slot($0) })
        if case .registers(let registers) = product.left {
          productSlots.formUnion(registers.map { slot($0) })
        }
      case .branch(_, let then, let otherwise, _):
        collectProducts(then)
        collectProducts(otherwise)
      case .loop(let body, _): collectProducts(body)
      case .instruction, .leave, .exit, .comment: break
      }
    }
  }

  // MARK: Registers

  mutating func report(_ text: String) {
    if problem == nil { problem = (text, line) }
  }

  /// The number of a register among all kinds.
  func slot(_ register: Register) -> Int { firstSlot[register.kind.rawValue] + register.index }

  /// Where a register lies; `kind` is what the instruction needs.
  mutating func place(_ register: Register, _ kind: RegisterKind? = nil) -> Place {
    if let kind, register.kind != kind {
      report("has a register of \(register.kind) where one of \(kind) belongs")
    }
    let count =
      register.kind.rawValue < tree.registerCounts.count
      ? tree.registerCounts[register.kind.rawValue] : 0
    guard register.index >= 0, register.index < count else {
      report("names register \(register.index) of \(register.kind) but declares \(count)")
      return Place(offset: 0, kind: register.kind)
    }
    switch register.kind {
    case .predicate: return Place(offset: register.index, kind: .predicate)
    case .bits16: return Place(offset: firstByte[1] + register.index * 64, kind: .bits16)
    case .bits32: return Place(offset: firstByte[2] + register.index * 128, kind: .bits32)
    case .bits64: return Place(offset: firstByte[3] + register.index * 256, kind: .bits64)
    }
  }

  /// Where an operand lies; immediate bits become a constant, which all lanes hold.
  mutating func place(_ operand: Operand, _ kind: RegisterKind) -> Place {
    switch operand {
    case .register(let register): return place(register, kind)
    case .immediate(let bits):
      let width: Int
      switch kind {
      case .predicate:
        report("has an immediate predicate")
        return Place(offset: 0, kind: .predicate)
      case .bits16: width = 2
      case .bits32: width = 4
      case .bits64: width = 8
      }
      let value = width == 8 ? bits : bits & (1 << UInt64(width * 8) - 1)
      if let known = constants[Constant(kind: kind, value: value)] { return known }
      // Registers lie at multiples of their width, which a constant of 16 bits must not break.
      registerBytes = (registerBytes + 255) & ~255
      let place = Place(offset: registerBytes, kind: kind)
      registerBytes += width * 32
      constants[Constant(kind: kind, value: value)] = place
      return place
    }
  }

  // MARK: Statements

  /// Adds the steps of statements that lie in so many branches of the innermost loop.
  mutating func flatten(_ statements: [Statement], branches: Int) {
    for statement in statements {
      switch statement {
      case .comment: break
      case .instruction(let instruction, let condition, let line):
        self.line = line
        let work = decode(instruction)
        var step = Program.Step(action: .work(work), line: line)
        step.reads = instruction.registersRead.map { slot($0) }
        step.writes = instruction.registersWritten.map { slot($0) }
        if usesProducts, !instruction.isProduct {
          step.productSlots = (step.reads + step.writes).filter(productSlots.contains)
        }
        append(step, guardedBy: condition)
      case .branch(let condition, let then, let otherwise, let line):
        self.line = line
        let entry = append(.init(action: .branch(otherwise: 0), line: line), guardedBy: condition)
        let inside = steps.count
        flatten(then, branches: branches + 1)
        let middle = steps.count
        steps.append(.init(action: .otherwise(end: 0), line: line))
        flatten(otherwise, branches: branches + 1)
        let end = append(.init(action: .endBranch, line: line), guardedBy: nil)
        steps[entry].action = .branch(otherwise: middle)
        steps[middle].action = .otherwise(end: end)
        close(inside..<middle, to: middle)
        close(middle + 1..<end, to: end)
      case .loop(let body, let line):
        self.line = line
        let head = steps.count
        steps.append(.init(action: .loop, line: line))
        flatten(body, branches: 0)
        let end = append(.init(action: .repeatLoop(head: head), line: line), guardedBy: nil)
        close(head + 1..<end, to: end)
      case .leave(let condition, let line):
        self.line = line
        append(.init(action: .leave(branches: branches), line: line), guardedBy: condition)
      case .exit(let condition, let line):
        self.line = line
        append(.init(action: .exit, line: line), guardedBy: condition)
      }
    }
  }

  @discardableResult
  private mutating func append(_ step: Program.Step, guardedBy condition: Guard?) -> Int {
    var step = step
    if let condition {
      step.guardIndex = place(condition.predicate, .predicate).offset
      step.guardExpected = condition.expected
    }
    step.skip = -1
    steps.append(step)
    return steps.count - 1
  }

  /// Sends the steps of a range that have no end to skip to yet to this one.
  private mutating func close(_ range: Range<Int>, to end: Int) {
    for index in range where steps[index].skip == -1 { steps[index].skip = end }
  }

  /// Steps outside every branch and loop skip to the last.
  mutating func closeSkips() { close(0..<steps.count, to: steps.count - 1) }
}

extension Instruction {
  var isProduct: Bool {
    if case .wgmma = self { true } else { false }
  }
}
