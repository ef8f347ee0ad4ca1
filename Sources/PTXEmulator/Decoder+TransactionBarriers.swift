// SPDX-License-Identifier: Apache-2.0

import PTX

extension Decoder {
  mutating func decodeTransactionBarrier(_ instruction: Instruction) -> Work {
    switch instruction {
    case .mbarrierInitialize(let address, let count):
      let address = place(address, .shared)
      let count = place(count, .bits32)
      return { (warp, mask) throws(Fault) in
        for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
          try warp.initializeBarrier(address.address(warp, lane), Int(warp[count, lane]), lane)
        }
        return .done
      }
    case .mbarrierInvalidate(let address):
      let address = place(address, .shared)
      return { (warp, mask) throws(Fault) in
        for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
          let (barrier, block) = try warp.transactionBarrier(
            address.address(warp, lane), lane: lane, inCluster: false)
          block.shared.barriers[barrier.offset] = nil
          for index in barrier.offset..<barrier.offset + 8 {
            block.shared.shadow[index] = SharedMemory.Shadow(
              writer: UInt16(warp.actor + 1), lane: UInt8(lane), state: .unwritten,
              writeClock: block.cluster.clocks.now(warp.actor))
          }
        }
        return .done
      }
    case .mbarrierArrive(let address): return decodeArrival(address, bytes: nil, arrives: true)
    case .mbarrierArriveExpecting(let address, let bytes):
      return decodeArrival(address, bytes: bytes, arrives: true)
    case .mbarrierExpect(let address, let bytes):
      return decodeArrival(address, bytes: bytes, arrives: false)
    case .mbarrierArriveRemote(let address):
      return decodeArrival(address, bytes: nil, arrives: true, inCluster: true)
    case .mbarrierTryWait(let d, let address, let parity):
      let destination = place(d, .predicate)
      let address = place(address, .shared)
      let parity = place(parity, .bits32)
      return { (warp, mask) throws(Fault) in
        try warp.wait(destination, address, parity, mask)
      }
    default: preconditionFailure("no instruction of transaction barriers")
    }
  }

  private mutating func decodeArrival(
    _ address: Address, bytes: Operand?, arrives: Bool, inCluster: Bool = false
  ) -> Work {
    let address = place(address, .shared)
    let bytes = bytes.map { place($0, .bits32) }
    return { (warp, mask) throws(Fault) in
      let clocks = warp.block.cluster.clocks
      for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
        let (barrier, block) = try warp.transactionBarrier(
          address.address(warp, lane), lane: lane, inCluster: inCluster)
        if block !== warp.block, !barrier.isFenced {
          throw Fault(
            .race,
            "arrives at the transaction barrier at shared byte \(barrier.offset) of block \(block.rank) of the cluster, whose initialisation has no fence",
            lane: lane)
        }
        if let bytes { try barrier.announce(Int(warp[bytes, lane])) }
        if arrives {
          clocks.release(warp.actor, to: &barrier.telling)
          try barrier.arrive()
        }
      }
      return .done
    }
  }
}

extension Warp {
  func initializeBarrier(_ address: UInt64, _ count: Int, _ lane: Int) throws(Fault) {
    let (shared, offset) = try shared(address, 8, lane, "initialises", inCluster: false)
    guard count > 0, count <= TransactionBarrier.largestCount else {
      throw Fault(
        .arrivalOverflow,
        "initialises a transaction barrier for \(count) arrivals; it takes 1 to \(TransactionBarrier.largestCount)",
        lane: lane)
    }
    if shared.barriers[offset] != nil {
      throw Fault(
        .notABarrier, "initialises the transaction barrier at shared byte \(offset) again",
        lane: lane)
    }
    // Checks the order as a store does.
    try shared.write(offset, 8, by: self, lane: lane)
    for index in offset..<offset + 8 { shared.shadow[index].state = .barrier }
    shared.barriers[offset] = TransactionBarrier(
      count: count, offset: offset, initializer: actor, at: block.cluster.clocks.now(actor))
  }

  /// `try_wait`: suspends the warp until a lane's phase has completed.
  ///
  /// The hardware may give up after a time and say no; programs ask again, so that waiting here until
  /// the answer is yes is one of its behaviours, and makes a deadlock plain.
  func wait(
    _ destination: Place, _ address: AddressPlace, _ parity: Place, _ mask: UInt32
  ) throws(Fault) -> Progress {
    var passing: UInt32 = 0
    var waits: [(barrier: TransactionBarrier, parity: Int)] = []
    for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
      let (barrier, _) = try transactionBarrier(
        address.address(self, lane), lane: lane, inCluster: false)
      let value = self[parity, lane]
      guard value <= 1 else {
        throw Fault(
          .phaseWaitedTwice, "waits for a phase of parity \(value); it is 0 or 1", lane: lane)
      }
      if barrier.hasCompleted(parity: Int(value)) {
        passing |= 1 << UInt32(lane)
        block.cluster.clocks.acquire(actor, from: barrier.told)
      }
      if !waits.contains(where: { $0.barrier === barrier && $0.parity == Int(value) }) {
        waits.append((barrier, Int(value)))
      }
    }
    guard passing != 0 else {
      wait = .phases(waits)
      return .wait
    }
    if let only = waits.first, waits.count == 1 {
      try only.barrier.notePassage(of: passing, actor: actor)
    } else {
      for lane in 0..<32 where passing >> UInt32(lane) & 1 != 0 {
        let (barrier, _) = try transactionBarrier(
          address.address(self, lane), lane: lane, inCluster: false)
        try barrier.notePassage(of: 1 << UInt32(lane), actor: actor)
      }
    }
    setPredicate(destination, passing, mask)
    return .done
  }
}
