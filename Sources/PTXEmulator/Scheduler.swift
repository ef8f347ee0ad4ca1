// SPDX-License-Identifier: Apache-2.0

import PTX

/// Lets the warps of a launch execute in turn.
struct Scheduler {
  private let launch: Launch
  private var clusters: [Cluster] = []
  private var nextCluster = 0
  private let clusterCount: Int
  private var random: SplitMix64?
  private var report = Emulator.Report()

  init(_ launch: Launch) {
    self.launch = launch
    clusterCount = launch.grid.count / launch.tree.bounds.clusterBlocks
    if case .random(let seed) = launch.options.schedule { random = SplitMix64(state: seed) }
  }

  mutating func run() throws(EmulatorError) -> Emulator.Report {
    let size = launch.tree.bounds.clusterBlocks
    let resident = Swift.max(1, (launch.options.residentBlocks + size - 1) / size)
    defer { for cluster in clusters { cluster.dissolve() } }
    while true {
      while clusters.count < resident, nextCluster < clusterCount {
        clusters.append(Cluster(launch, index: nextCluster))
        nextCluster += 1
      }
      guard !clusters.isEmpty else { return report }
      try pass()
      for cluster in clusters where cluster.blocks.allSatisfy(\.hasEnded) {
        try finish(cluster)
        report.warpInstructions += cluster.warps.reduce(0) { $0 + $1.instructionCount }
        cluster.dissolve()
      }
      clusters.removeAll { $0.blocks.isEmpty }
    }
  }

  /// One turn for every warp; where no warp of a cluster can go on, one of its copies completes.
  private mutating func pass() throws(EmulatorError) {
    var progressed = false
    for cluster in clusters {
      var warps = cluster.warps
      if random != nil { warps.shuffle(using: &random!) }
      var clusterProgressed = false
      for warp in warps where !warp.isFinished && warp.isReady {
        let quantum: Int
        if random != nil {
          // Some warps sit a turn out, so that others get far ahead.
          let draw = Int(random!.next() >> 40)
          if clusterProgressed, draw & 3 == 0 { continue }
          quantum = 1 + (draw >> 2) % 48
        } else {
          quantum = 256
        }
        let before = warp.counter
        let count = warp.instructionCount
        do throws(Fault) {
          try warp.run(steps: quantum)
        } catch {
          throw describe(error, warp)
        }
        if warp.wait == nil || warp.counter != before || warp.instructionCount > count + 1 {
          clusterProgressed = true
        }
      }
      if !clusterProgressed, let copy = nextCopy(cluster) {
        do throws(Fault) {
          try copy.perform()
        } catch {
          throw describe(error, copy.warp, at: copy.line)
        }
        clusterProgressed = true
      }
      if clusterProgressed { progressed = true }
    }
    if !progressed, clusters.contains(where: { !$0.blocks.allSatisfy(\.hasEnded) }) {
      throw deadlock()
    }
  }

  /// Takes the copy that completes next: the oldest that a warp waits for, or the oldest.
  private func nextCopy(_ cluster: Cluster) -> PendingCopy? {
    guard !cluster.copies.isEmpty else { return nil }
    var awaited: Set<ObjectIdentifier> = []
    for warp in cluster.warps {
      if case .phases(let waits)? = warp.wait {
        for wait in waits { awaited.insert(ObjectIdentifier(wait.barrier)) }
      }
    }
    let index =
      cluster.copies.firstIndex { copy in
        copy.barriers.contains { awaited.contains(ObjectIdentifier($0)) }
      } ?? 0
    return cluster.copies.remove(at: index)
  }

  /// What must hold when a cluster's blocks have ended.
  private func finish(_ cluster: Cluster) throws(EmulatorError) {
    guard let copy = cluster.copies.first else { return }
    throw describe(
      Fault(.unfinished, "ends while a copy into shared memory that it asked for is in flight"),
      copy.warp, at: copy.line)
  }

  // MARK: Words

  private func describe(
    _ fault: Fault, _ warp: Warp, at line: SourceLine? = nil
  ) -> EmulatorError {
    let line = fault.line ?? line ?? warp.line
    let position = warp.block.position
    let lanes = fault.lanes.map { ", \(laneNames($0))," } ?? ""
    return EmulatorError(
      kind: fault.kind, line: line,
      description:
        "kernel \(launch.tree.name), block (\(position.x), \(position.y), \(position.z)), warp \(warp.index)\(lanes) \(fault.text) (\(line))"
    )
  }

  /// No warp can go on: says what each waits for.
  private func deadlock() -> EmulatorError {
    let waiting = clusters.flatMap(\.warps).filter { !$0.isFinished }
    let named = waiting.prefix(12).map { warp in
      let position = warp.block.position
      return
        "warp \(warp.index) of block (\(position.x), \(position.y), \(position.z)) waits \(warp.waitName) (\(warp.line))"
    }
    let more = waiting.count > 12 ? "; \(waiting.count - 12) more wait" : ""
    let ended = clusters.flatMap(\.warps).filter(\.isFinished).count
    let kind = deadlockKind(waiting)
    return EmulatorError(
      kind: kind, line: waiting.first?.line,
      description:
        "kernel \(launch.tree.name) cannot go on: "
        + named.joined(separator: "; ") + more
        + (ended > 0 ? "; \(ended) warps have ended" : ""))
  }

  private func deadlockKind(_ waiting: [Warp]) -> EmulatorError.Kind {
    var areAllAtBarriers = true
    for warp in waiting {
      switch warp.wait {
      case .barrier?: continue
      case .phases(let waits)?:
        areAllAtBarriers = false
        // All arrivals have come, and no copy is left to bring what is owed.
        if waits.contains(where: { $0.barrier.isOwedForGood }) { return .transactionCount }
      default: areAllAtBarriers = false
      }
    }
    return areAllAtBarriers ? .barrierMismatch : .deadlock
  }
}

extension TransactionBarrier {
  /// Whether bytes alone keep the phase from completing.
  var isOwedForGood: Bool { pending == 0 && owed > 0 }
}

extension Warp {
  /// The line of the instruction that it is at.
  var line: SourceLine { block.launch.program.steps[counter].line }

  /// What it waits for, in words.
  var waitName: String {
    switch wait {
    case nil: return "for its turn"
    case .barrier(let id, _)?:
      let barrier = block.barriers[id]
      let missing = block.warps.filter { !barrier.arrived.contains($0.index) }
      let ended = missing.filter(\.isFinished).map { "\($0.index)" }
      let note = ended.isEmpty ? "" : ", and warp \(ended.joined(separator: ", ")) has ended"
      return
        "at barrier \(id), where \(barrier.arrived.count * 32) of \(barrier.threads) threads have arrived\(note)"
    case .cluster?:
      return
        "at the cluster's barrier, where \(block.cluster.barrier.arrived.count) warps have arrived"
    case .phases(let waits)?:
      return waits.map { wait in
        let barrier = wait.barrier
        return
          "for the phase of parity \(wait.parity) of the transaction barrier at shared byte \(barrier.offset), which needs \(barrier.pending) of \(barrier.count) arrivals and \(barrier.owed) bytes"
      }.joined(separator: " or ")
    case .registers(let count)?:
      return "for \(count) registers of a pool that has \(block.freeRegisters)"
    }
  }
}

/// A small generator for schedules, whose sequence belongs to its seed.
struct SplitMix64: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
  }
}
