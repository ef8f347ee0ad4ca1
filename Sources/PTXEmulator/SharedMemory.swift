// SPDX-License-Identifier: Apache-2.0

/// The shared memory of one block, with what is known of each byte.
final class SharedMemory {
  /// Where a block's dynamic shared memory begins: the first KiB is the system's, as on Hopper.
  static let base = 1024

  enum State: UInt8 {
    case unwritten
    /// Written by a thread.
    case thread
    /// Changed by atomics or volatile stores, which do not race with each other.
    case atomic
    /// Written by a copy that has completed.
    case copied
    /// A copy has been asked for and has not completed.
    case inFlight
    /// A byte of a transaction barrier.
    case barrier
  }

  /// What is known of a byte.
  struct Shadow {
    // Actors are stored plus one; 0 is none. Of the readers since the last write the last two are
    // kept, because the last may be the warp that writes next.
    var writer: UInt16 = 0
    var readerA: UInt16 = 0
    var readerB: UInt16 = 0
    var lane: UInt8 = 0
    var state = State.unwritten
    /// How many copies or products in flight read it.
    var pins: UInt16 = 0
    var writeClock: UInt32 = 0
    var clockA: UInt32 = 0
    var clockB: UInt32 = 0
  }

  let bytes: Storage<UInt8>
  let shadow: Storage<Shadow>
  /// Transaction barriers by their offset.
  var barriers: [Int: TransactionBarrier] = [:]
  /// What volatile stores and atomics told readers of the same address.
  private var flags: [Int: VectorClock] = [:]
  let clocks: Clocks

  init(byteCount: Int, clocks: Clocks) {
    bytes = Storage(repeating: 0xA5, count: byteCount)
    shadow = Storage(repeating: Shadow(), count: byteCount)
    self.clocks = clocks
  }

  // MARK: Threads

  /// A thread reads.
  @inline(__always)
  func read(_ offset: Int, _ count: Int, by warp: Warp, lane: Int) throws(Fault) {
    let actor = UInt16(warp.actor + 1)
    let now = clocks.now(warp.actor)
    for index in offset..<offset + count {
      var byte = shadow[index]
      guard byte.state == .thread || byte.state == .copied || byte.state == .atomic,
        clocks.isOrdered(Int(byte.writer) - 1, byte.writeClock, before: warp.actor)
      else { throw unreadable(index, byte, by: warp, lane) }
      byte.addReader(actor, now)
      shadow[index] = byte
    }
  }

  /// A thread writes.
  @inline(__always)
  func write(_ offset: Int, _ count: Int, by warp: Warp, lane: Int) throws(Fault) {
    let now = clocks.now(warp.actor)
    for index in offset..<offset + count {
      let byte = shadow[index]
      try checkWrite(index, byte, by: warp, lane)
      shadow[index] = Shadow(
        writer: UInt16(warp.actor + 1), lane: UInt8(lane), state: .thread, writeClock: now)
    }
  }

  /// An atomic, or a volatile access; these order what follows those that they read.
  func accessAtomically(
    _ offset: Int, _ count: Int, by warp: Warp, lane: Int, reads: Bool, writes: Bool
  ) throws(Fault) {
    for index in offset..<offset + count {
      var byte = shadow[index]
      if reads, byte.state == .unwritten || byte.state == .inFlight || byte.state == .barrier {
        throw unreadable(index, byte, by: warp, lane)
      }
      if byte.state != .atomic {
        // The initial value was stored plainly, which needs an order.
        if writes {
          try checkWrite(index, byte, by: warp, lane)
        } else if !clocks.isOrdered(Int(byte.writer) - 1, byte.writeClock, before: warp.actor) {
          // A volatile load of what another warp stored plainly.
          throw unreadable(index, byte, by: warp, lane)
        }
      }
      if writes {
        byte.state = .atomic
        byte.writer = UInt16(warp.actor + 1)
        byte.lane = UInt8(lane)
        byte.writeClock = clocks.now(warp.actor)
        byte.readerA = 0
        byte.readerB = 0
        shadow[index] = byte
      }
    }
    if reads, let told = flags[offset] { clocks.acquire(warp.actor, from: told) }
    if writes { clocks.release(warp.actor, to: &flags[offset, default: VectorClock()]) }
  }

  /// Requires that nothing unordered or in flight is overwritten.
  @inline(__always)
  func checkWrite(_ index: Int, _ byte: Shadow, by warp: Warp, _ lane: Int?) throws(Fault) {
    guard byte.pins == 0, byte.state != .inFlight, byte.state != .barrier,
      byte.writer == 0
        || clocks.isOrdered(Int(byte.writer) - 1, byte.writeClock, before: warp.actor),
      byte.readerA == 0
        || clocks.isOrdered(Int(byte.readerA) - 1, byte.clockA, before: warp.actor),
      byte.readerB == 0
        || clocks.isOrdered(Int(byte.readerB) - 1, byte.clockB, before: warp.actor)
    else { throw unwritable(index, byte, by: warp, lane) }
  }

  // MARK: Words for what is wrong

  private func fault(
    _ kind: EmulatorError.Kind, _ text: String, _ lane: Int?
  ) -> Fault {
    if let lane { Fault(kind, text, lane: lane) } else { Fault(kind, text) }
  }

  /// The warp or copy that an actor is, plus one as stored.
  private func name(_ actor: UInt16, near warp: Warp) -> String {
    let number = Int(actor) - 1
    let isCopy = number >= clocks.warpCount
    let owner = isCopy ? number - clocks.warpCount : number
    let perBlock = warp.block.launch.warpsPerBlock
    let block =
      owner / perBlock == warp.block.rank ? "" : " of block \(owner / perBlock) of the cluster"
    return (isCopy ? "a copy of warp " : "warp ") + "\(owner % perBlock)" + block
  }

  func unreadable(_ index: Int, _ byte: Shadow, by warp: Warp, _ lane: Int?) -> Fault {
    let place = "shared byte \(index)"
    switch byte.state {
    case .unwritten:
      return fault(.uninitializedShared, "reads \(place), which nothing has written", lane)
    case .inFlight:
      return fault(
        .inFlight, "reads \(place), which \(name(byte.writer, near: warp)) is still writing", lane)
    case .barrier:
      return fault(.notABarrier, "reads \(place), which belongs to a transaction barrier", lane)
    case .thread, .atomic, .copied:
      let writer = name(byte.writer, near: warp)
      return fault(
        .race, "reads \(place), which \(writer) wrote and no barrier orders before", lane)
    }
  }

  func unwritable(_ index: Int, _ byte: Shadow, by warp: Warp, _ lane: Int?) -> Fault {
    let place = "shared byte \(index)"
    if byte.pins > 0 {
      return fault(
        .inFlight, "writes \(place), which a copy or product in flight still reads", lane)
    }
    if byte.state == .inFlight {
      return fault(
        .inFlight, "writes \(place), which \(name(byte.writer, near: warp)) is still writing", lane)
    }
    if byte.state == .barrier {
      return fault(.notABarrier, "writes \(place), which belongs to a transaction barrier", lane)
    }
    if byte.writer != 0,
      !clocks.isOrdered(Int(byte.writer) - 1, byte.writeClock, before: warp.actor)
    {
      let writer = name(byte.writer, near: warp)
      return fault(
        .race, "writes \(place), which \(writer) wrote and no barrier orders before", lane)
    }
    let isA =
      byte.readerA != 0
      && !clocks.isOrdered(Int(byte.readerA) - 1, byte.clockA, before: warp.actor)
    let reader = name(isA ? byte.readerA : byte.readerB, near: warp)
    return fault(.race, "writes \(place), which \(reader) reads and no barrier orders before", lane)
  }
}

extension SharedMemory.Shadow {
  @inline(__always)
  mutating func addReader(_ actor: UInt16, _ clock: UInt32) {
    if readerA != actor {
      readerB = readerA
      clockB = clockA
      readerA = actor
    }
    clockA = clock
  }
}
