// SPDX-License-Identifier: Apache-2.0

import BlockScaleCPU
import Testing

@testable import Checkpoints

@Suite struct WriteQueueTests {
  @Test func everyItemIsWrittenOnce() throws {
    let counts = Guarded([Int](repeating: 0, count: 20_000))
    let queue = WriteQueue<Int>(threads: 4) { item in
      let item = item
      counts.withLock { $0[item] += 1 }
    }
    try parallelFor(20_000, threads: 4) { (index) throws in try queue.write(index) }
    #expect(counts.withLock { $0.allSatisfy { $0 == 1 } })
  }

  @Test func othersGoOnWhileOneWrites() throws {
    let written = Guarded<[Int]>([])
    // What other threads do while the first item is written.
    let others = Guarded<(@Sendable () throws -> Void)?>(nil)
    let queue = WriteQueue<Int>(threads: 2) { item in
      let item = item
      if let others = others.withLock({ $0.take() }) { try others() }
      written.withLock { $0.append(item) }
    }
    others.withLock {
      $0 = {
        for item in 1...4 { try queue.write(item) }
        #expect(written.withLock { $0 } == [])
        // The queue is full.
        try queue.write(5)
        #expect(written.withLock { $0 } == [5])
      }
    }
    try queue.write(0)
    #expect(written.withLock { $0 }.prefix(2) == [5, 0])
    #expect(written.withLock { $0 }.sorted() == Array(0...5))
    try queue.write(6)
    #expect(written.withLock { $0 }.last == 6)
  }

  @Test func whoWritesThrows() throws {
    struct Full: Error {}
    let queue = WriteQueue<Int>(threads: 2) { item in if item > 0 { throw Full() } }
    try queue.write(0)
    #expect(throws: Full.self) { try queue.write(1) }
  }

  @Test func whoWritesForOthersThrows() throws {
    struct Full: Error {}
    let others = Guarded<(@Sendable () throws -> Void)?>(nil)
    let queue = WriteQueue<Int>(threads: 2) { item in
      if item > 0 { throw Full() }
      if let others = others.withLock({ $0.take() }) { try others() }
    }
    others.withLock { $0 = { try queue.write(1) } }
    #expect(throws: Full.self) { try queue.write(0) }
  }
}
