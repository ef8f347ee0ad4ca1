// SPDX-License-Identifier: Apache-2.0

import Dispatch
import Synchronization

/// Runs `body` for every index below `count` on up to `jobs` threads.
///
/// Indices are handed out in order. After the first error no more are begun, and it is thrown once
/// all threads are done.
func parallelFor(
  _ count: Int, jobs: Int, _ body: @Sendable (Int) throws -> Void
) throws {
  let next = Atomic<Int>(0)
  let failure = Mutex<(any Error)?>(nil)
  DispatchQueue.concurrentPerform(iterations: min(jobs, count)) { _ in
    while failure.withLock({ $0 == nil }) {
      let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
      guard index < count else { return }
      do {
        try body(index)
      } catch {
        failure.withLock { if $0 == nil { $0 = error } }
      }
    }
  }
  if let error = failure.withLock({ $0 }) { throw error }
}
