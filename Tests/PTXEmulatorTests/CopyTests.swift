// SPDX-License-Identifier: Apache-2.0

import PTX
import PTXEmulator
import Testing

extension TreeMaker {
  /// A transaction barrier for one arrival at a shared offset, which all threads know of.
  mutating func transactionBarrier(
    _ offset: Int, count: Int = 1, fenced: Bool = true
  ) -> Address {
    let base = register(.bits32)
    add(.sharedAddress(base, offset: offset))
    let barrier = Address(base)
    branch(
      isBelow(1, special(.threadX)),
      then: { k in
        k.add(.mbarrierInitialize(barrier, count: .immediate(UInt64(count))))
        if fenced { k.add(.fence(.mbarrierInitialization)) }
      })
    add(.barrier(id: .immediate(0), threads: nil))
    return barrier
  }

  mutating func wait(_ barrier: Address, parity: Int, line: Int = #line) {
    loop { k in
      let done = k.register(.predicate)
      k.add(.mbarrierTryWait(done, barrier, parity: .immediate(UInt64(parity))), line: line)
      k.leave(if: Guard(done))
    }
  }

  /// Copies words of shared memory to global memory, with one warp.
  mutating func dump(_ words: Int, to out: Register, at first: Int = 0) {
    let lane = special(.lane)
    for start in stride(from: 0, to: words, by: 32) {
      let inside = isBelow(words - start, lane)
      branch(
        inside,
        then: { k in
          let value = k.register(.bits32)
          let place = k.sharedAddress(start * 4, lane, scale: 4)
          k.add(
            .load(MemoryAccess(space: .shared, type: .b32), to: [value], address: Address(place)))
          let index = k.register(.bits32)
          k.add(
            .binary(.add, .u32, index, .register(lane), .immediate(UInt64(first + start))))
          k.store(.b32, value, out, index)
        })
    }
  }
}

@Suite struct CopyTests {
  private static func options(_ completion: Emulator.Completion) -> Emulator.Options {
    var options = Emulator.Options()
    options.completion = completion
    return options
  }

  /// Boxes of every rank, at places that hang over every edge, in and out again.
  @Test(arguments: 1...5, Emulator.Completion.allCases)
  func copiesBoxes(_ rank: Int, _ completion: Emulator.Completion) throws {
    var random = Random(seed: UInt64(rank))
    for round in 0..<6 {
      let extents = (0..<rank).map { _ in 1 + Int(random.next() % 7) }
      let box = (0..<rank).map { $0 == 0 ? 4 : 1 + Int(random.next() % 3) }
      let coordinates = extents.map { Int(random.next() % UInt64($0 + 5)) - 3 }
      // Rows of at least 16 bytes more than they need, so that strides matter.
      var strides: [Int] = []
      var bytes = (extents[0] * 4 + 31) & ~15
      for extent in extents.dropFirst() {
        strides.append(bytes)
        bytes *= extent
      }
      let memory = EmulatedMemory()
      let source = (0..<bytes / 4).map { UInt32($0 + 1) }
      let (x, y) = (memory.upload(source), memory.upload(source))
      func map(_ base: UInt64) -> KernelArgument {
        .tensorMap(
          TensorMapLayout(
            base: base, element: .uint32, extents: extents, strides: strides, box: box,
            swizzle: .none))
      }
      let count = box.reduce(1, *)
      let adds = round % 2 == 0

      var k = TreeMaker()
      k.sharedBytes = 8192
      let (mapX, mapY) = (k.parameter("x", .tensorMap), k.parameter("y", .tensorMap))
      let out = k.parameter("out")
      let barrier = k.transactionBarrier(8000)
      let base = k.register(.bits32)
      k.add(.sharedAddress(base, offset: 0))
      let at = coordinates.map { Operand.immediate(UInt64(UInt32(bitPattern: Int32($0)))) }
      let one = k.isBelow(1, k.special(.lane))
      k.add(.prefetchTensorMap(mapX))
      k.add(.tensorPrefetch(map: mapX, coordinates: at))
      k.add(
        .mbarrierArriveExpecting(barrier, bytes: .immediate(UInt64(count * 4))), if: one)
      k.add(
        .tensorLoad(
          TensorCopy(map: mapX, coordinates: at, shared: Address(base)), barrier: barrier,
          multicast: nil), if: one)
      k.wait(barrier, parity: 0)
      k.dump(count, to: out)
      k.add(
        .tensorStore(
          TensorCopy(map: mapY, coordinates: at, shared: Address(base)), adding: adds), if: one)
      k.add(.bulkCommit, if: one)
      k.add(.bulkWait(pending: 0, reading: false), if: one)

      let result = memory.allocate(bytes: count * 4)
      try Emulator(Self.options(completion)).launch(
        k.tree, grid: GridShape(1),
        arguments: [("x", map(x)), ("y", map(y)), ("out", .pointer(result))], memory: memory)
      var expected: [UInt32] = []
      var stored = source
      for element in 0..<count {
        var rest = element
        var offset = 0
        var isInside = true
        for dimension in 0..<rank {
          let coordinate = coordinates[dimension] + rest % box[dimension]
          rest /= box[dimension]
          if coordinate < 0 || coordinate >= extents[dimension] { isInside = false }
          offset += coordinate * (dimension == 0 ? 4 : strides[dimension - 1])
        }
        expected.append(isInside ? source[offset / 4] : 0)
        if isInside, adds { stored[offset / 4] *= 2 }
      }
      #expect(try memory.download(UInt32.self, count: count, from: result) == expected)
      #expect(try memory.download(UInt32.self, count: source.count, from: y) == stored)
    }
  }

  /// Chunks of 16 bytes go where the swizzle says.
  @Test(arguments: [Swizzle.bytes32, .bytes64, .bytes128])
  func swizzles(_ swizzle: Swizzle) throws {
    let span = swizzle.rowBytes!
    let rows = 16
    var k = TreeMaker()
    k.sharedBytes = 4096
    let (map, out) = (k.parameter("x", .tensorMap), k.parameter("out"))
    let barrier = k.transactionBarrier(4000)
    let base = k.register(.bits32)
    k.add(.sharedAddress(base, offset: 0))
    let one = k.isBelow(1, k.special(.lane))
    k.add(.mbarrierArriveExpecting(barrier, bytes: .immediate(UInt64(rows * span))), if: one)
    k.add(
      .tensorLoad(
        TensorCopy(map: map, coordinates: [.immediate(0), .immediate(0)], shared: Address(base)),
        barrier: barrier, multicast: nil), if: one)
    k.wait(barrier, parity: 0)
    k.dump(rows * span / 4, to: out)
    let memory = EmulatedMemory()
    let bytes = (0..<rows * span).map { UInt8(truncatingIfNeeded: $0 &* 31 ^ $0 >> 8) }
    let result = memory.allocate(bytes: rows * span)
    try Emulator().launch(
      k.tree, grid: GridShape(1),
      arguments: [
        (
          "x",
          .tensorMap(
            TensorMapLayout(
              base: memory.upload(bytes), element: .uint8, extents: [span, rows], strides: [span],
              box: [span, rows], swizzle: swizzle))
        ), ("out", .pointer(result)),
      ], memory: memory)
    let copied = try memory.download(UInt8.self, count: rows * span, from: result)
    for row in 0..<rows {
      for column in 0..<span {
        // Of eight lines of 128 bytes, line i exchanges chunks by its number, cut to the span.
        let line = (row * span / 128) % 8
        let turn = line & (span / 16 - 1)
        let chunk = (column / 16) ^ turn
        #expect(copied[row * span + chunk * 16 + column % 16] == bytes[row * span + column])
      }
    }
  }

  /// Contiguous copies in and out, plain and adding FP32.
  @Test(arguments: Emulator.Completion.allCases)
  func copiesBytes(_ completion: Emulator.Completion) throws {
    var k = TreeMaker()
    k.sharedBytes = 1024
    let (x, y, z) = (k.parameter("x"), k.parameter("y"), k.parameter("z"))
    let barrier = k.transactionBarrier(512)
    let base = k.register(.bits32)
    k.add(.sharedAddress(base, offset: 0))
    let one = k.isBelow(1, k.special(.lane))
    k.add(.mbarrierExpect(barrier, bytes: .immediate(256)), if: one)
    k.add(
      .bulkLoad(shared: Address(base), global: x, bytes: .immediate(256), barrier: barrier), if: one
    )
    k.add(.mbarrierArrive(barrier), if: one)
    k.wait(barrier, parity: 0)
    for (target, adding) in [(y, nil), (z, ScalarType.f32)] {
      k.add(
        .bulkStore(global: target, shared: Address(base), bytes: .immediate(256), adding: adding),
        if: one)
      k.add(.bulkCommit, if: one)
    }
    k.add(.bulkWait(pending: 1, reading: true), if: one)
    k.add(.bulkWait(pending: 0, reading: false), if: one)
    let memory = EmulatedMemory()
    let values = (0..<64).map { Float($0) }
    let (first, second) = (memory.allocate(bytes: 256), memory.upload(values))
    try Emulator(Self.options(completion)).launch(
      k.tree, grid: GridShape(1),
      arguments: [
        ("x", .pointer(memory.upload(values))), ("y", .pointer(first)), ("z", .pointer(second)),
      ], memory: memory)
    #expect(try memory.download(Float.self, count: 64, from: first) == values)
    #expect(try memory.download(Float.self, count: 64, from: second) == values.map { $0 * 2 })
  }

  // MARK: Clusters

  /// Block 0 sends a box to both blocks, twice, and waits for both to have read the first.
  private func cluster(_ fault: ClusterFault? = nil) -> TreeMaker {
    func line(_ at: ClusterFault, _ line: Int = #line) -> Int {
      fault == at ? FaultTests.line : line
    }
    var k = TreeMaker()
    k.sharedBytes = 1024
    k.clusterBlocks = 2
    let (map, out) = (k.parameter("x", .tensorMap), k.parameter("out"))
    let full = k.transactionBarrier(512)
    let empty = k.transactionBarrier(520, count: 2, fenced: fault != .noFence)
    if fault != .noClusterBarrier {
      k.add(.clusterArrive(relaxed: true))
      k.add(.clusterWait)
    }
    let (rank, block, lane) = (k.special(.blockInCluster), k.special(.blockX), k.special(.lane))
    let base = k.register(.bits32)
    k.add(.sharedAddress(base, offset: 0))
    let one = k.isBelow(1, lane)
    let isFirst = k.isBelow(1, rank)
    let mask = k.register(.bits16)
    k.add(.move(mask, .immediate(fault == .wrongMask ? 4 : 3)))
    let remote = k.register(.bits32)
    k.add(.mapToCluster(remote, .register(empty.base), block: .immediate(0)))
    for turn in 0..<2 {
      k.add(.mbarrierArriveExpecting(full, bytes: .immediate(256)), if: one)
      k.branch(
        isFirst,
        then: { k in
          if turn > 0, fault != .noWait { k.wait(empty, parity: turn - 1) }
          k.add(
            .tensorLoad(
              TensorCopy(
                map: map, coordinates: [.immediate(UInt64(turn * 64))], shared: Address(base)),
              barrier: full, multicast: .register(mask)), if: one, line: line(fault ?? .noWait))
        })
      k.wait(full, parity: turn)
      let index = k.register(.bits32)
      k.add(
        .ternary(
          .multiplyAdd, .u32, index, .register(block), .immediate(512),
          .immediate(UInt64(turn * 256))))
      let target = k.address(out, index, scale: 1)
      k.dump(64, to: target)
      k.add(.mbarrierArriveRemote(Address(remote)), if: one, line: line(fault ?? .noFence))
    }
    if fault != .noLastWait {
      // The last lap, so that nobody arrives at a block that has ended.
      k.branch(isFirst, then: { k in k.wait(empty, parity: 1) })
    }
    return k
  }

  enum ClusterFault: CaseIterable { case noClusterBarrier, noFence, noWait, wrongMask, noLastWait }

  private func run(_ k: TreeMaker, _ options: Emulator.Options) throws -> ([UInt32], [UInt32]) {
    let memory = EmulatedMemory()
    let values = (0..<128).map { UInt32($0 * 3) }
    let result = memory.allocate(bytes: 2048)
    try Emulator(options).launch(
      k.tree, grid: GridShape(4),
      arguments: [
        (
          "x",
          .tensorMap(
            TensorMapLayout(
              base: memory.upload(values), element: .uint32, extents: [128], strides: [],
              box: [64], swizzle: .none))
        ), ("out", .pointer(result)),
      ], memory: memory)
    return (values, try memory.download(UInt32.self, count: 512, from: result))
  }

  @Test(arguments: Emulator.Completion.allCases, 0..<4)
  func sendsToAWholeCluster(_ completion: Emulator.Completion, _ seed: Int) throws {
    var options = Self.options(completion)
    if seed > 0 { options.schedule = .random(seed: UInt64(seed)) }
    let (values, result) = try run(cluster(), options)
    #expect(result == values + values + values + values)
  }

  @Test(arguments: ClusterFault.allCases, Emulator.Completion.allCases)
  func faultsOfClusters(_ fault: ClusterFault, _ completion: Emulator.Completion) {
    let kinds: [EmulatorError.Kind] =
      switch fault {
      // Who comes first decides whether the barrier is not there yet or not known yet.
      case .noClusterBarrier: [.notABarrier, .race]
      case .noFence: [.race]
      // The second box meets what still reads or waits for the first, wherever that is.
      case .noWait: [.race, .inFlight, .transactionCount]
      case .wrongMask: [.outOfBounds]
      case .noLastWait: [.outOfBounds]
      }
    do {
      _ = try run(cluster(fault), Self.options(completion))
      Issue.record("no fault for \(fault)")
    } catch let error as EmulatorError {
      #expect(kinds.contains(error.kind), "\(error)")
      #expect(error.line?.line == FaultTests.line || fault == .noWait, "\(error)")
    } catch {
      Issue.record("another error")
    }
  }
}
