// SPDX-License-Identifier: Apache-2.0

package import SystemPackage

#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// One of the process's output streams, and what can be shown on it.
///
/// Writes are not buffered: what is written is there when the process ends, in whatever way.
package struct Terminal: Sendable {
  /// The file descriptor.
  package let descriptor: CInt
  /// Whether someone watches, on a device that can move its cursor.
  package let isTerminal: Bool
  /// Whether text may be coloured: on a terminal, unless `NO_COLOR` says otherwise.
  package let usesColor: Bool

  /// The stream for progress and messages.
  package static let standardError = Terminal(descriptor: STDERR_FILENO)
  /// The stream for results.
  package static let standardOutput = Terminal(descriptor: STDOUT_FILENO)

  /// Asks a file descriptor and the environment.
  package init(descriptor: CInt) {
    self.init(
      descriptor: descriptor, isDevice: isatty(descriptor) == 1,
      term: Self.environment("TERM"), noColor: Self.environment("NO_COLOR"))
  }

  /// Decides what can be shown; see https://no-color.org for the second variable.
  package init(descriptor: CInt, isDevice: Bool, term: String?, noColor: String?) {
    self.descriptor = descriptor
    isTerminal = isDevice && term != "dumb"
    usesColor = isTerminal && (noColor ?? "").isEmpty
  }

  /// The columns at this moment; 80 where there is no telling.
  package var width: Int {
    var size = winsize()
    // The kernel fills in the structure, whose pointer lasts for the call.
    let status = unsafe ioctl(descriptor, numericCast(TIOCGWINSZ), &size)
    return status == 0 && size.ws_col > 0 ? Int(size.ws_col) : 80
  }

  /// Writes a text, whole if at all possible.
  ///
  /// For progress and messages, whose loss must not end the work.
  package func write(_ text: String) {
    try? writeAll(text)
  }

  /// Writes a text, whole.
  ///
  /// For results, whose loss is an error.
  package func writeAll(_ text: String) throws(Errno) {
    let bytes = Array(text.utf8)
    var done = 0
    while done < bytes.count {
      // Reads within the array, which outlives the call.
      let count = unsafe bytes.withUnsafeBytes {
        unsafe systemWrite(descriptor, $0.baseAddress! + done, $0.count - done)
      }
      if count >= 0 {
        done += count
        continue
      }
      switch errno {
      case EINTR: continue
      // A terminal that another process has made non-blocking: wait until it takes more.
      case EAGAIN: waitUntilWritable()
      default: throw Errno(rawValue: errno)
      }
    }
  }

  /// Writes a text, whole, or says in a sentence why not.
  func writeResult(_ text: String) throws(CommandError) {
    do throws(Errno) {
      try writeAll(text)
    } catch {
      throw CommandError("The result cannot be written: \(error.description).")
    }
  }

  private func waitUntilWritable() {
    var request = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
    // The kernel fills in the structure, whose pointer lasts for the call.
    _ = unsafe poll(&request, 1, -1)
  }

  private static func environment(_ name: String) -> String? {
    // The text is copied at once, and no part of this package changes the environment.
    guard let value = unsafe getenv(name) else { return nil }
    // Environment strings end with a zero byte.
    return unsafe String(cString: value)
  }
}

/// `write(2)`, out of the reach of methods of the same name.
private func systemWrite(_ descriptor: CInt, _ bytes: UnsafeRawPointer, _ count: Int) -> Int {
  // The caller vouches for the bytes.
  unsafe write(descriptor, bytes, count)
}
