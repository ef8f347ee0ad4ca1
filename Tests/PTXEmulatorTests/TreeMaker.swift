// SPDX-License-Identifier: Apache-2.0

import PTX
import PTXEmulator
import Testing

/// Makes trees instruction by instruction, so that tests can plant what the kernel language would
/// not let through.
struct TreeMaker {
  var counts = [0, 0, 0, 0]
  var parameters: [KernelParameter] = []
  private var bodies: [[Statement]] = [[]]
  var threads = 32
  var sharedBytes = 0
  var clusterBlocks = 1
  var maximumRegisters: Int?

  var tree: KernelTree {
    KernelTree(
      name: "test", target: .sm90a, parameters: parameters, sharedBytes: sharedBytes,
      bounds: LaunchBounds(
        threads: threads, maximumRegisters: maximumRegisters, clusterBlocks: clusterBlocks),
      registerCounts: counts, body: bodies[0])
  }

  mutating func register(_ kind: RegisterKind) -> Register {
    counts[kind.rawValue] += 1
    return Register(kind: kind, index: counts[kind.rawValue] - 1)
  }

  mutating func registers(_ count: Int, _ kind: RegisterKind = .bits32) -> [Register] {
    (0..<count).map { _ in register(kind) }
  }

  mutating func add(
    _ instruction: Instruction, if condition: Guard? = nil, file: String = #fileID,
    line: Int = #line
  ) {
    bodies[bodies.count - 1].append(
      .instruction(instruction, guardedBy: condition, SourceLine(file: file, line: line)))
  }

  mutating func branch(
    _ condition: Guard, then: (inout Self) -> Void, otherwise: (inout Self) -> Void = { _ in },
    file: String = #fileID, line: Int = #line
  ) {
    let first = inner(then)
    let second = inner(otherwise)
    bodies[bodies.count - 1].append(
      .branch(condition, then: first, otherwise: second, SourceLine(file: file, line: line)))
  }

  mutating func loop(
    file: String = #fileID, line: Int = #line, _ body: (inout Self) -> Void
  ) {
    let statements = inner(body)
    bodies[bodies.count - 1].append(.loop(statements, SourceLine(file: file, line: line)))
  }

  mutating func leave(if condition: Guard?, file: String = #fileID, line: Int = #line) {
    bodies[bodies.count - 1].append(.leave(condition, SourceLine(file: file, line: line)))
  }

  mutating func exit(if condition: Guard?, file: String = #fileID, line: Int = #line) {
    bodies[bodies.count - 1].append(.exit(condition, SourceLine(file: file, line: line)))
  }

  private mutating func inner(_ body: (inout Self) -> Void) -> [Statement] {
    bodies.append([])
    body(&self)
    return bodies.removeLast()
  }

  // MARK: Shorthands

  mutating func value(_ bits: UInt64, _ kind: RegisterKind = .bits32) -> Register {
    let register = register(kind)
    add(.move(register, .immediate(bits)))
    return register
  }

  mutating func special(_ special: SpecialRegister) -> Register {
    let register = register(.bits32)
    add(.readSpecial(register, special))
    return register
  }

  /// A parameter's value.
  mutating func parameter(_ name: String, _ kind: KernelParameter.Kind = .pointer) -> Register {
    parameters.append(KernelParameter(name: name, kind: kind))
    let isWide = kind == .pointer || kind == .uint64 || kind == .tensorMap
    let register = register(isWide ? .bits64 : .bits32)
    add(
      kind == .tensorMap
        ? .tensorMapAddress(register, parameter: parameters.count - 1)
        : .loadParameter(register, parameter: parameters.count - 1))
    return register
  }

  /// `base + index * scale`, an address of 64 bits.
  mutating func address(_ base: Register, _ index: Register, scale: Int) -> Register {
    let sum = register(.bits64)
    add(
      .ternary(
        .multiplyAddWide, .u32, sum, .register(index), .immediate(UInt64(scale)), .register(base)))
    return sum
  }

  /// `base + index * scale`, an address of shared memory.
  mutating func sharedAddress(_ offset: Int, _ index: Register, scale: Int) -> Register {
    let base = register(.bits32)
    add(.sharedAddress(base, offset: offset))
    let sum = register(.bits32)
    add(
      .ternary(
        .multiplyAdd, .u32, sum, .register(index), .immediate(UInt64(scale)), .register(base))
    )
    return sum
  }

  /// The lanes whose thread number is below a bound.
  mutating func isBelow(_ bound: Int, _ index: Register) -> Guard {
    let predicate = register(.predicate)
    add(.compare(.less, .u32, predicate, .register(index), .immediate(UInt64(bound))))
    return Guard(predicate)
  }

  mutating func load(_ type: ScalarType, _ base: Register, _ index: Register) -> Register {
    let address = address(base, index, scale: type.byteCount)
    let result = register(type.registerKind)
    add(.load(MemoryAccess(space: .global, type: type), to: [result], address: Address(address)))
    return result
  }

  mutating func store(_ type: ScalarType, _ value: Register, _ base: Register, _ index: Register) {
    let address = address(base, index, scale: type.byteCount)
    add(
      .store(
        MemoryAccess(space: .global, type: type), from: [.register(value)],
        address: Address(address)))
  }
}

/// Requires that a launch fails in this way, at this line.
func expectFault(
  _ kind: EmulatorError.Kind, line: Int, _ maker: TreeMaker, grid: GridShape = GridShape(1),
  arguments: [(name: String, value: KernelArgument)] = [], memory: EmulatedMemory = .init(),
  options: Emulator.Options = .init(), sourceLocation: SourceLocation = #_sourceLocation
) {
  do throws(EmulatorError) {
    try Emulator(options).launch(maker.tree, grid: grid, arguments: arguments, memory: memory)
    Issue.record("no fault, \(kind) expected", sourceLocation: sourceLocation)
  } catch {
    #expect(error.kind == kind, "\(error)", sourceLocation: sourceLocation)
    #expect(error.line?.line == line, "\(error)", sourceLocation: sourceLocation)
  }
}
