// SPDX-License-Identifier: Apache-2.0

import Dispatch
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Threads of the process's Dispatch pool that help with loops, one after the other.
///
/// An operation may take less time than waking a thread does, some tens of microseconds on a virtual machine.
/// So whoever has helped stays awake for about as long again where nothing else runs, in case that another loop
/// follows, and yields to other threads meanwhile; likewise a caller sleeps only if those who help it do not end
/// soon.
// Sendable in spite of the address that it holds: who helps has joined by then, and callers wait for all who have.
@safe
final class Crew: Sendable {
  /// Whether a loop has the crew.
  private let isTaken = Atomic<Bool>(false)
  /// The address of what helpers call, a closure of the loop's caller.
  private let work = Atomic<UInt>(0)
  /// Whether and how many helpers may join the loop, how many have, and whether its caller sleeps.
  private let gate = Atomic<Int>(0)
  /// Wakes the caller when the last helper has left.
  private let allHaveLeft = DispatchSemaphore(value: 0)
  /// How many loops there were.
  private let loops = Atomic<Int>(0)
  /// The helpers that are awake or asked for.
  private let helpers = Atomic<Int>(0)

  private enum Gate {
    /// The lower half of a word of 32 bits counts who has joined, the upper half who may.
    static let joined = 0xFFFF, limitShift = 16
    static let isOpen = 1 << 32, callerSleeps = 1 << 33
  }

  /// How often a thread yields before it sleeps: about half a microsecond each time, or as long as others run.
  private static let yields = 100
  /// After how long a helper lets other tasks of the pool have its thread.
  private static let turn = Duration.milliseconds(10)
  /// More threads than processors would wait for each other.
  private static let mostHelpers = min(CPUBackend.processorCount - 1, Gate.joined)

  /// The helpers that are awake or asked for.
  var helperCount: Int { helpers.load(ordering: .relaxed) }

  /// Calls `body` on this thread and on those that help it, on which it may be called again as long as it runs
  /// here.
  ///
  /// - Parameter limit: The most helpers.
  /// - Returns: Whether it did; not if another loop has the crew.
  func run(helpers limit: Int, _ body: @Sendable () -> Void) -> Bool {
    guard
      isTaken.compareExchange(expected: false, desired: true, ordering: .acquiring).exchanged
    else { return false }
    let limit = min(limit, Self.mostHelpers)
    withoutActuallyEscaping(body) { body in
      // The address is of use to helpers that have joined, for whom this waits below.
      unsafe withUnsafePointer(to: body) {
        work.store(UInt(bitPattern: $0), ordering: .relaxed)
        gate.store(Gate.isOpen | limit << Gate.limitShift, ordering: .releasing)
        // A helper that finds no new loop before it goes is no longer counted here.
        loops.wrappingAdd(1, ordering: .sequentiallyConsistent)
        let missing = limit - helpers.load(ordering: .sequentiallyConsistent)
        for _ in 0..<max(0, missing) {
          helpers.wrappingAdd(1, ordering: .relaxed)
          DispatchQueue.global().async { self.help() }
        }
        body()
        close()
      }
    }
    isTaken.store(false, ordering: .releasing)
    return true
  }

  /// Lets nobody join any more and waits until all have left.
  private func close() {
    gate.bitwiseAnd(~Gate.isOpen, ordering: .acquiringAndReleasing)
    var rest = Self.yields
    while gate.load(ordering: .acquiring) & Gate.joined != 0 {
      if rest > 0 {
        sched_yield()
        rest -= 1
      } else if gate.bitwiseOr(Gate.callerSleeps, ordering: .acquiringAndReleasing).newValue
        & Gate.joined != 0
      {
        // Whoever leaves last has seen that.
        allHaveLeft.wait()
      }
    }
  }

  // MARK: Helpers

  private func help() {
    let start = ContinuousClock.now
    var rest = Self.yields
    while true {
      let loop = loops.load(ordering: .sequentiallyConsistent)
      if join() {
        unsafe call(UnsafePointer(bitPattern: work.load(ordering: .relaxed)).unsafelyUnwrapped)
        leave()
        if start.duration(to: .now) > Self.turn {
          DispatchQueue.global().async { self.help() }
          return
        }
        // Only those who are of use stay.
        rest = Self.yields
      }
      while rest > 0, loops.load(ordering: .relaxed) == loop {
        sched_yield()
        rest -= 1
      }
      if rest > 0 { continue }
      helpers.wrappingSubtract(1, ordering: .sequentiallyConsistent)
      guard loops.load(ordering: .sequentiallyConsistent) != loop else { return }
      // A loop that began just now may have counted on this one.
      helpers.wrappingAdd(1, ordering: .relaxed)
    }
  }

  /// Not inlined, so that nothing holds the closure when its caller is told that this helper has left.
  @inline(never)
  private func call(_ work: UnsafePointer<@Sendable () -> Void>) {
    unsafe work.pointee()
  }

  /// Whether this thread may help with a loop, which waits until it leaves.
  func join() -> Bool {
    var now = gate.load(ordering: .relaxed)
    while now & Gate.isOpen != 0,
      now & Gate.joined < now >> Gate.limitShift & Gate.joined
    {
      let attempt = gate.weakCompareExchange(
        expected: now, desired: now + 1, successOrdering: .acquiring, failureOrdering: .relaxed)
      if attempt.exchanged { return true }
      now = attempt.original
    }
    return false
  }

  func leave() {
    let now = gate.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue
    if now & Gate.joined == 0, now & Gate.callerSleeps != 0 { allHaveLeft.signal() }
  }
}
