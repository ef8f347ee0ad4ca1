// SPDX-License-Identifier: Apache-2.0

/// A table of texts in aligned columns, two spaces apart.
package struct TextTable: Sendable {
  /// The side at which a column's texts line up.
  package enum Alignment: Sendable {
    /// For words.
    case left
    /// For numbers.
    case right
  }

  /// A column's title and alignment.
  package struct Column: Sendable {
    package let title: String
    package let alignment: Alignment

    package init(_ title: String, _ alignment: Alignment = .left) {
      self.title = title
      self.alignment = alignment
    }
  }

  /// The columns, from left to right.
  package let columns: [Column]
  private var rows: [[String]] = []

  /// Creates a table without rows.
  package init(_ columns: [Column]) {
    self.columns = columns
  }

  /// Adds a row at the end, with one text per column.
  package mutating func addRow(_ texts: [String]) {
    precondition(texts.count == columns.count, "A row has a text for every column")
    rows.append(texts.map(\.printable))
  }

  /// The titles and the rows, each with a line break at its end.
  ///
  /// With a width, the widest column of words gives way until the table fits, but not below eight
  /// columns nor its title: then lines are longer than asked for.
  package func render(width limit: Int? = nil) -> String {
    var widths = columns.map(\.title.displayWidth)
    for row in rows {
      for (index, text) in row.enumerated() {
        widths[index] = max(widths[index], text.displayWidth)
      }
    }
    if let limit { shrink(&widths, to: limit) }
    var output = ""
    append(columns.map(\.title), widths: widths, to: &output)
    for row in rows { append(row, widths: widths, to: &output) }
    return output
  }

  private func shrink(_ widths: inout [Int], to limit: Int) {
    let excess = widths.reduce(0, +) + 2 * (widths.count - 1) - limit
    let words = columns.indices.filter { columns[$0].alignment == .left }
    // The first of several that are equally wide, so that the outcome is always the same.
    guard excess > 0, let widest = words.max(by: { (widths[$0], $1) < (widths[$1], $0) }) else {
      return
    }
    let least = max(8, columns[widest].title.displayWidth)
    widths[widest] = min(widths[widest], max(least, widths[widest] - excess))
  }

  private func append(_ texts: [String], widths: [Int], to output: inout String) {
    var line = ""
    for (index, text) in texts.enumerated() {
      let cell = text.truncatedInMiddle(to: widths[index])
      if index > 0 { line += "  " }
      line +=
        columns[index].alignment == .left
        ? cell.paddedRight(to: widths[index]) : cell.paddedLeft(to: widths[index])
    }
    // What copies lines out of a terminal should not get their padding.
    while line.hasSuffix(" ") { line.removeLast() }
    output += line + "\n"
  }
}
