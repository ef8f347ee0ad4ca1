// SPDX-License-Identifier: Apache-2.0

import BlockScaleCommands
import SystemPackage
import Testing

#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A pipe in the place of a terminal, for less text than a pipe holds.
struct Pipe {
  let reader: FileDescriptor
  let writer: FileDescriptor

  init() throws {
    (reader, writer) = try FileDescriptor.pipe()
  }

  func terminal(isDevice: Bool, noColor: String? = nil) -> Terminal {
    Terminal(descriptor: writer.rawValue, isDevice: isDevice, term: "xterm", noColor: noColor)
  }

  /// All that was written; to be called once.
  func contents() throws -> String {
    try writer.close()
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      // Reads into the array, which outlives the call.
      let count = try unsafe buffer.withUnsafeMutableBytes { try unsafe reader.read(into: $0) }
      guard count > 0 else { break }
      bytes += buffer[..<count]
    }
    try reader.close()
    return String(decoding: bytes, as: UTF8.self)
  }
}

@Suite struct TerminalTests {
  @Test(arguments: [
    (true, "xterm", nil, true, true), (true, "xterm", "", true, true),
    (true, "xterm", "1", true, false), (true, nil, nil, true, true),
    (true, "dumb", nil, false, false), (false, "xterm", nil, false, false),
  ])
  func abilities(
    _ isDevice: Bool, _ term: String?, _ noColor: String?, _ isTerminal: Bool, _ usesColor: Bool
  ) {
    let terminal = Terminal(descriptor: 2, isDevice: isDevice, term: term, noColor: noColor)
    #expect(terminal.isTerminal == isTerminal)
    #expect(terminal.usesColor == usesColor)
  }

  @Test func aPipeIsNoTerminal() throws {
    let pipe = try Pipe()
    let terminal = Terminal(descriptor: pipe.writer.rawValue)
    #expect(!terminal.isTerminal)
    #expect(terminal.width == 80)
    terminal.write("é\n")
    #expect(try pipe.contents() == "é\n")
  }

  @Test func reportsWhatCannotBeWritten() {
    let terminal = Terminal(descriptor: -1)
    #expect(throws: Errno.badFileDescriptor) { try terminal.writeAll("x") }
    terminal.write("x")
  }

  @Test func writesWhatAFullNonBlockingPipeDoesNotTakeAtOnce() async throws {
    let pipe = try Pipe()
    let flags = fcntl(pipe.writer.rawValue, F_GETFL)
    #expect(fcntl(pipe.writer.rawValue, F_SETFL, flags | O_NONBLOCK) == 0)
    let text = String(repeating: "0123456789", count: 50_000)
    let terminal = pipe.terminal(isDevice: false)
    let reader = pipe.reader
    let count = Task.detached {
      var count = 0
      var buffer = [UInt8](repeating: 0, count: 10_000)
      while count < 500_000 {
        // Reads into the array, which outlives the call.
        count += try unsafe buffer.withUnsafeMutableBytes { try unsafe reader.read(into: $0) }
      }
      return count
    }
    try terminal.writeAll(text)
    #expect(try await count.value == 500_000)
    #expect(try pipe.contents() == "")
  }

  #if os(Linux)
    @Test func followsTheWindow() throws {
      // The near end of a new pseudo-terminal.
      let master = try FileDescriptor.open(FilePath("/dev/ptmx"), .readWrite)
      defer { try? master.close() }
      let terminal = Terminal(descriptor: master.rawValue)
      #expect(terminal.width == 80)
      for columns: UInt16 in [132, 60] {
        var size = winsize(ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0)
        // The kernel reads the structure, whose pointer lasts for the call.
        #expect(unsafe ioctl(master.rawValue, numericCast(TIOCSWINSZ), &size) == 0)
        #expect(terminal.width == Int(columns))
      }
    }
  #endif
}
