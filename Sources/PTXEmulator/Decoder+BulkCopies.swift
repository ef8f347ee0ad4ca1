// SPDX-License-Identifier: Apache-2.0

import PTX

extension Decoder {
  mutating func decodeBulkCopy(_ instruction: Instruction) -> Work {
    switch instruction {
    case .bulkLoad(let shared, let global, let bytes, let barrier):
      let shared = place(shared, .shared)
      let global = place(global, .bits64)
      let bytes = place(bytes, .bits32)
      let barrier = place(barrier, .shared)
      return { (warp, mask) throws(Fault) in
        for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
          try warp.loadBulk(
            shared.address(warp, lane), warp[global, lane], Int(warp[bytes, lane]),
            barrier.address(warp, lane), lane)
        }
        return .done
      }
    case .bulkStore(let global, let shared, let bytes, let adding):
      let shared = place(shared, .shared)
      let global = place(global, .bits64)
      let bytes = place(bytes, .bits32)
      if let adding, !AtomicOperation.add.exists(for: adding) {
        report("adds values of \(adding.rawValue), which bulk reductions cannot")
      }
      return { (warp, mask) throws(Fault) in
        for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
          try warp.storeBulk(
            warp[global, lane], shared.address(warp, lane), Int(warp[bytes, lane]), adding, lane)
        }
        return .done
      }
    case .bulkCommit:
      return { (warp, mask) in
        warp.bulkGroups.commit(mask)
        return .done
      }
    case .bulkWait(let pending, _):
      // Stores are done here or at once; both are after which their sources may change.
      return { (warp, mask) throws(Fault) in
        try warp.waitForStores(mask, pending: pending)
        return .done
      }
    default: preconditionFailure("no bulk copy")
    }
  }
}

extension Warp {
  private func checkBulk(
    _ shared: UInt64, _ global: UInt64, _ bytes: Int, _ lane: Int
  ) throws(Fault) {
    for (name, value) in [
      ("shared address", shared), ("global address", global), ("byte count", UInt64(bytes)),
    ] where value % 16 != 0 {
      throw Fault(
        .misaligned,
        "copies bytes with the \(name) \(hexadecimal(value)), which is not a multiple of 16",
        lane: lane)
    }
  }

  func loadBulk(
    _ address: UInt64, _ global: UInt64, _ count: Int, _ barrier: UInt64, _ lane: Int
  ) throws(Fault) {
    try checkBulk(address, global, count, lane)
    let (target, offset) = try block.resolve(
      UInt32(truncatingIfNeeded: address), count, lane: lane, inCluster: true)
    let barriers = try barriers(barrier, [target], isMulticast: false, lane)
    let clocks = block.cluster.clocks
    let clock = clocks.startCopy(actor)
    let range = offset..<offset + count
    try target.shared.beginWrite(range, by: self, at: clock)
    let memory = block.launch.memory
    let checks = block.launch.options.checksUninitializedGlobal
    let actor = actor
    try ask(barriers) { () throws(Fault) in
      let (source, start) = try memory.read(global, count, checkingWritten: checks)
      target.shared.bytes.copy(count, from: source, at: start, to: offset)
      target.shared.finishWrite(range)
      clocks.tell(clocks.copier(actor), clock, to: &barriers[0].telling)
      try barriers[0].complete(count)
    }
  }

  func storeBulk(
    _ global: UInt64, _ address: UInt64, _ count: Int, _ adding: ScalarType?, _ lane: Int
  ) throws(Fault) {
    try checkBulk(address, global, count, lane)
    let (owner, offset) = try block.resolve(
      UInt32(truncatingIfNeeded: address), count, lane: lane)
    let memory = block.launch.memory
    let shared = owner.shared
    let range = offset..<offset + count
    try ask(lane, reading: shared, [range]) { () throws(Fault) in
      let (allocation, start) = try memory.locate(global, count)
      if let adding {
        try allocation.add(adding, range, of: shared.bytes, at: start)
      } else {
        allocation.bytes.copy(count, from: shared.bytes, at: offset, to: start)
        allocation.written.fill(start..<start + count, with: 1)
      }
    }
  }
}
