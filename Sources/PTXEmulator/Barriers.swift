// SPDX-License-Identifier: Apache-2.0

import PTX

/// One of a block's sixteen barriers.
struct NamedBarrier {
  /// Warps that have arrived in this generation.
  var arrived: Set<Int> = []
  /// How many threads it is for, as the first to arrive said.
  var threads = 0
  var generation = 0
  /// What those that have arrived tell, and what those of the last generation told.
  var telling = VectorClock()
  var told = VectorClock()
}

/// `barrier.cluster`.
struct ClusterBarrier {
  var generation = 0
  /// Warps that have arrived and not waited yet, by their number in the cluster.
  var arrived: Set<Int> = []
  var telling = VectorClock()
  var told = VectorClock()

  /// Completes when all warps that have not ended have arrived.
  mutating func completeIfAll(of warps: [Warp]) {
    guard !arrived.isEmpty, warps.allSatisfy({ $0.isFinished || arrived.contains($0.actor) }) else {
      return
    }
    generation += 1
    arrived = []
    told = telling
    telling = VectorClock()
  }
}

extension Block {
  /// A warp arrives at a barrier; returns the generation that it waits for.
  func arrive(_ warp: Warp, at id: Int, threads: Int) throws(Fault) -> Int {
    guard id >= 0, id < 16 else {
      throw Fault(.barrierMismatch, "names barrier \(id); there are 0 to 15")
    }
    guard threads > 0, threads % 32 == 0, threads <= warps.count * 32 else {
      throw Fault(
        .barrierMismatch,
        "names barrier \(id) for \(threads) threads; a block of \(launch.tree.bounds.threads) needs a multiple of 32 up to that"
      )
    }
    if barriers[id].arrived.isEmpty {
      barriers[id].threads = threads
    } else if barriers[id].threads != threads {
      throw Fault(
        .barrierMismatch,
        "names barrier \(id) for \(threads) threads while warp \(barriers[id].arrived.min() ?? 0) named it for \(barriers[id].threads)"
      )
    }
    guard barriers[id].arrived.insert(warp.index).inserted else {
      throw Fault(.barrierMismatch, "arrives twice at barrier \(id) before the others have arrived")
    }
    let generation = barriers[id].generation
    cluster.clocks.release(warp.actor, to: &barriers[id].telling)
    if barriers[id].arrived.count * 32 == barriers[id].threads {
      barriers[id].generation += 1
      barriers[id].arrived = []
      barriers[id].told = barriers[id].telling
      barriers[id].telling = VectorClock()
    }
    return generation
  }
}

extension Warp {
  /// Whether what it waits for has come.
  var isReady: Bool {
    switch wait {
    case nil: true
    case .barrier(let id, let generation)?: block.barriers[id].generation > generation
    case .cluster(let generation)?: block.cluster.barrier.generation > generation
    case .phases(let waits)?: waits.contains { $0.barrier.hasCompleted(parity: $0.parity) }
    case .registers(let count)?: block.freeRegisters >= count
    }
  }

  /// Waits at a barrier, or goes on when the others have come.
  func synchronize(at id: Int, threads: Int) throws(Fault) -> Progress {
    if !resumes {
      let generation = try block.arrive(self, at: id, threads: threads)
      wait = .barrier(id: id, generation: generation)
      resumes = true
      pending = generation
    }
    guard block.barriers[id].generation > pending else {
      wait = .barrier(id: id, generation: pending)
      return .wait
    }
    wait = nil
    block.cluster.clocks.acquire(actor, from: block.barriers[id].told)
    return .done
  }

  func arriveAtCluster() throws(Fault) {
    let cluster = block.cluster
    guard clusterGeneration == nil else {
      throw Fault(.barrierMismatch, "arrives twice at the cluster's barrier without waiting")
    }
    clusterGeneration = cluster.barrier.generation
    cluster.barrier.arrived.insert(actor)
    cluster.clocks.release(actor, to: &cluster.barrier.telling)
    cluster.barrier.completeIfAll(of: cluster.warps)
  }

  func waitForCluster() throws(Fault) -> Progress {
    guard let generation = clusterGeneration else {
      throw Fault(.barrierMismatch, "waits at the cluster's barrier without having arrived")
    }
    guard block.cluster.barrier.generation > generation else {
      wait = .cluster(generation: generation)
      return .wait
    }
    clusterGeneration = nil
    block.cluster.clocks.acquire(actor, from: block.cluster.barrier.told)
    return .done
  }
}

extension Decoder {
  mutating func decodeBarrier(id: Operand, threads: Int?, waits: Bool) -> Work {
    let id = place(id, .bits32)
    return { (warp, mask) throws(Fault) in
      try warp.requireConvergence(mask, "a barrier")
      let number = Int(try warp.uniform(id, mask, "a barrier number of"))
      let threads = threads ?? warp.block.warps.count * 32
      if waits { return try warp.synchronize(at: number, threads: threads) }
      _ = try warp.block.arrive(warp, at: number, threads: threads)
      return .done
    }
  }

  mutating func decodeCluster(_ instruction: Instruction) -> Work {
    switch instruction {
    case .clusterArrive:
      // A relaxed arrival orders nothing but transaction barriers that were fenced before it. Kernels
      // use it for nothing else, so it is not told apart.
      return { (warp, mask) throws(Fault) in
        try warp.requireConvergence(mask, "an arrival at the cluster's barrier")
        try warp.arriveAtCluster()
        return .done
      }
    case .clusterWait:
      return { (warp, mask) throws(Fault) in
        try warp.requireConvergence(mask, "a wait at the cluster's barrier")
        return try warp.waitForCluster()
      }
    case .mapToCluster(let destination, let address, let block):
      let destination = place(destination, .bits32)
      let address = place(address, .bits32)
      let block = place(block, .bits32)
      return { (warp, mask) throws(Fault) in
        for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
          let rank = warp[block, lane]
          guard rank < UInt64(warp.block.cluster.blocks.count) else {
            throw Fault(
              .outOfBounds,
              "maps an address to block \(rank) of a cluster of \(warp.block.cluster.blocks.count)",
              lane: lane)
          }
          warp[destination, lane] = (rank + 1) << 24 | warp[address, lane] & 0xFF_FFFF
        }
        return .done
      }
    default: preconditionFailure("no instruction of clusters")
    }
  }
}
