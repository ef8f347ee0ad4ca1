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

/// Runs `body` for every index below `count` on up to `threads` threads.
///
/// Indices are handed out in order; one thread may take many. Nested and concurrent calls share the
/// threads of the process's Dispatch pool, so that callers together never occupy more than the
/// cores.
package func parallelFor(_ count: Int, threads: Int, _ body: @Sendable (Int) -> Void) {
  parallelFor(count, threads: threads, scratch: {}) { index, _ in body(index) }
}

/// Runs `body` for every index below `count` on up to `threads` threads, each with its own scratch.
package func parallelFor<Scratch>(
  _ count: Int, threads: Int, scratch: @Sendable () -> Scratch,
  _ body: @Sendable (Int, inout Scratch) -> Void
) {
  guard threads > 1, count > 1 else {
    var own = scratch()
    for index in 0..<count { body(index, &own) }
    return
  }
  let next = Atomic<Int>(0)
  let busy = Atomic<Int>(0)
  let caller = currentThread()
  DispatchQueue.concurrentPerform(iterations: min(threads, count)) { _ in
    busy.wrappingAdd(1, ordering: .relaxed)
    var own: Scratch?
    while true {
      let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
      guard index < count else { break }
      if own == nil { own = scratch() }
      body(index, &own!)
    }
    busy.wrappingSubtract(1, ordering: .relaxed)
    // The last tasks of other threads end within microseconds; to sleep and to be woken takes tens of them.
    guard currentThread() == caller else { return }
    for _ in 0..<yieldsBeforeSleep where busy.load(ordering: .relaxed) > 0 { sched_yield() }
  }
}

/// How often a caller yields to other threads, about half a microsecond each time, before it sleeps until its
/// own are done.
private let yieldsBeforeSleep = 100

private func currentThread() -> UInt {
  #if canImport(Glibc)
    pthread_self()
  #else
    // A pointer there, of which only the address counts.
    unsafe UInt(bitPattern: pthread_self())
  #endif
}

/// Runs `body` for every index below `count` on up to `threads` threads until one throws.
///
/// After the first error no more indices are begun, and it is thrown once all threads are done.
package func parallelFor<Failure: Error>(
  _ count: Int, threads: Int, _ body: @Sendable (Int) throws(Failure) -> Void
) throws(Failure) {
  let failure = Guarded<Failure?>(nil)
  parallelFor(count, threads: threads) { index in
    guard failure.withLock({ $0 == nil }) else { return }
    do throws(Failure) {
      try body(index)
    } catch {
      failure.withLock { if $0 == nil { $0 = error } }
    }
  }
  if let error = failure.withLock({ $0 }) { throw error }
}
