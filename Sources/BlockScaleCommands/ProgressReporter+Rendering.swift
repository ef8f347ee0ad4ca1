// SPDX-License-Identifier: Apache-2.0

extension ProgressReporter.State {
  /// The part of the work that is done, from 0 to 1.
  package var fraction: Double {
    total > 0 ? min(max(Double(done) / Double(total), 0), 1) : 1
  }

  /// The whole percents that are done: 100 only at the very end.
  package var percent: Int {
    Int(fraction * 100)
  }

  /// The seconds that remain at the average speed so far, or nil while that says little.
  package var secondsLeft: Double? {
    guard done > 0, seconds >= 0.5 else { return nil }
    return Double(max(total - done, 0)) / Double(done) * seconds
  }
}

extension ProgressReporter {
  /// The changing line, in at most `width` columns and without a line break.
  ///
  /// A narrow terminal loses first the verb, then the item, the rate, the time, the amount and
  /// the bar; the percentage always stays.
  package static func render(_ state: State, width: Int, color: Bool) -> String {
    let amount = state.unit.amount(min(state.done, state.total), of: state.total)
    let full = state.unit.amount(state.total, of: state.total)
    let left = state.secondsLeft.map { ByteText.seconds($0) + " left" } ?? ""
    let rate = state.unit.rate(state.done, seconds: state.seconds)
    let barWidth = width >= 120 ? 24 : 12
    // In the order on the line, each with its rank among what a narrow terminal loses, and padded
    // to the greatest width that occurs, so that nothing jumps about.
    let parts: [(rank: Int, text: String)] = [
      (6, state.verb),
      (1, String(repeating: "━", count: barWidth)),
      (0, "\(state.percent) %".paddedLeft(to: 5)),
      (2, amount.paddedLeft(to: full.displayWidth)),
      (4, rate.paddedLeft(to: 11)),
      (3, left.paddedLeft(to: 16)),
      // Fewer columns than these tell no tensor from another.
      (5, String(repeating: " ", count: 12)),
    ]
    // Each part needs two spaces before it, except for the first.
    var room = width + 2
    var kept = 0
    for (rank, text) in parts.sorted(by: { $0.rank < $1.rank }) {
      guard rank == 0 || text.displayWidth + 2 <= room else { break }
      room -= text.displayWidth + 2
      kept += 1
    }
    return parts.filter { $0.rank < kept }.map { rank, text in
      switch rank {
      case 1: bar(state.fraction, width: barWidth, color: color)
      // What the others leave is the item's.
      case 5: state.item.printable.truncatedInMiddle(to: text.displayWidth + room)
      default: text
      }
    }.joined(separator: "  ")
  }

  /// A line for a log: `Quantizing: 40 %, 0.80/2.00 GB, 620.00 MB/s, 1.9 s left`.
  package static func renderPlain(_ state: State) -> String {
    let amount = state.unit.amount(state.done, of: state.total)
    let left = state.secondsLeft.map { ", \(ByteText.seconds($0)) left" } ?? ""
    let rate = state.unit.rate(state.done, seconds: state.seconds)
    // Of bytes a log need not know which they were; of steps it should say how they went.
    let item = if case .steps = state.unit { ", \(state.item.printable)" } else { "" }
    return "\(state.verb): \(state.percent) %, \(amount), \(rate)\(left)\(item)"
  }

  /// The line at the end: `Quantized 224 tensors: 1.97 GB in 3.2 s (615.63 MB/s)`.
  package static func finalLine(_ summary: String, _ state: State) -> String {
    let rate = state.unit.rate(state.done, seconds: state.seconds)
    return "\(summary): \(state.unit.total(state.done)) in \(ByteText.seconds(state.seconds)) "
      + "(\(rate))"
  }

  private static func bar(_ fraction: Double, width: Int, color: Bool) -> String {
    // In half columns, which the line-drawing characters can show.
    let halves = Int(fraction * Double(2 * width))
    let full = String(repeating: "━", count: halves / 2)
    let half = halves.isMultiple(of: 2) ? "" : "╸"
    let count = width - full.displayWidth - half.displayWidth
    guard color else {
      return full + half + String(repeating: "·", count: count)
    }
    // Cyan, then faint, then neither: legible on light and on dark backgrounds.
    let rest = String(repeating: "━", count: count)
    return "\u{1B}[36m\(full)\(half)\u{1B}[0m\u{1B}[2m\(rest)\u{1B}[0m"
  }
}
