// SPDX-License-Identifier: Apache-2.0

/// Loss curves in characters.
package enum TerminalChart {
  /// What marks each curve; where two meet stands `*`.
  private static let marks: [Character] = ["o", "x", "+", "v"]
  /// Escapes that colour them.
  private static let colors = [36, 33, 32, 35]

  /// The curves in a frame, with a legend.
  ///
  /// - Parameters:
  ///   - width: The columns of the whole; at least 40.
  ///   - height: The rows of the frame.
  package static func text(
    _ curves: [LossCurve], width: Int, height: Int = 14, color: Bool
  ) -> String {
    precondition(curves.count <= marks.count, "There are not so many marks")
    let window = LossCurve.window(curves)
    let smoothed = curves.map { $0.smoothed(over: window) }
    let finite = smoothed.flatMap { $0 }.filter(\.isFinite)
    guard let low = finite.min(), let high = finite.max() else { return "" }
    let columns = max(40, width) - 10
    let steps = smoothed.map(\.count).max() ?? 0
    let axis = PlotAxis.rounded(low...high, ends: (Double(height - 1), 0), ticks: height / 2)
    // An index into the curves for each place, or -1 where several meet.
    var cells = [[Int?]](repeating: [Int?](repeating: nil, count: columns), count: height)
    for (index, values) in smoothed.enumerated() where !values.isEmpty {
      for column in 0..<columns {
        let place = Double(column) / Double(columns - 1) * Double(steps - 1)
        let step = Int(place.rounded())
        guard step < values.count, values[step].isFinite else { continue }
        let row = Int(axis.place(values[step]).rounded())
        let old = cells[row][column]
        cells[row][column] = old == nil || old == index ? index : -1
      }
    }
    func painted(_ index: Int) -> String {
      let mark = index < 0 ? "*" : String(marks[index])
      guard color, index >= 0 else { return mark }
      return "\u{1B}[\(colors[index])m\(mark)\u{1B}[0m"
    }
    let labels = Dictionary(
      axis.ticks.map { (Int(axis.place($0).rounded()), axis.label($0)) }
    ) { first, _ in first }
    var lines: [String] = []
    for row in 0..<height {
      lines.append(
        (labels[row] ?? "").paddedLeft(to: 7) + " │"
          + cells[row].map { $0.map(painted) ?? " " }.joined())
    }
    lines.append(String(repeating: " ", count: 7) + " └" + String(repeating: "─", count: columns))
    let last = "step \(steps)"
    lines.append(
      String(repeating: " ", count: 9) + "1".paddedRight(to: columns - last.displayWidth) + last)
    var legend = curves.indices.map { "\(painted($0)) \(curves[$0].name)" }
    if curves.count > 1 { legend.append(curves.count > 2 ? "* several" : "* both") }
    lines.append(String(repeating: " ", count: 9) + legend.joined(separator: "   "))
    return lines.map { line in
      // What copies lines out of a terminal should not get their padding.
      var line = line
      while line.hasSuffix(" ") { line.removeLast() }
      return line + "\n"
    }.joined()
  }
}
