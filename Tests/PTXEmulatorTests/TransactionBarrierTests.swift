// SPDX-License-Identifier: Apache-2.0

import PTX
import PTXEmulator
import Testing

@Suite struct TransactionBarrierTests {
  /// One warp passes values to three others through a ring of two slots, many times around.
  @Test(arguments: 0..<6)
  func passesValuesThroughARing(_ seed: Int) throws {
    var k = TreeMaker()
    k.threads = 128
    k.sharedBytes = 1024
    let out = k.parameter("out")
    let full = k.transactionBarrier(512, count: 32)
    _ = k.transactionBarrier(520, count: 32)
    let empty = k.transactionBarrier(528, count: 96)
    _ = k.transactionBarrier(536, count: 96)
    let (thread, lane) = (k.special(.threadX), k.special(.lane))
    let access = MemoryAccess(space: .shared, type: .b32)
    let rounds = 9
    k.branch(
      k.isBelow(32, thread),
      then: { k in
        for round in 0..<rounds {
          let slot = round % 2
          k.wait(
            Address(empty.base, offset: slot * 8), parity: (round / 2 & 1) ^ 1)
          let value = k.register(.bits32)
          k.add(.binary(.add, .u32, value, .register(lane), .immediate(UInt64(round * 100))))
          let place = k.sharedAddress(slot * 128, lane, scale: 4)
          k.add(.store(access, from: [.register(value)], address: Address(place)))
          k.add(.mbarrierArrive(Address(full.base, offset: slot * 8)))
        }
      },
      otherwise: { k in
        for round in 0..<rounds {
          let slot = round % 2
          k.wait(Address(full.base, offset: slot * 8), parity: round / 2 & 1)
          let other = k.register(.bits32)
          k.add(.binary(.xor, .b32, other, .register(lane), .immediate(31)))
          let value = k.register(.bits32)
          let place = k.sharedAddress(slot * 128, other, scale: 4)
          k.add(.load(access, to: [value], address: Address(place)))
          k.add(.mbarrierArrive(Address(empty.base, offset: slot * 8)))
          let index = k.register(.bits32)
          k.add(
            .ternary(
              .multiplyAdd, .u32, index, .register(thread), .immediate(UInt64(rounds)),
              .immediate(UInt64(round))))
          k.store(.u32, value, out, index)
        }
      })
    let memory = EmulatedMemory()
    let result = memory.allocate(bytes: 128 * rounds * 4)
    var options = Emulator.Options()
    if seed > 0 { options.schedule = .random(seed: UInt64(seed)) }
    try Emulator(options).launch(
      k.tree, grid: GridShape(1), arguments: [("out", .pointer(result))], memory: memory)
    let values = try memory.download(
      UInt32.self, count: 96 * rounds, from: result + UInt64(32 * rounds * 4))
    for thread in 0..<96 {
      for round in 0..<rounds {
        #expect(values[thread * rounds + round] == UInt32(round * 100 + 31 - thread % 32))
      }
    }
  }

  // MARK: Faults

  private static let line = FaultTests.line

  /// One thread uses a barrier for one arrival at shared byte 512.
  private func expect(
    _ kind: EmulatorError.Kind, count: Int = 1, _ body: (inout TreeMaker, Address, Guard) -> Void,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    for completion in Emulator.Completion.allCases {
      var k = TreeMaker()
      k.sharedBytes = 1024
      let x = k.parameter("x")
      _ = x
      let barrier = k.transactionBarrier(512, count: count)
      body(&k, barrier, k.isBelow(1, k.special(.lane)))
      let memory = EmulatedMemory()
      var options = Emulator.Options()
      options.completion = completion
      expectFault(
        kind, line: Self.line, k,
        arguments: [("x", .pointer(memory.upload([UInt32](repeating: 1, count: 64))))],
        memory: memory, options: options, sourceLocation: sourceLocation)
    }
  }

  @Test func waitsTwiceForOnePhase() {
    expect(.phaseWaitedTwice) { k, barrier, one in
      k.add(.mbarrierArrive(barrier), if: one)
      k.wait(barrier, parity: 0)
      k.wait(barrier, parity: 0, line: Self.line)
    }
  }

  @Test func arrivesTooOften() {
    expect(.arrivalOverflow) { k, barrier, one in
      k.add(.mbarrierArriveExpecting(barrier, bytes: .immediate(64)), if: one)
      k.add(.mbarrierArrive(barrier), if: one, line: Self.line)
    }
  }

  @Test func bringsMoreBytesThanAnnounced() {
    expect(.transactionCount) { k, barrier, one in
      k.add(.mbarrierArriveExpecting(barrier, bytes: .immediate(64)), if: one)
      let shared = k.sharedAddress(0, k.value(0), scale: 1)
      k.add(
        .bulkLoad(
          shared: Address(shared), global: Register(kind: .bits64, index: 0),
          bytes: .immediate(128), barrier: barrier), if: one, line: Self.line)
      k.wait(barrier, parity: 0)
    }
  }

  @Test func waitsForBytesThatNeverCome() {
    expect(.transactionCount) { k, barrier, one in
      k.add(.mbarrierArriveExpecting(barrier, bytes: .immediate(64)), if: one)
      k.wait(barrier, parity: 0, line: Self.line)
    }
  }

  @Test func waitsForArrivalsThatNeverCome() {
    expect(.deadlock, count: 2) { k, barrier, one in
      k.add(.mbarrierArrive(barrier), if: one)
      k.wait(barrier, parity: 0, line: Self.line)
    }
  }

  @Test func usesOtherBytesAsABarrier() {
    expect(.notABarrier) { k, barrier, one in
      k.add(.mbarrierArrive(Address(barrier.base, offset: 8)), if: one, line: Self.line)
    }
    expect(.notABarrier) { k, barrier, one in
      k.add(.mbarrierInvalidate(barrier), if: one)
      k.add(.mbarrierArrive(barrier), if: one, line: Self.line)
    }
    expect(.notABarrier) { k, barrier, one in
      k.add(
        .store(MemoryAccess(space: .shared, type: .b32), from: [.immediate(0)], address: barrier),
        if: one, line: Self.line)
    }
    expect(.misaligned) { k, barrier, one in
      k.add(.mbarrierArrive(Address(barrier.base, offset: 4)), if: one, line: Self.line)
    }
  }

  @Test func usesABarrierBeforeItsInitialisationIsKnown() {
    var k = TreeMaker()
    k.threads = 64
    k.sharedBytes = 16
    let barrier = Address(k.sharedAddress(0, k.value(0), scale: 1))
    let thread = k.special(.threadX)
    k.branch(
      k.isBelow(1, thread),
      then: { k in k.add(.mbarrierInitialize(barrier, count: .immediate(64))) })
    k.add(
      .mbarrierArrive(barrier),
      if: Guard(k.isBelow(32, thread).predicate, is: false), line: Self.line)
    expectFault(.race, line: Self.line, k)
  }

  // MARK: Registers

  /// Two warpgroups of a pool of 168 registers a thread.
  private func reallocate(_ low: Int, _ high: Int) -> TreeMaker {
    var k = TreeMaker()
    k.threads = 256
    k.maximumRegisters = 168
    k.branch(
      k.isBelow(128, k.special(.threadX)),
      then: { k in k.add(.setMaximumRegisters(high, increasing: true), line: Self.line) },
      otherwise: { k in
        k.add(.setMaximumRegisters(low, increasing: false), line: high < 168 ? 1 : #line)
      })
    return k
  }

  @Test func movesRegistersBetweenWarpgroups() throws {
    try Emulator().launch(
      reallocate(96, 240).tree, grid: GridShape(1), arguments: [], memory: EmulatedMemory())
    // 168 + 168 are less than 248 + 96.
    expectFault(.deadlock, line: Self.line, reallocate(96, 248))
    expectFault(.registerPool, line: Self.line, reallocate(96, 160))
  }
}
