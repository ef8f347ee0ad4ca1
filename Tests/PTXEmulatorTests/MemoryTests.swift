// SPDX-License-Identifier: Apache-2.0

import PTX
import PTXEmulator
import Testing

@Suite struct MemoryTests {
  /// Every width and vector length through global and shared memory.
  @Test(arguments: [MemorySpace.shared, .sharedCluster])
  func vectorsKeepTheirBytes(_ space: MemorySpace) throws {
    for (type, count) in [
      (ScalarType.b8, 4), (.b16, 2), (.b16, 4), (.b32, 1), (.f32, 4), (.b64, 2), (.s32, 2),
    ] {
      let size = type.byteCount * count
      var k = TreeMaker()
      k.sharedBytes = 1024
      let (x, y, lane) = (k.parameter("x"), k.parameter("y"), k.special(.lane))
      let registers = k.registers(count, type.registerKind)
      let others = k.registers(count, type.registerKind)
      let global = MemoryAccess(space: .global, type: type, count: count)
      let shared = MemoryAccess(space: space, type: type, count: count)
      let place = Address(k.sharedAddress(0, lane, scale: size))
      k.add(.load(global, to: registers, address: Address(k.address(x, lane, scale: size))))
      k.add(.store(shared, from: registers.map { .register($0) }, address: place))
      k.add(.load(shared, to: others, address: place))
      k.add(
        .store(
          global, from: others.map { .register($0) },
          address: Address(k.address(y, lane, scale: size))))
      let memory = EmulatedMemory()
      let bytes = (0..<32 * size).map { UInt8(truncatingIfNeeded: $0 * 37 + 129) }
      let result = memory.allocate(bytes: bytes.count)
      try Emulator().launch(
        k.tree, grid: GridShape(1),
        arguments: [("x", .pointer(memory.upload(bytes))), ("y", .pointer(result))], memory: memory)
      #expect(try memory.download(UInt8.self, count: bytes.count, from: result) == bytes)
    }
  }

  /// Atomics of 96 threads on one word of global or shared memory.
  @Test(arguments: [MemorySpace.global, .shared])
  func atomics(_ space: MemorySpace) throws {
    func run(
      _ operation: AtomicOperation, _ type: ScalarType, start: UInt32,
      value: (inout TreeMaker, Register) -> Operand
    ) throws -> UInt32 {
      var k = TreeMaker()
      k.threads = 96
      k.sharedBytes = 16
      let (x, out) = (k.parameter("x"), k.parameter("out"))
      let (thread, zero) = (k.special(.threadX), k.value(0))
      let isFirst = k.isBelow(1, thread)
      let word = Address(
        space == .global ? k.address(x, zero, scale: 4) : k.sharedAddress(0, zero, scale: 4))
      let access = MemoryAccess(space: space, type: .b32)
      k.add(.store(access, from: [.immediate(UInt64(start))], address: word), if: isFirst)
      k.add(.barrier(id: .immediate(0), threads: nil))
      let operand = value(&k, thread)
      k.add(
        .atomic(
          operation, type, space, to: k.register(.bits32), address: word, operand, compare: nil))
      k.add(.barrier(id: .immediate(0), threads: nil))
      k.branch(
        isFirst,
        then: { k in
          let result = k.register(.bits32)
          k.add(.load(access, to: [result], address: word))
          k.store(.b32, result, out, zero)
        })
      let memory = EmulatedMemory()
      let result = memory.allocate(bytes: 4)
      var options = Emulator.Options()
      options.schedule = .random(seed: 9)
      try Emulator(options).launch(
        k.tree, grid: GridShape(1),
        arguments: [("x", .pointer(memory.allocate(bytes: 4))), ("out", .pointer(result))],
        memory: memory)
      return try memory.download(UInt32.self, count: 1, from: result)[0]
    }
    let threads = 0..<UInt32(96)
    #expect(try run(.add, .u32, start: 7) { .register($1) } == 7 + threads.reduce(0, +))
    #expect(try run(.maximum, .u32, start: 50) { .register($1) } == 95)
    #expect(try run(.minimum, .s32, start: 50) { .register($1) } == 0)
    #expect(try run(.or, .b32, start: 1 << 31) { .register($1) } == 1 << 31 | 127)
    #expect(try run(.and, .b32, start: 0xFF) { (_, _) in .immediate(0xF0F) } == 0xF)
    let sum = try run(.add, .f32, start: 0) { (_, _) in
      .immediate(UInt64(Float(0.5).bitPattern))
    }
    #expect(Float(bitPattern: sum) == 48)
  }

  /// Block 0 waits for what block 1 stores, which needs both to run at the same time.
  @Test func blocksWaitForEachOther() throws {
    var k = TreeMaker()
    let (flag, out) = (k.parameter("flag"), k.parameter("out"))
    let (block, zero, lane) = (k.special(.blockX), k.value(0), k.special(.lane))
    let word = Address(k.address(flag, zero, scale: 4))
    let one = k.isBelow(1, lane)
    k.branch(
      k.isBelow(1, block),
      then: { k in
        k.loop(line: FaultTests.line) { k in
          let value = k.register(.bits32)
          k.add(
            .load(
              MemoryAccess(space: .global, type: .b32, isVolatile: true), to: [value], address: word
            ),
            line: FaultTests.line)
          let isSet = k.register(.predicate)
          k.add(
            .compare(.notEqual, .u32, isSet, .register(value), .immediate(0)), line: FaultTests.line
          )
          k.leave(if: Guard(isSet), line: FaultTests.line)
        }
        k.store(.u32, lane, out, lane)
      },
      otherwise: { k in
        k.add(
          .atomic(.add, .u32, .global, to: nil, address: word, .immediate(1), compare: nil), if: one
        )
      })
    let memory = EmulatedMemory()
    let result = memory.allocate(bytes: 128)
    let arguments: [(name: String, value: KernelArgument)] = [
      ("flag", .pointer(memory.upload([UInt32(0)]))), ("out", .pointer(result)),
    ]
    var options = Emulator.Options()
    options.instructionLimit = 10_000
    expectFault(
      .instructionLimit, line: FaultTests.line, k, grid: GridShape(2), arguments: arguments,
      memory: memory, options: options)
    options.residentBlocks = 2
    try Emulator(options).launch(k.tree, grid: GridShape(2), arguments: arguments, memory: memory)
    #expect(try memory.download(UInt32.self, count: 32, from: result) == (0..<32).map { $0 })
  }

  @Test func namesOutOfBoundsDownloads() throws {
    let memory = EmulatedMemory()
    let address = memory.allocate(bytes: 8)
    #expect(throws: EmulatorError.self) {
      try memory.download(UInt8.self, count: 8, from: address)
    }
    try memory.upload([UInt32(1)], to: address)
    #expect(try memory.download(UInt32.self, count: 1, from: address) == [1])
    #expect(
      try memory.writtenBytes(count: 8, from: address)
        == [true, true, true, true, false, false, false, false])
    #expect(throws: EmulatorError.self) {
      try memory.download(UInt8.self, count: 9, from: address)
    }
  }
}
