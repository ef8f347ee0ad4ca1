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
  /// The number of the first signal, or zero.
  private let signalNumber = Atomic<Int32>(0)

  /// Whether there was an interrupt or a request to terminate.
  var isRaised: Bool { exitCode != 128 }

  /// As a shell reports a process that the signal ended.
  var exitCode: Int32 { 128 + signalNumber.load(ordering: .relaxed) }

  /// From now on the first signal raises the flag and says what happens; the second ends the process
  /// at once.
  ///
  /// A pipe that closes no longer ends the process: nobody reading its progress does not make its work
  /// worthless. Nor does a file that grows past a limit: writing it fails, and says so.
  func install(notice: String) {
    signal(SIGPIPE, SIG_IGN)
    signal(SIGXFSZ, SIG_IGN)
    for number in [SIGINT, SIGTERM] {
      // The source below takes the signal instead of the default action.
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler { [self] in
        let isFirst = signalNumber.compareExchange(
          expected: 0, desired: number, ordering: .relaxed
        ).exchanged
        guard isFirst else { _exit(128 + number) }
        Terminal.standardError.write("\n\(notice)\n")
      }
      source.resume()
      // The source lives until the process ends.
      // A retain without a release is the purpose here.
      _ = unsafe Unmanaged.passRetained(source as AnyObject)
    }
  }
}
