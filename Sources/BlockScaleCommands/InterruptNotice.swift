// SPDX-License-Identifier: Apache-2.0

import Dispatch

#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What a conversion says when the user interrupts it.
enum InterruptNotice {
  /// Ends the process on an interrupt or a request to terminate, with a word on how to go on.
  ///
  /// Nothing has to be cleaned up: what is written so far stands under a temporary name.
  static func install(output: String) {
    for number in [SIGINT, SIGTERM] {
      // The source below takes the signal instead of the default action.
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler {
        Terminal.standardError.write(
          "\nInterrupted; the same command with --resume goes on with '\(output)'.\n")
        // As a shell reports a process that a signal ended.
        _exit(128 + number)
      }
      source.resume()
      // The source lives until the process ends.
      // A retain without a release is the purpose here.
      _ = unsafe Unmanaged.passRetained(source as AnyObject)
    }
  }
}
