// SPDX-License-Identifier: Apache-2.0

/// What of each actor's past something knows: a clock for each actor.
struct VectorClock {
  var values: [UInt32] = []

  mutating func merge(_ other: VectorClock) {
    if values.isEmpty {
      values = other.values
      return
    }
    for index in other.values.indices where other.values[index] > values[index] {
      values[index] = other.values[index]
    }
  }
}

/// Who knows how much of whose past, for the warps of a cluster.
///
/// Actors are the warps and, after them, the copy engine that works for each warp: what a copy
/// writes is known to those who waited for its barrier, and not to the warp that asked for it.
/// A warp's clock advances when it tells others (an arrival at a barrier) and when it fences.
final class Clocks {
  let warpCount: Int
  private let width: Int
  private let known: Storage<UInt32>
  /// The clocks of each lane's last fences of the async proxy, newest first.
  private let fences: Storage<UInt32>
  private static let fenceHistory = 8
  /// Copies that each warp has asked for.
  private let copies: Storage<UInt32>

  init(warpCount: Int) {
    self.warpCount = warpCount
    width = 2 * warpCount
    known = Storage(repeating: 0, count: warpCount * width)
    fences = Storage(repeating: 0, count: warpCount * 32 * Clocks.fenceHistory)
    copies = Storage(repeating: 0, count: warpCount)
    for warp in 0..<warpCount { known[warp * width + warp] = 1 }
  }

  /// A warp's own clock.
  @inline(__always)
  func now(_ warp: Int) -> UInt32 { known[warp * width + warp] }

  /// Whether what an actor did at a clock comes before what the warp does now.
  @inline(__always)
  func isOrdered(_ actor: Int, _ clock: UInt32, before warp: Int) -> Bool {
    actor == warp || known[warp * width + actor] >= clock
  }

  /// Tells a barrier all that the warp knows.
  func release(_ warp: Int, to clock: inout VectorClock) {
    var mine = VectorClock()
    mine.values = (0..<width).map { known[warp * width + $0] }
    clock.merge(mine)
    known[warp * width + warp] += 1
  }

  /// Learns all that a barrier was told.
  func acquire(_ warp: Int, from clock: VectorClock) {
    for actor in clock.values.indices where clock.values[actor] > known[warp * width + actor] {
      known[warp * width + actor] = clock.values[actor]
    }
  }

  // MARK: The async proxy

  /// The clock of a new copy that a warp asks for.
  func startCopy(_ warp: Int) -> UInt32 {
    copies[warp] += 1
    return copies[warp]
  }

  /// The actor that copies for a warp.
  func copier(_ warp: Int) -> Int { warpCount + warp }

  /// The clock of a copy's writes, told to its barrier alone.
  func tell(_ copier: Int, _ clock: UInt32, to barrier: inout VectorClock) {
    if barrier.values.isEmpty { barrier.values = Array(repeating: 0, count: width) }
    barrier.values[copier] = Swift.max(barrier.values[copier], clock)
  }

  /// A proxy fence by lanes of a warp.
  func fence(_ warp: Int, lanes: UInt32) {
    for lane in 0..<32 where lanes >> UInt32(lane) & 1 != 0 {
      let first = (warp * 32 + lane) * Clocks.fenceHistory
      for index in stride(from: Clocks.fenceHistory - 1, to: 0, by: -1) {
        fences[first + index] = fences[first + index - 1]
      }
      fences[first] = now(warp)
    }
    known[warp * width + warp] += 1
  }

  /// Whether what a lane wrote at a clock was fenced, and the fence comes before what a warp does now.
  func isFenced(_ writer: Int, lane: Int, _ clock: UInt32, before warp: Int) -> Bool {
    let first = (writer * 32 + lane) * Clocks.fenceHistory
    // The oldest fence after the write is the one that others may know of.
    for index in stride(from: Clocks.fenceHistory - 1, through: 0, by: -1) {
      let fence = fences[first + index]
      if fence >= clock, fence != 0 {
        return writer == warp || known[warp * width + writer] > fence
      }
    }
    return false
  }
}
