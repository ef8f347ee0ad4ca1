// SPDX-License-Identifier: Apache-2.0

import BlockScaleCPU

/// Lets one thread at a time write what all threads of a loop make, while the others go on.
///
/// The kernel lets one thread at a time write to a file, and the others spin until it is their turn; on two
/// cores that took a quarter of a conversion's time.
final class WriteQueue<Item: Sendable>: Sendable {
  struct State {
    var isWriting = false
    var waiting: [Item] = []
  }

  private let state = Guarded(State())
  private let limit: Int
  private let body: @Sendable (consuming Item) throws -> Void

  /// - Parameters:
  ///   - threads: How many threads there are; twice as many items wait at most.
  ///   - body: Writes one item.
  init(threads: Int, _ body: @escaping @Sendable (consuming Item) throws -> Void) {
    limit = 2 * threads
    self.body = body
  }

  /// Writes an item and those that others add meanwhile, or leaves it to the thread that is writing.
  ///
  /// Once all threads have returned and none with an error, everything is written. After an error nobody writes
  /// for others any more.
  func write(_ item: consuming Item) throws {
    // Given away each time, so that its memory can be used again at once.
    var next: Item? = consume item
    let writesOthers = state.withLock { state in
      if state.isWriting, state.waiting.count < limit, let item = next.take() {
        state.waiting.append(item)
      }
      // With enough in the queue this thread waits in the kernel, so that memory stays bounded.
      defer { state.isWriting = true }
      return !state.isWriting
    }
    while let item = next.take() {
      try body(item)
      guard writesOthers else { return }
      next = state.withLock { state in
        state.isWriting = !state.waiting.isEmpty
        return state.waiting.popLast()
      }
    }
  }
}
