// SPDX-License-Identifier: Apache-2.0

import Dispatch
import Synchronization

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
  @Sendable func takeTurns() {
    var own: Scratch?
    while true {
      let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
      guard index < count else { return }
      if own == nil { own = scratch() }
      body(index, &own!)
    }
  }
  let most = min(threads, count)
  if crew.run(helpers: most - 1, takeTurns) { return }
  DispatchQueue.concurrentPerform(iterations: most) { _ in takeTurns() }
}

/// One for the process, as is the pool whose threads it keeps awake.
///
/// Nested and concurrent loops do without.
private let crew = Crew()

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
