// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// A value that one thread at a time has.
///
/// A `Mutex` that ThreadSanitizer can follow. On Linux the kernel hands a contended `Mutex` from thread to
/// thread, of which the sanitizer learns nothing, so that it reports races where there are none; the
/// counter here tells it who came before.
package struct Guarded<Value: Sendable>: ~Copyable, Sendable {
  private let mutex: Mutex<Value>
  private let handovers = Atomic<UInt32>(0)

  package init(_ value: Value) { mutex = Mutex(value) }

  package borrowing func withLock<Result: Sendable, Failure: Error>(
    _ body: (inout Value) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try mutex.withLock { value throws(Failure) in
      _ = handovers.load(ordering: .acquiring)
      defer { handovers.wrappingAdd(1, ordering: .releasing) }
      return try body(&value)
    }
  }
}
