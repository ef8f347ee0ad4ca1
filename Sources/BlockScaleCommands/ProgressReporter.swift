// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// Shows how far a command has come, on a terminal or in a log.
///
/// Worker threads report at will: none of them waits for another that is drawing.
package final class ProgressReporter: Sendable {
  /// How progress is shown.
  package enum Mode: Sendable {
    /// Not at all.
    case silent
    /// A line for every tenth of the work, for logs.
    case plain
    /// One line that changes in place.
    case animated

    /// Chooses from what the stream is and what the user asked for.
    package init(isTerminal: Bool, quiet: Bool, noProgress: Bool) {
      self = quiet || noProgress ? .silent : isTerminal ? .animated : .plain
    }
  }

  /// What work is counted in.
  package enum Unit: Sendable {
    /// Bytes of a source.
    case bytes
    /// Training steps, and how many tokens one of them has.
    case steps(tokens: Int)
    /// Sequences of a text, and how many tokens one of them has.
    case sequences(tokens: Int)

    func amount(_ done: Int, of total: Int) -> String {
      switch self {
      case .bytes: ByteText.bytes(done, of: total)
      case .steps: "\(done)/\(total) steps"
      case .sequences: "\(done)/\(total) sequences"
      }
    }

    func total(_ count: Int) -> String {
      switch self {
      case .bytes: ByteText.bytes(count)
      case .steps: "\(count) \(count == 1 ? "step" : "steps")"
      case .sequences: "\(count) \(count == 1 ? "sequence" : "sequences")"
      }
    }

    func rate(_ done: Int, seconds: Double) -> String {
      switch self {
      case .bytes: return ByteText.rate(bytes: done, seconds: seconds)
      case .steps(let tokens), .sequences(let tokens):
        guard seconds > 0 else { return "– tokens/s" }
        return "\(DecimalText.fixed(Double(done * tokens) / seconds, digits: 0)) tokens/s"
      }
    }
  }

  /// Where the work stands; see ``render(_:width:color:)``.
  package struct State: Sendable {
    /// What is being done: `Quantizing`.
    package var verb: String
    /// What is counted.
    package var unit: Unit
    /// The work, as it was at the beginning.
    package var total: Int
    /// The part that is done so far.
    package var done = 0
    /// The seconds since the beginning.
    package var seconds = 0.0
    /// What was last worked on, or how it went.
    package var item = ""

    package init(verb: String, total: Int, unit: Unit = .bytes) {
      self.verb = verb
      self.total = total
      self.unit = unit
    }
  }

  /// What belongs to the thread that draws.
  private struct Drawing {
    var lastSeconds = -1.0
    var lastTenth = 0
    var isLineShown = false
    var isOver = false
  }

  /// Ten redraws a second are smooth, and cost nothing next to the work.
  private static let interval = 0.1
  private static let eraseLine = "\r\u{1B}[2K"

  private let mode: Mode
  private let terminal: Terminal
  private let clock: @Sendable () -> Double
  private let state: Mutex<State>
  // Taken before `state`, never while holding it.
  private let drawing = Mutex(Drawing())

  /// Begins to measure time.
  ///
  /// - Parameter clock: The seconds since any moment; tests set it.
  package init(
    mode: Mode, terminal: Terminal, total: Int, unit: Unit = .bytes, verb: String,
    clock: (@Sendable () -> Double)? = nil
  ) {
    let start = ContinuousClock.now
    self.mode = mode
    self.terminal = terminal
    self.clock = clock ?? { start.duration(to: .now) / .seconds(1) }
    state = Mutex(State(verb: verb, total: total, unit: unit))
  }

  /// Counts finished work, and names what it was done on.
  package func advance(by amount: Int, item: String) {
    state.withLock {
      $0.done += amount
      $0.item = item
    }
    guard mode != .silent else { return }
    // Where another thread is drawing, the next step shows this one too.
    drawing.withLockIfAvailable { draw(&$0) }
  }

  /// Prints a line that stays, such as a warning, above the line that changes.
  ///
  /// In every mode: what to leave out under `--quiet` is the command's to decide.
  package func print(_ line: String) {
    drawing.withLock {
      erase(&$0)
      terminal.write(line + "\n")
      if mode != .silent { draw(&$0) }
    }
  }

  /// Prints the final line, and nothing from then on.
  ///
  /// - Parameter summary: What was done: `Quantized 224 tensors`.
  package func finish(_ summary: String) {
    let state = currentState()
    drawing.withLock {
      guard !$0.isOver else { return }
      $0.isOver = true
      guard mode != .silent else { return }
      erase(&$0)
      terminal.write(
        Self.finalLine(summary, state) + "\n")
    }
  }

  /// Takes the changing line away, and prints nothing from then on: an error message follows.
  package func abandon() {
    drawing.withLock {
      $0.isOver = true
      erase(&$0)
    }
  }

  private func currentState() -> State {
    state.withLock {
      $0.seconds = clock()
      return $0
    }
  }

  private func draw(_ drawing: inout Drawing) {
    guard !drawing.isOver else { return }
    let state = currentState()
    switch mode {
    case .silent: break
    case .plain:
      // The last tenth is the final line's to tell.
      let tenth = state.percent / 10
      guard tenth > drawing.lastTenth, tenth < 10 else { return }
      drawing.lastTenth = tenth
      terminal.write(Self.renderPlain(state) + "\n")
    case .animated:
      guard drawing.lastSeconds < 0 || state.seconds - drawing.lastSeconds >= Self.interval else {
        return
      }
      drawing.lastSeconds = state.seconds
      drawing.isLineShown = true
      // The last column stays free: some terminals break the line when it is filled.
      let line = Self.render(state, width: terminal.width - 1, color: terminal.usesColor)
      terminal.write(Self.eraseLine + line)
    }
  }

  private func erase(_ drawing: inout Drawing) {
    guard drawing.isLineShown else { return }
    drawing.isLineShown = false
    // The next step draws anew at once.
    drawing.lastSeconds = -1
    terminal.write(Self.eraseLine)
  }
}
