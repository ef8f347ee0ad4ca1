// SPDX-License-Identifier: Apache-2.0

import Dispatch
import Synchronization

#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Whether the user has asked to stop, for work that has something to save first.
final class InterruptFlag: Sendable {
  private let count = Atomic<Int>(0)

  /// Whether there was an interrupt or a request to terminate.
  var isRaised: Bool { count.load(ordering: .relaxed) > 0 }

  /// From now on the first signal raises the flag and says what happens; the second ends the process
  /// at once.
  func install(notice: String) {
    for number in [SIGINT, SIGTERM] {
      // The source below takes the signal instead of the default action.
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler { [self] in
        guard count.wrappingAdd(1, ordering: .relaxed).oldValue == 0 else {
          // As a shell reports a process that a signal ended.
          _exit(128 + number)
        }
        Terminal.standardError.write("\n\(notice)\n")
      }
      source.resume()
      // The source lives until the process ends.
      // A retain without a release is the purpose here.
      _ = unsafe Unmanaged.passRetained(source as AnyObject)
    }
  }
}
