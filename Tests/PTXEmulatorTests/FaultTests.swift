// SPDX-License-Identifier: Apache-2.0

import PTX
import PTXEmulator
import Testing

/// A kernel with a planted fault of each kind, which must be found at its line.
@Suite struct FaultTests {
  /// The line that the faulty instruction says it has.
  static let line = 4242

  // MARK: Registers and memory

  @Test func readsARegisterThatNothingWrote() {
    var k = TreeMaker()
    let (a, b) = (k.register(.bits32), k.register(.bits32))
    k.add(.binary(.add, .u32, a, .register(b), .immediate(1)), line: Self.line)
    expectFault(.uninitializedRegister, line: Self.line, k)
  }

  @Test func readsARegisterThatOtherLanesWrote() {
    var k = TreeMaker()
    let lane = k.special(.lane)
    let value = k.register(.bits32)
    k.branch(k.isBelow(16, lane), then: { k in k.add(.move(value, .immediate(1))) })
    let sum = k.register(.bits32)
    k.add(.binary(.add, .u32, sum, .register(value), .immediate(1)), line: Self.line)
    expectFault(.uninitializedRegister, line: Self.line, k)
  }

  @Test func readsSharedBytesThatNothingWrote() {
    var k = TreeMaker()
    k.sharedBytes = 128
    let place = k.sharedAddress(0, k.special(.lane), scale: 4)
    k.add(
      .load(
        MemoryAccess(space: .shared, type: .b32), to: [k.register(.bits32)], address: Address(place)
      ),
      line: Self.line)
    expectFault(.uninitializedShared, line: Self.line, k)
  }

  @Test func readsGlobalBytesThatNothingWrote() throws {
    var k = TreeMaker()
    let x = k.parameter("x")
    let place = k.address(x, k.special(.lane), scale: 4)
    k.add(
      .load(
        MemoryAccess(space: .global, type: .b32), to: [k.register(.bits32)], address: Address(place)
      ),
      line: Self.line)
    let memory = EmulatedMemory()
    let address = memory.allocate(bytes: 128)
    try memory.upload([UInt32](repeating: 0, count: 31), to: address)
    expectFault(
      .uninitializedGlobal, line: Self.line, k, arguments: [("x", .pointer(address))],
      memory: memory)
    var options = Emulator.Options()
    options.checksUninitializedGlobal = false
    try Emulator(options).launch(
      k.tree, grid: GridShape(1), arguments: [("x", .pointer(address))], memory: memory)
  }

  @Test(arguments: [128, -4, 126], [MemorySpace.global, .shared])
  func leavesMemory(_ offset: Int, _ space: MemorySpace) {
    var k = TreeMaker()
    k.sharedBytes = 128
    let x = k.parameter("x")
    let zero = k.value(0)
    let base = space == .global ? k.address(x, zero, scale: 1) : k.sharedAddress(0, zero, scale: 1)
    k.add(
      .store(
        MemoryAccess(space: space, type: .b32), from: [.register(zero)],
        address: Address(base, offset: offset)), line: Self.line)
    let memory = EmulatedMemory()
    let address = memory.allocate(bytes: 128)
    expectFault(
      offset == 126 ? .misaligned : .outOfBounds, line: Self.line, k,
      arguments: [("x", .pointer(address))], memory: memory)
  }

  @Test(arguments: [MemorySpace.global, .shared])
  func storesDifferentValuesToOneAddress(_ space: MemorySpace) {
    var k = TreeMaker()
    k.sharedBytes = 128
    let x = k.parameter("x")
    let lane = k.special(.lane)
    let half = k.register(.bits32)
    k.add(.binary(.shiftRight, .u32, half, .register(lane), .immediate(1)))
    let place = space == .global ? k.address(x, half, scale: 4) : k.sharedAddress(0, half, scale: 4)
    k.add(
      .store(
        MemoryAccess(space: space, type: .b32), from: [.register(lane)], address: Address(place)),
      line: Self.line)
    let memory = EmulatedMemory()
    let address = memory.allocate(bytes: 128)
    expectFault(
      .conflictingWrites, line: Self.line, k, arguments: [("x", .pointer(address))], memory: memory)
  }

  // MARK: Races

  /// Two warps touch the same words; `writesLater` says whether the second writes or reads.
  private func race(_ second: Bool, barrier: Bool, first: Bool = true) -> TreeMaker {
    var k = TreeMaker()
    k.threads = 64
    k.sharedBytes = 128
    let (thread, lane) = (k.special(.threadX), k.special(.lane))
    let place = Address(k.sharedAddress(0, lane, scale: 4))
    let access = MemoryAccess(space: .shared, type: .b32)
    let isFirst = k.isBelow(32, thread)
    // All write, in an order that a barrier makes, so that reads have something.
    k.branch(
      isFirst,
      then: { k in
        k.add(.store(access, from: [.register(lane)], address: place))
      })
    k.add(.barrier(id: .immediate(0), threads: nil))
    func touch(_ k: inout TreeMaker, writes: Bool, line: Int) {
      k.add(
        writes
          ? .store(access, from: [.register(lane)], address: place)
          : .load(access, to: [k.register(.bits32)], address: place), line: line)
    }
    k.branch(isFirst, then: { k in touch(&k, writes: first, line: FaultTests.line) })
    if barrier { k.add(.barrier(id: .immediate(0), threads: nil)) }
    k.branch(
      Guard(isFirst.predicate, is: false),
      then: { k in touch(&k, writes: second, line: FaultTests.line) })
    return k
  }

  @Test func racesBetweenWarps() throws {
    for (first, second) in [(true, true), (true, false), (false, true)] {
      expectFault(.race, line: Self.line, race(second, barrier: false, first: first))
      try Emulator().launch(
        race(second, barrier: true, first: first).tree, grid: GridShape(1), arguments: [],
        memory: EmulatedMemory())
    }
    try Emulator().launch(
      race(false, barrier: false, first: false).tree, grid: GridShape(1), arguments: [],
      memory: EmulatedMemory())
  }

  // MARK: Barriers

  @Test func barriersWithTheWrongCount() {
    var k = TreeMaker()
    k.threads = 96
    let isFirst = k.isBelow(32, k.special(.threadX))
    k.branch(
      isFirst, then: { k in k.add(.barrier(id: .immediate(1), threads: 64)) },
      otherwise: { k in k.add(.barrier(id: .immediate(1), threads: 96), line: Self.line) })
    expectFault(.barrierMismatch, line: Self.line, k)
  }

  @Test func barriersThatOthersNeverReach() {
    var k = TreeMaker()
    k.threads = 64
    let isFirst = k.isBelow(32, k.special(.threadX))
    k.exit(if: Guard(isFirst.predicate, is: false))
    k.add(.barrier(id: .immediate(0), threads: nil), line: Self.line)
    expectFault(.barrierMismatch, line: Self.line, k)

    var different = TreeMaker()
    different.threads = 64
    let first = different.isBelow(32, different.special(.threadX))
    different.branch(
      first,
      then: { k in k.add(.barrier(id: .immediate(1), threads: 64), line: Self.line) },
      otherwise: { k in k.add(.barrier(id: .immediate(2), threads: 64)) })
    expectFault(.barrierMismatch, line: Self.line, different)
  }

  @Test func collectivesOfDivergentWarps() {
    let instructions: [(inout TreeMaker) -> Instruction] = [
      { _ in .barrier(id: .immediate(0), threads: nil) },
      { k in .loadMatrix([k.register(.bits32)], Address(k.value(1024)), transposed: false) },
      { k in .storeMatrix([k.value(0)], Address(k.value(1024)), transposed: false) },
      { _ in .clusterArrive(relaxed: false) }, { _ in .wgmmaFence },
      { _ in .setMaximumRegisters(40, increasing: false) },
    ]
    for make in instructions {
      var k = TreeMaker()
      k.threads = 128
      k.sharedBytes = 1024
      let condition = k.isBelow(16, k.special(.lane))
      k.branch(condition, then: { k in k.add(make(&k), line: Self.line) })
      expectFault(.divergentCollective, line: Self.line, k)
    }
  }

  @Test func warpgroupsThatLackAWarp() {
    for instruction in [Instruction.wgmmaFence, .setMaximumRegisters(40, increasing: false)] {
      var k = TreeMaker()
      k.threads = 128
      k.branch(
        k.isBelow(96, k.special(.threadX)), then: { k in k.add(instruction, line: Self.line) })
      expectFault(.divergentCollective, line: Self.line, k)
    }
  }

  @Test func lanesThatTakeNoPart() {
    var k = TreeMaker()
    let lane = k.special(.lane)
    k.branch(
      k.isBelow(16, lane),
      then: { k in
        k.add(
          .shuffle(
            .butterfly, k.register(.bits32), valid: nil, .register(lane), lane: .immediate(1),
            clamp: .immediate(31), mask: .immediate(0xFFFF_FFFF)), line: Self.line)
      })
    expectFault(.inactiveLane, line: Self.line, k)

    var reading = TreeMaker()
    let value = reading.special(.lane)
    reading.branch(
      reading.isBelow(16, value),
      then: { k in
        k.add(
          .shuffle(
            .index, k.register(.bits32), valid: nil, .register(value), lane: .immediate(20),
            clamp: .immediate(31), mask: .immediate(0xFFFF)), line: Self.line)
      })
    expectFault(.inactiveLane, line: Self.line, reading)

    for make: (Register) -> Instruction in [
      { .ballot(Register(kind: .bits32, index: 0), $0, mask: .immediate(1)) },
      { .vote(.any, $0, $0, mask: .immediate(1)) }, { .elect($0, mask: .immediate(1)) },
      { _ in .synchronizeWarp(mask: .immediate(1)) },
      { _ in
        .reduceWarp(
          .add, .u32, Register(kind: .bits32, index: 0), .immediate(1), mask: .immediate(1))
      },
    ] {
      var k = TreeMaker()
      _ = k.special(.lane)
      let predicate = k.isBelow(3, k.special(.lane)).predicate
      k.add(make(predicate), line: Self.line)
      expectFault(.inactiveLane, line: Self.line, k)
    }
  }

  // MARK: Others

  @Test func runsForever() {
    var k = TreeMaker()
    let x = k.value(0)
    k.loop(line: Self.line) { k in
      k.add(.binary(.add, .u32, x, .register(x), .immediate(1)), line: Self.line)
    }
    var options = Emulator.Options()
    options.instructionLimit = 10_000
    expectFault(.instructionLimit, line: Self.line, k, options: options)
  }

  @Test func traps() {
    var k = TreeMaker()
    k.add(.trap, if: k.isBelow(3, k.special(.lane)), line: Self.line)
    expectFault(.trap, line: Self.line, k)
  }

  @Test func asksForWhatPTXLacks() {
    var k = TreeMaker()
    let x = k.value(0)
    k.add(.binary(.minimumNaN, .u32, x, .register(x), .register(x)), line: Self.line)
    expectFault(.malformed, line: Self.line, k)
  }

  @Test func launchesThatDoNotFit() {
    var k = TreeMaker()
    _ = k.parameter("x")
    _ = k.parameter("n", .uint32)
    func expect(
      _ arguments: [(name: String, value: KernelArgument)], grid: GridShape = GridShape(1),
      says: String
    ) {
      do throws(EmulatorError) {
        try Emulator().launch(k.tree, grid: grid, arguments: arguments, memory: EmulatedMemory())
        Issue.record("no error")
      } catch {
        #expect(error.kind == .launch)
        #expect(error.description.contains(says), "\(error)")
      }
    }
    expect([("x", .pointer(0))], says: "0 arguments for its parameter n")
    expect([("x", .pointer(0)), ("n", .float(1))], says: "of kind float for its parameter n")
    expect([("x", .pointer(0)), ("n", .uint32(1)), ("m", .uint32(1))], says: "for m")
    expect([("x", .pointer(0)), ("n", .uint32(1))], grid: GridShape(0), says: "0 x 1 x 1")
  }

  @Test func errorsNameEverything() {
    var k = TreeMaker()
    k.threads = 96
    let thread = k.special(.threadX)
    let predicate = k.register(.predicate)
    k.add(.compare(.equal, .u32, predicate, .register(thread), .immediate(69)))
    k.add(.trap, if: Guard(predicate), file: "Module/File.swift", line: 12)
    do throws(EmulatorError) {
      try Emulator().launch(k.tree, grid: GridShape(2), arguments: [], memory: EmulatedMemory())
      Issue.record("no error")
    } catch {
      #expect(
        error.description
          == "kernel test, block (0, 0, 0), warp 2, lane 5, executes a trap (Module/File.swift:12)")
    }
  }
}
