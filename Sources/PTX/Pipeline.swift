// SPDX-License-Identifier: Apache-2.0

/// Sets the parts of a pipeline's slot aside, one after the other.
package struct SlotMemory {
  let address: Value<UInt32>
  private(set) var byteCount = 0

  init(address: Value<UInt32>) { self.address = address }

  /// Memory for a tile.
  package mutating func tile<Element>(_ layout: TileLayout<Element>) -> SharedTile<Element> {
    let start = byteCount.rounded(upTo: layout.alignment)
    byteCount = start + layout.byteCount
    return SharedTile(layout: layout, address: address, offset: start)
  }
}

/// A ring of slots in shared memory between one thread that fills them by bulk copies and
/// warpgroups that read them.
///
/// Each slot has two barriers. *Full* completes when the announced bytes have arrived; *empty* when
/// every warp that reads the slot has released it, in all blocks of the cluster, for copies that a
/// cluster shares write the memory of each of its blocks.
package struct Pipeline<Slot> {
  let builder: KernelBuilder
  let cluster: Cluster
  let stages: Int
  let slotBytes: Int
  private let slots: Value<UInt32>
  private let barriers: Value<UInt32>
  private let makeSlot: (inout SlotMemory) -> Slot

  fileprivate init(
    _ k: KernelBuilder, stages: Int, consumerWarps: Int, cluster: Cluster,
    slot makeSlot: @escaping (inout SlotMemory) -> Slot
  ) {
    k.require(.mbarrier)
    var measured = SlotMemory(address: Value(0))
    _ = makeSlot(&measured)
    builder = k
    self.cluster = cluster
    self.stages = stages
    self.makeSlot = makeSlot
    slotBytes = measured.byteCount.rounded(upTo: 1024)
    slots = k.shared(UInt8.self, count: stages * slotBytes, alignment: 1024).address
    barriers = k.shared(UInt64.self, count: 2 * stages).address
    k.when(k.thread .== 0) {
      for stage in 0..<stages {
        TransactionBarrier(address: barriers, offset: 8 * stage).initialize(arrivals: 1)
        TransactionBarrier(address: barriers, offset: 8 * (stages + stage))
          .initialize(arrivals: consumerWarps * cluster.blocks)
      }
      k.fence(.mbarrierInitialization)
      k.fence(.proxyAsyncShared)
    }
  }

  // MARK: Both ends

  /// Runs a body with a cursor that fills one slot after the other; one thread calls it.
  ///
  /// In the end it waits until every slot is empty, so that no block of the cluster arrives at the
  /// barriers of one that has ended.
  package func produce(_ body: (PipelineProducer<Slot>) -> Void) {
    // The first lap finds no phase completed: the one before the first counts as such.
    let producer = PipelineProducer(ring: self, cursor: cursor(parity: 1))
    body(producer)
    if cluster.blocks > 1 {
      for _ in 0..<stages {
        empty(producer.cursor).wait(parity: producer.cursor.parity.value)
        producer.cursor.advance()
      }
    }
  }

  /// Runs a body with a cursor that reads one slot after the other; whole warps call it.
  package func consume(_ body: (PipelineConsumer<Slot>) -> Void) {
    let k = builder
    let lane = k.lane
    // Lane i of each warp tells block i of the cluster.
    let remote: Value<UInt32>?
    if cluster.blocks > 1 {
      let address = k.register(.bits32)
      let block = minimum(lane, Value(cluster.blocks - 1))
      k.append(.mapToCluster(address, barriers.operand, block: block.operand))
      remote = Value(address, k)
    } else {
      remote = nil
    }
    body(
      PipelineConsumer(
        ring: self, cursor: cursor(parity: 0), releases: lane .< cluster.blocks, remote: remote))
  }

  private func cursor(parity: Int) -> PipelineCursor {
    PipelineCursor(
      stage: builder.variable(Value<UInt32>(0)), parity: builder.variable(Value<UInt32>(parity)),
      stages: stages)
  }

  fileprivate func slot(_ cursor: PipelineCursor) -> Slot {
    var memory = SlotMemory(
      address: cursor.stage.value.multiplied(by: Value(slotBytes), adding: slots))
    return makeSlot(&memory)
  }

  fileprivate func full(_ cursor: PipelineCursor) -> TransactionBarrier {
    TransactionBarrier(
      address: cursor.stage.value.multiplied(by: Value(8), adding: barriers), offset: 0)
  }

  fileprivate func empty(_ cursor: PipelineCursor, of blocks: Value<UInt32>? = nil)
    -> TransactionBarrier
  {
    TransactionBarrier(
      address: cursor.stage.value.multiplied(by: Value(8), adding: blocks ?? barriers),
      offset: 8 * stages)
  }
}

/// The slot that is next and the parity of its phase.
struct PipelineCursor {
  let stage: Variable<UInt32>
  let parity: Variable<UInt32>
  let stages: Int

  func advance() {
    stage.value = stage.value + 1
    let wraps = stage.value .== stages
    stage.set(Value(0), if: wraps)
    parity.set(parity.value ^ 1, if: wraps)
  }
}

/// The filling end of a pipeline.
package struct PipelineProducer<Slot> {
  fileprivate let ring: Pipeline<Slot>
  fileprivate let cursor: PipelineCursor

  /// Waits until the next slot is empty and starts the copies of a body into it.
  ///
  /// The full barrier learns the sum of their bytes before the first copy starts.
  package func fill(
    file: String = #fileID, line: Int = #line, _ body: (Slot, Transaction) -> Void
  ) {
    let k = ring.builder
    k.at(file, line)
    ring.empty(cursor).wait(parity: cursor.parity.value)
    let transaction = Transaction(barrier: ring.full(cursor))
    let copies = k.collected { body(ring.slot(cursor), transaction) }
    precondition(transaction.byteCount > 0, "a slot is filled by copies")
    k.at(file, line)
    transaction.barrier.arrive(expecting: transaction.byteCount)
    for statement in copies { k.append(statement) }
    cursor.advance()
  }
}

/// The reading end of a pipeline.
package struct PipelineConsumer<Slot> {
  fileprivate let ring: Pipeline<Slot>
  fileprivate let cursor: PipelineCursor
  /// Lanes that release.
  fileprivate let releases: Value<Bool>
  /// The barriers of the block that the lane tells.
  fileprivate let remote: Value<UInt32>?

  /// Waits until the next slot is full; the body reads it and releases it once.
  package func next(
    file: String = #fileID, line: Int = #line, _ body: (Slot, SlotRelease) -> Void
  ) {
    let k = ring.builder
    k.at(file, line)
    ring.full(cursor).wait(parity: cursor.parity.value)
    let release = SlotRelease { releaseFile, releaseLine in
      k.at(releaseFile, releaseLine)
      // What the lanes read is in registers before the copies that follow may overwrite it.
      k.append(.synchronizeWarp(mask: .immediate(0xFFFF_FFFF)))
      if let remote {
        k.append(.mbarrierArriveRemote(ring.empty(cursor, of: remote).place), if: releases)
      } else {
        ring.empty(cursor).arrive(if: releases)
      }
    }
    body(ring.slot(cursor), release)
    precondition(release.isDone, "a slot that is read is released")
    cursor.advance()
  }
}

/// Gives a slot back.
package final class SlotRelease {
  private let action: (String, Int) -> Void
  fileprivate private(set) var isDone = false

  fileprivate init(_ action: @escaping (String, Int) -> Void) { self.action = action }

  /// Gives the slot back to the thread that fills it; the warp does not read it any more.
  package func callAsFunction(file: String = #fileID, line: Int = #line) {
    precondition(!isDone, "a slot is released once")
    isDone = true
    action(file, line)
  }
}

extension KernelBuilder {
  /// Makes a ring of slots; all threads of the block call it, and a barrier of the cluster follows
  /// before the first use.
  ///
  /// - Parameters:
  ///   - consumers: Warpgroups that read each slot.
  ///   - slot: Sets the parts of a slot aside.
  package func pipeline<Slot>(
    stages: Int, consumers: Int, cluster: Cluster,
    slot: @escaping (inout SlotMemory) -> Slot
  ) -> Pipeline<Slot> {
    Pipeline(self, stages: stages, consumerWarps: 4 * consumers, cluster: cluster, slot: slot)
  }
}

extension Int {
  /// Quotient, rounded up.
  package func dividedUp(by divisor: Int) -> Int { (self + divisor - 1) / divisor }

  /// The next multiple.
  package func rounded(upTo multiple: Int) -> Int { (self + multiple - 1) / multiple * multiple }
}
