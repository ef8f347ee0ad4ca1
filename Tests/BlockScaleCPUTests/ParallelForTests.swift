// SPDX-License-Identifier: Apache-2.0

import Dispatch
import Synchronization
import Testing

@testable import BlockScaleCPU

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

@Suite struct ParallelForTests {
  /// How often each index was seen.
  final class Counts: Sendable {
    private let counts: Guarded<[Int]>

    init(_ count: Int) { counts = Guarded([Int](repeating: 0, count: count)) }

    func add(_ index: Int) { counts.withLock { $0[index] += 1 } }
    var areOne: Bool { counts.withLock { $0.allSatisfy { $0 == 1 } } }
  }

  @Test(arguments: [1, 2, 3, 8], [0, 1, 2, 7, 300])
  func everyIndexIsTakenOnce(threads: Int, count: Int) {
    // Loops that follow each other at once, and after their helpers have gone to sleep.
    for round in 0..<200 {
      let counts = Counts(count)
      parallelFor(count, threads: threads) { counts.add($0) }
      #expect(counts.areOne)
      if round % 50 == 0 { usleep(2_000) }
    }
  }

  @Test func loopsMayBeNestedAndConcurrent() {
    let counts = Counts(4 * 50 * 6 * 5)
    DispatchQueue.concurrentPerform(iterations: 4) { caller in
      for round in 0..<50 {
        parallelFor(6, threads: 3) { outer in
          parallelFor(5, threads: 2) { counts.add(((caller * 50 + round) * 6 + outer) * 5 + $0) }
        }
      }
    }
    #expect(counts.areOne)
  }

  @Test(arguments: [1, 2, 5])
  func noMoreHelpersThanAskedJoin(limit: Int) {
    let crew = Crew()
    let isFirst = Atomic<Bool>(true)
    let most = Atomic<Int>(0)
    let didRun = crew.run(helpers: limit) {
      guard isFirst.exchange(false, ordering: .relaxed) else { return }
      var joined = 0
      while joined <= limit, crew.join() { joined += 1 }
      most.store(joined, ordering: .relaxed)
      for _ in 0..<joined { crew.leave() }
    }
    #expect(didRun)
    let joined = most.load(ordering: .relaxed)
    #expect(joined <= limit)
    #expect(!crew.join(), "The loop is over.")
  }

  /// A helper takes much longer than its caller yields.
  @Test(.enabled(if: CPUBackend.processorCount > 1, "One processor has no helpers"))
  func callersWaitForSlowHelpers() {
    let crew = Crew()
    for _ in 0..<20 {
      let caller = Self.currentThread
      let began = Atomic<Bool>(false)
      let wasCounted = Atomic<Bool>(false)
      let done = Atomic<Bool>(false)
      let helpers = Atomic<Int>(0)
      let didRun = crew.run(helpers: 1) {
        if Self.currentThread == caller {
          // Until there is help; it comes late on a machine that has other work.
          let end = ContinuousClock.now + .seconds(60)
          while !began.load(ordering: .relaxed), .now < end { sched_yield() }
          helpers.store(crew.helperCount, ordering: .relaxed)
          wasCounted.store(true, ordering: .relaxed)
        } else if !began.exchange(true, ordering: .relaxed) {
          while !wasCounted.load(ordering: .relaxed) { sched_yield() }
          usleep(3_000)
          done.store(true, ordering: .relaxed)
        }
      }
      #expect(didRun)
      let (wasAwake, wasDone) = (helpers.load(ordering: .relaxed), done.load(ordering: .relaxed))
      // One that was about to go may have stayed beside the one that was asked for.
      #expect(wasAwake >= 1)
      #expect(wasDone)
    }
  }

  private static var currentThread: UInt {
    #if canImport(Glibc)
      pthread_self()
    #else
      unsafe UInt(bitPattern: pthread_self())
    #endif
  }

  @Test func helpersGo() {
    let crew = Crew()
    let wasTaken = Atomic<Bool>(false)
    let first = crew.run(helpers: 3) {
      if !crew.run(helpers: 1, {}) { wasTaken.store(true, ordering: .relaxed) }
    }
    #expect(first)
    let nested = wasTaken.load(ordering: .relaxed)
    #expect(nested)
    for _ in 0..<500 where crew.helperCount > 0 { usleep(10_000) }
    #expect(crew.helperCount == 0)
    let again = crew.run(helpers: 1) {}
    #expect(again)
  }
}
