// SPDX-License-Identifier: Apache-2.0

import BlockScaleCommands
import Dispatch
import Synchronization
import Testing

@Suite struct ProgressReporterTests {
  /// A clock that stands still until it is set.
  private final class Clock: Sendable {
    private let seconds = Mutex(0.0)
    func set(_ value: Double) { seconds.withLock { $0 = value } }
    func read() -> Double { seconds.withLock { $0 } }
  }

  private static let erase = "\r\u{1B}[2K"

  private static let state = {
    var state = ProgressReporter.State(verb: "Quantizing", total: 2_000_000_000)
    state.done = 870_000_000
    state.seconds = 1.5
    state.item = "model.layers.17.self_attn.q_proj.weight"
    return state
  }()

  @Test func modes() {
    typealias Mode = ProgressReporter.Mode
    #expect(Mode(isTerminal: true, quiet: false, noProgress: false) == .animated)
    #expect(Mode(isTerminal: false, quiet: false, noProgress: false) == .plain)
    #expect(Mode(isTerminal: true, quiet: true, noProgress: false) == .silent)
    #expect(Mode(isTerminal: false, quiet: false, noProgress: true) == .silent)
  }

  @Test(arguments: [
    (
      120,
      "Quantizing  ━━━━━━━━━━··············   43 %  0.87/2.00 GB  580.00 MB/s        1.9 s left"
        + "  model.layers.1…n.q_proj.weight"
    ),
    (
      90,
      "Quantizing  ━━━━━·······   43 %  0.87/2.00 GB  580.00 MB/s        1.9 s left  model…weight"
    ),
    (
      79, "━━━━━·······   43 %  0.87/2.00 GB  580.00 MB/s        1.9 s left  model.…weight"
    ),
    (77, "━━━━━·······   43 %  0.87/2.00 GB  580.00 MB/s        1.9 s left"),
    (60, "━━━━━·······   43 %  0.87/2.00 GB        1.9 s left"),
    (45, "━━━━━·······   43 %  0.87/2.00 GB"), (20, "━━━━━·······   43 %"), (7, " 43 %"),
  ])
  func fitsTheWidth(_ width: Int, _ expected: String) {
    #expect(ProgressReporter.render(Self.state, width: width, color: false) == expected)
  }

  @Test func noWidthIsExceeded() {
    for width in 5...200 {
      let line = ProgressReporter.render(Self.state, width: width, color: false)
      #expect(line.unicodeScalars.count <= width)
    }
  }

  @Test func colorsOnlyTheBar() {
    let line = ProgressReporter.render(Self.state, width: 20, color: true)
    #expect(line == "\u{1B}[36m━━━━━\u{1B}[0m\u{1B}[2m━━━━━━━\u{1B}[0m   43 %")
  }

  @Test func extremes() {
    var state = ProgressReporter.State(verb: "Copying", total: 0)
    #expect(ProgressReporter.render(state, width: 20, color: false) == "━━━━━━━━━━━━  100 %")
    #expect(ProgressReporter.renderPlain(state) == "Copying: 100 %, 0/0 B, – B/s")
    state.total = 10
    state.done = 20
    #expect(state.percent == 100)
    state.done = Int.max
    state.total = Int.max
    state.seconds = 1e-300
    #expect(!ProgressReporter.render(state, width: 200, color: false).isEmpty)
  }

  @Test func writesALinePerTenthToALog() throws {
    let pipe = try Pipe()
    let clock = Clock()
    let reporter = ProgressReporter(
      mode: .plain, terminal: pipe.terminal(isDevice: false), total: 1000, verb: "Quantizing",
      clock: clock.read)
    for (seconds, bytes) in [(1.0, 50), (2, 60), (3, 40), (4, 350), (5, 500)] {
      clock.set(seconds)
      reporter.advance(by: bytes, item: "x")
    }
    reporter.print("note")
    reporter.finish("Quantized 5 tensors")
    reporter.finish("Quantized 5 tensors")
    reporter.advance(by: 1, item: "x")
    #expect(
      try pipe.contents() == """
        Quantizing: 11 %, 0.11/1.00 kB, 55 B/s, 16.2 s left
        Quantizing: 50 %, 0.50/1.00 kB, 125 B/s, 4.0 s left
        note
        Quantized 5 tensors: 1.00 kB in 5.0 s (200 B/s)

        """)
  }

  @Test func redrawsTenTimesASecond() throws {
    let pipe = try Pipe()
    let clock = Clock()
    let reporter = ProgressReporter(
      mode: .animated, terminal: pipe.terminal(isDevice: true, noColor: "1"), total: 1000,
      verb: "Quantizing", clock: clock.read)
    // Steps of 1/64 s, for two seconds: sums without rounding.
    for step in 0..<128 {
      clock.set(Double(step) / 64)
      reporter.advance(by: 5, item: "tensor\u{1B}[2J")
    }
    reporter.print("note")
    reporter.finish("Done")
    let text = try pipe.contents()
    #expect(!text.contains("\u{1B}[2J"))
    // Every seventh step, and again after the note.
    let drawn = text.components(separatedBy: Self.erase).count - 1
    // One erasure each before the note and the final line.
    #expect(drawn == 19 + 1 + 2)
    #expect(text.contains(Self.erase + "note\n" + Self.erase + "━"))
    #expect(text.hasSuffix(Self.erase + "Done: 640 B in 2.0 s (323 B/s)\n"))
  }

  @Test func leavesACleanLineForAnError() throws {
    let pipe = try Pipe()
    let reporter = ProgressReporter(
      mode: .animated, terminal: pipe.terminal(isDevice: true), total: 10, verb: "Quantizing")
    reporter.advance(by: 1, item: "x")
    reporter.abandon()
    reporter.advance(by: 1, item: "x")
    reporter.finish("Done")
    let text = try pipe.contents()
    #expect(text.hasSuffix(Self.erase))
    #expect(text.components(separatedBy: Self.erase).count == 3)
  }

  @Test func saysNothingWhenSilent() throws {
    let pipe = try Pipe()
    let reporter = ProgressReporter(
      mode: .silent, terminal: pipe.terminal(isDevice: true), total: 10, verb: "Quantizing")
    reporter.advance(by: 10, item: "x")
    reporter.finish("Done")
    #expect(try pipe.contents() == "")
  }

  @Test func countsFromManyThreads() throws {
    let pipe = try Pipe()
    let reporter = ProgressReporter(
      mode: .animated, terminal: pipe.terminal(isDevice: true), total: 8000, verb: "Quantizing",
      clock: { 1 })
    DispatchQueue.concurrentPerform(iterations: 8) { thread in
      for _ in 0..<1000 { reporter.advance(by: 1, item: "tensor \(thread)") }
    }
    reporter.finish("Done")
    #expect(try pipe.contents().hasSuffix("Done: 8.00 kB in 1.0 s (8.00 kB/s)\n"))
  }
}

extension String {
  /// The parts between the places of a separator.
  fileprivate func components(separatedBy separator: String) -> [Substring] {
    split(separator: separator, omittingEmptySubsequences: false)
  }
}
