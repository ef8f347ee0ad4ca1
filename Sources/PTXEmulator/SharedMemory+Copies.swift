// SPDX-License-Identifier: Apache-2.0

import PTX

// Shared memory as copies and matrix products see it: through the async proxy.

extension SharedMemory {
  // MARK: Reads

  /// A copy or product that a warp asks for is going to read these bytes: nobody may write them
  /// until `finishRead`.
  func beginRead(_ range: Range<Int>, by warp: Warp) throws(Fault) {
    let actor = warp.actor
    for index in range {
      let byte = shadow[index]
      switch byte.state {
      case .copied:
        guard clocks.isOrdered(Int(byte.writer) - 1, byte.writeClock, before: actor) else {
          throw unreadable(index, byte, by: warp, nil)
        }
      case .thread, .atomic:
        guard clocks.isOrdered(Int(byte.writer) - 1, byte.writeClock, before: actor) else {
          throw unreadable(index, byte, by: warp, nil)
        }
        guard
          clocks.isFenced(
            Int(byte.writer) - 1, lane: Int(byte.lane), byte.writeClock, before: actor)
        else {
          throw Fault(
            .notVisibleToAsyncProxy,
            "lets the async proxy read shared byte \(index), which lane \(byte.lane) of warp \((Int(byte.writer) - 1) % warp.block.launch.warpsPerBlock) wrote without `fence.proxy.async` after it"
          )
        }
      case .unwritten, .inFlight, .barrier: throw unreadable(index, byte, by: warp, nil)
      }
      shadow[index].pins += 1
    }
  }

  /// The warp has waited for what read these bytes.
  func finishRead(_ range: Range<Int>, by warp: Warp) {
    let now = clocks.now(warp.actor)
    for index in range {
      shadow[index].pins -= 1
      shadow[index].addReader(UInt16(warp.actor + 1), now)
    }
  }

  // MARK: Writes

  /// A copy that a warp asks for is going to write these bytes.
  func beginWrite(_ range: Range<Int>, by warp: Warp, at clock: UInt32) throws(Fault) {
    let copier = UInt16(clocks.copier(warp.actor) + 1)
    for index in range {
      try checkWrite(index, shadow[index], by: warp, nil)
      shadow[index] = Shadow(writer: copier, state: .inFlight, writeClock: clock)
    }
  }

  /// The copy has written them.
  func finishWrite(_ range: Range<Int>) {
    for index in range { shadow[index].state = .copied }
  }
}

/// A copy that was asked for.
struct PendingCopy {
  var warp: Warp
  var line: SourceLine
  /// The transaction barriers that it completes bytes at.
  var barriers: [TransactionBarrier]
  var perform: () throws(Fault) -> Void
}

/// One bulk store of a thread: what it reads, and how it is done.
struct BulkStore {
  var shared: SharedMemory
  var ranges: [Range<Int>]
  var line: SourceLine
  /// Nothing when it was done at once.
  var perform: (() throws(Fault) -> Void)?
}

/// A warp's bulk stores, which belong to the threads that asked for them.
struct BulkGroups {
  var open: [Int: [BulkStore]] = [:]
  var committed: [Int: [[BulkStore]]] = [:]

  mutating func commit(_ lanes: UInt32) {
    for lane in 0..<32 where lanes >> UInt32(lane) & 1 != 0 {
      committed[lane, default: []].append(open.removeValue(forKey: lane) ?? [])
    }
  }

  /// Removes and returns all groups of a lane but the latest.
  mutating func take(_ lane: Int, keeping count: Int) -> [BulkStore] {
    guard var groups = committed[lane], groups.count > count else { return [] }
    let done = groups.prefix(groups.count - count).flatMap { $0 }
    groups.removeFirst(groups.count - count)
    committed[lane] = groups
    return done
  }

  /// A store that has not been waited for.
  func unfinished(_ lane: Int) -> BulkStore? {
    open[lane]?.first ?? committed[lane]?.lazy.flatMap { $0 }.first
  }
}

extension Warp {
  /// Waits for bulk stores of the lanes, all but the latest groups.
  func waitForStores(_ lanes: UInt32, pending: Int) throws(Fault) {
    for lane in 0..<32 where lanes >> UInt32(lane) & 1 != 0 {
      for store in bulkGroups.take(lane, keeping: pending) {
        if let perform = store.perform { try perform() }
        for range in store.ranges { store.shared.finishRead(range, by: self) }
      }
    }
  }

  /// Lanes end.
  func finishLanes(_ lanes: UInt32) throws(Fault) {
    guard lanes != 0 else { return }
    for lane in 0..<32 where lanes >> UInt32(lane) & 1 != 0 {
      if let store = bulkGroups.unfinished(lane) {
        throw Fault(
          .unfinished,
          "ends while a bulk store that it asked for may still read shared memory; `cp.async.bulk.wait_group.read` must come before",
          lanes: 1 << UInt32(lane), line: store.line)
      }
    }
    if let product = products.unfinished {
      throw Fault(
        .unfinished, "ends while a matrix product is in flight", lanes: lanes, line: product.line)
    }
  }

  /// A load into shared memory, done now or when its barrier is waited for.
  func ask(
    _ barriers: [TransactionBarrier], _ perform: @escaping () throws(Fault) -> Void
  ) throws(Fault) {
    if block.launch.options.completion == .earliest {
      try perform()
    } else {
      block.cluster.copies.append(
        PendingCopy(warp: self, line: line, barriers: barriers, perform: perform))
    }
  }

  /// A store out of shared memory, whose bytes no one may change until it is waited for.
  func ask(
    _ lane: Int, reading shared: SharedMemory, _ ranges: [Range<Int>],
    _ perform: @escaping () throws(Fault) -> Void
  ) throws(Fault) {
    for range in ranges { try shared.beginRead(range, by: self) }
    let isEarly = block.launch.options.completion == .earliest
    if isEarly { try perform() }
    bulkGroups.open[lane, default: []].append(
      BulkStore(shared: shared, ranges: ranges, line: line, perform: isEarly ? nil : perform))
  }
}
