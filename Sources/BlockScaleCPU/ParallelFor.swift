// SPDX-License-Identifier: Apache-2.0

import Dispatch
import Synchronization

/// Runs `body` for every index below `count` on up to `threads` threads.
///
/// Indices are handed out in order; one thread may take many. Nested and concurrent calls share the
/// threads of the process's Dispatch pool, so that callers together never occupy more than the
/// cores.
package func parallelFor(_ count: Int, threads: Int, _ body: @Sendable (Int) -> Void) {
  guard threads > 1, count > 1 else {
    for index in 0..<count { body(index) }
    return
  }
  let next = Atomic<Int>(0)
  DispatchQueue.concurrentPerform(iterations: min(threads, count)) { _ in
    while true {
      let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
      guard index < count else { return }
      body(index)
    }
  }
}

/// Runs `body` for every index below `count` on up to `threads` threads until one throws.
///
/// After the first error no more indices are begun, and it is thrown once all threads are done.
package func parallelFor<Failure: Error>(
  _ count: Int, threads: Int, _ body: @Sendable (Int) throws(Failure) -> Void
) throws(Failure) {
  let failure = Mutex<Failure?>(nil)
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
