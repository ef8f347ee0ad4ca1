// SPDX-License-Identifier: Apache-2.0

import PTX
import PTXEmulator
import Testing

@Suite struct EmulatorTests {
  @Test func addsVectorsWithATail() throws {
    var k = TreeMaker()
    k.threads = 96
    let (x, y, z) = (k.parameter("x"), k.parameter("y"), k.parameter("z"))
    let count = k.parameter("count", .uint32)
    let index = k.register(.bits32)
    let (block, thread) = (k.special(.blockX), k.special(.threadX))
    k.add(
      .ternary(
        .multiplyAdd, .u32, index, .register(block), .immediate(96), .register(thread)))
    let outside = k.register(.predicate)
    k.add(.compare(.greaterOrEqual, .u32, outside, .register(index), .register(count)))
    k.exit(if: Guard(outside))
    let a = k.load(.f32, x, index)
    let b = k.load(.f32, y, index)
    let sum = k.register(.bits32)
    k.add(.binary(.add, .f32, sum, .register(a), .register(b)))
    k.store(.f32, sum, z, index)

    let memory = EmulatedMemory()
    let values = (0..<1000).map { Float($0) * 0.25 }
    let others = (0..<1000).map { Float($0 * $0) }
    let result = memory.allocate(bytes: 4000)
    let report = try Emulator().launch(
      k.tree, grid: GridShape(11),
      arguments: [
        ("count", .uint32(1000)), ("x", .pointer(memory.upload(values))),
        ("y", .pointer(memory.upload(others))), ("z", .pointer(result)),
      ], memory: memory)
    let sums = try memory.download(Float.self, count: 1000, from: result)
    #expect(sums == zip(values, others).map(+))
    #expect(report.warpInstructions > 11 * 3 * 8)
  }

  /// Collatz steps: each lane loops as often as it must, with a branch inside.
  @Test func loopsUntilEveryLaneHasLeft() throws {
    var k = TreeMaker()
    let out = k.parameter("out")
    let lane = k.special(.lane)
    let (n, steps, rest) = (k.register(.bits32), k.value(0), k.register(.bits32))
    k.add(.binary(.add, .u32, n, .register(lane), .immediate(1)))
    k.loop { k in
      let done = k.register(.predicate)
      k.add(.compare(.equal, .u32, done, .register(n), .immediate(1)))
      k.leave(if: Guard(done))
      k.add(.binary(.add, .u32, steps, .register(steps), .immediate(1)))
      k.add(.binary(.and, .b32, rest, .register(n), .immediate(1)))
      let odd = k.register(.predicate)
      k.add(.compare(.notEqual, .u32, odd, .register(rest), .immediate(0)))
      k.branch(
        Guard(odd),
        then: { k in
          k.add(.ternary(.multiplyAdd, .u32, n, .register(n), .immediate(3), .immediate(1)))
        },
        otherwise: { k in
          k.add(.binary(.shiftRight, .u32, n, .register(n), .immediate(1)))
          // Leaves from within a branch.
          let one = k.isBelow(2, n)
          k.leave(if: one)
        })
    }
    k.store(.u32, steps, out, lane)

    let memory = EmulatedMemory()
    let result = memory.allocate(bytes: 128)
    try Emulator().launch(
      k.tree, grid: GridShape(1), arguments: [("out", .pointer(result))], memory: memory)
    let expected = (1...32).map { start in
      var (n, steps) = (start, UInt32(0))
      while n != 1 { (n, steps) = (n % 2 == 1 ? 3 * n + 1 : n / 2, steps + 1) }
      return steps
    }
    #expect(try memory.download(UInt32.self, count: 32, from: result) == expected)
  }

  /// Reverses 128 values through shared memory.
  @Test(arguments: [Emulator.Schedule.roundRobin, .random(seed: 1), .random(seed: 2)])
  func exchangesThroughSharedMemory(_ schedule: Emulator.Schedule) throws {
    var k = TreeMaker()
    k.threads = 128
    k.sharedBytes = 512
    let (x, y) = (k.parameter("x"), k.parameter("y"))
    let thread = k.special(.threadX)
    let value = k.load(.f32, x, thread)
    let mine = k.sharedAddress(0, thread, scale: 4)
    let access = MemoryAccess(space: .shared, type: .f32)
    k.add(.store(access, from: [.register(value)], address: Address(mine)))
    k.add(.barrier(id: .immediate(0), threads: nil))
    let other = k.register(.bits32)
    k.add(.binary(.subtract, .u32, other, .immediate(127), .register(thread)))
    let theirs = k.sharedAddress(0, other, scale: 4)
    let loaded = k.register(.bits32)
    k.add(.load(access, to: [loaded], address: Address(theirs)))
    k.store(.f32, loaded, y, thread)

    let memory = EmulatedMemory()
    let values = (0..<128).map { Float($0) }
    let result = memory.allocate(bytes: 512)
    var options = Emulator.Options()
    options.schedule = schedule
    try Emulator(options).launch(
      k.tree, grid: GridShape(1),
      arguments: [("x", .pointer(memory.upload(values))), ("y", .pointer(result))], memory: memory)
    #expect(try memory.download(Float.self, count: 128, from: result) == values.reversed())
  }

  /// 256 blocks of ten fused multiply-adds in a loop of 1000: the rate is printed.
  @Test func runsFastEnough() throws {
    var k = TreeMaker()
    k.threads = 256
    let out = k.parameter("out")
    let thread = k.special(.threadX)
    let (x, index) = (k.value(0), k.value(0))
    k.loop { k in
      for _ in 0..<10 {
        k.add(
          .ternary(
            .multiplyAdd, .f32, x, .register(x), .immediate(0x3F00_0000),
            .immediate(0x3F80_0000)))
      }
      k.add(.binary(.add, .u32, index, .register(index), .immediate(1)))
      let below = k.isBelow(1000, index)
      k.leave(if: Guard(below.predicate, is: false))
    }
    k.store(.f32, x, out, thread)
    let memory = EmulatedMemory()
    let result = memory.allocate(bytes: 1024)
    var report = Emulator.Report()
    let time = try ContinuousClock().measure {
      report = try Emulator().launch(
        k.tree, grid: GridShape(16), arguments: [("out", .pointer(result))], memory: memory)
    }
    let rate = Double(report.warpInstructions) * 32 / (time / .seconds(1))
    print("emulator: \(Int(rate / 1e6)) million lane-instructions a second")
    #expect(
      try memory.download(Float.self, count: 256, from: result)
        == Array(repeating: 2, count: 256))
  }
}
