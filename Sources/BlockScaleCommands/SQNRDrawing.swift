// SPDX-License-Identifier: Apache-2.0

extension SQNRDrawing {
  /// The whole document.
  mutating func draw() -> String {
    let width = Self.number(Self.size.width)
    let height = Self.number(Self.size.height)
    // The title is an attribute: as an element it would pop up over every empty spot.
    line(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(width) \(height)\""
        + " role=\"img\" aria-label=\"\(title.xmlEscaped)\">")
    line("<style>\n\(SQNRStyle.sheet)\n</style>")
    line("<rect class=\"back\" width=\"\(width)\" height=\"\(height)\"/>")
    drawHeading()
    drawDecibels()
    drawLayers()
    let plot = Self.plot
    line(
      "<rect class=\"frame\" x=\"\(Self.number(plot.left))\" y=\"\(Self.number(plot.top))\""
        + " width=\"\(Self.number(plot.right - plot.left))\""
        + " height=\"\(Self.number(plot.bottom - plot.top))\"/>")
    for kind in kinds.indices { drawTrend(of: kind) }
    for kind in kinds.indices { drawMarks(of: kind) }
    drawLegend()
    line("</svg>")
    return output
  }

  private mutating func drawHeading() {
    let left = Self.plot.left
    text(title.truncatedInMiddle(to: 90), x: left, y: 34, class: "title")
    var facts = "\(marks.count) \(marks.count == 1 ? "tensor" : "tensors")"
    let values = marks.map(\.sqnr).filter { !$0.isNaN }.sorted()
    if !values.isEmpty {
      // The lower of the two in the middle, which is one of the values, exact ones included.
      facts += ", median \(ByteText.sqnr(values[(values.count - 1) / 2]))"
    }
    if let lowest = marks.filter({ $0.sqnr.isFinite }).min(by: { $0.sqnr < $1.sqnr }) {
      facts +=
        ", lowest \(ByteText.sqnr(lowest.sqnr)) in \(lowest.name.truncatedInMiddle(to: 70))"
    }
    text(facts, x: left, y: 56)
  }

  private mutating func drawDecibels() {
    let plot = Self.plot
    for (isShown, top, label) in [
      (hasExact, plot.top, "exact"), (hasUndefined, plot.bottom - Self.strip, "n/a"),
    ] where isShown {
      line(
        "<rect class=\"strip\" x=\"\(Self.number(plot.left))\" y=\"\(Self.number(top))\""
          + " width=\"\(Self.number(plot.right - plot.left))\""
          + " height=\"\(Self.number(Self.strip))\"/>")
      text(label, x: plot.left - 8, y: top + Self.strip / 2 + 4, class: "end")
    }
    for tick in decibels?.ticks ?? [] {
      let y = y(tick)
      grid(from: (plot.left, y), to: (plot.right, y))
      text(decibels?.label(tick) ?? "", x: plot.left - 8, y: y + 4, class: "end")
    }
    let middle = (plot.top + plot.bottom) / 2
    let place = "transform=\"translate(18 \(Self.number(middle))) rotate(-90)\""
    line("<text class=\"middle\" \(place)>SQNR (dB)</text>")
  }

  private mutating func drawLayers() {
    let plot = Self.plot
    let low = plot.bottom + 18
    for tick in layers?.ticks ?? [] {
      let x = layers?.place(tick) ?? 0
      grid(from: (x, plot.top), to: (x, plot.bottom))
      text(layers?.label(tick) ?? "", x: x, y: low, class: "middle")
    }
    if layers != nil {
      text("layer", x: (plot.left + otherLeft) / 2, y: low + 24, class: "middle")
    }
    guard !unlayered.isEmpty else { return }
    if layers != nil { grid(from: (otherLeft, plot.top), to: (otherLeft, plot.bottom)) }
    let label = layers == nil ? "tensors in file order" : "other"
    text(label, x: (otherLeft + plot.right) / 2, y: low + 24, class: "middle")
  }

  /// A faint line through the means of each layer, which shows how a kind fares with depth.
  private mutating func drawTrend(of kind: Int) {
    var sums: [Int: (x: Double, y: Double, count: Double)] = [:]
    for (index, mark) in marks.enumerated() where mark.kind == kind && mark.sqnr.isFinite {
      guard let layer = mark.layer else { continue }
      let sum = sums[layer] ?? (0, 0, 0)
      sums[layer] = (x(index), sum.y + y(mark.sqnr), sum.count + 1)
    }
    guard sums.count > 1 else { return }
    let points = sums.sorted { $0.key < $1.key }.map { _, sum in
      "\(Self.number(sum.x)),\(Self.number(sum.y / sum.count))"
    }
    line("<polyline class=\"k\(kind) trend\" points=\"\(points.joined(separator: " "))\"/>")
  }

  private mutating func drawMarks(of kind: Int) {
    // Many tensors in a layer, such as experts, get smaller marks.
    let radius = columnWidth > 0 && Double(marks.count) / (740 / columnWidth) > 40 ? 2.0 : 3.2
    line("<g class=\"k\(kind) marks\">")
    for (index, mark) in marks.enumerated() where mark.kind == kind {
      let shape = SQNRStyle.shape(kind: kind, x: x(index), y: y(mark.sqnr), radius: radius)
      let element = shape.prefix { $0 != " " }
      let tip = "\(mark.name): \(ByteText.sqnr(mark.sqnr))".xmlEscaped
      line("<\(shape)><title>\(tip)</title></\(element)>")
    }
    line("</g>")
  }

  private mutating func drawLegend() {
    for (kind, name) in kinds.enumerated() {
      let y = Self.plot.top + 10 + Double(kind) * 22
      let shape = SQNRStyle.shape(kind: kind, x: Self.legendLeft, y: y, radius: 4.5)
      line("<g class=\"k\(kind) key\"><\(shape)/></g>")
      text(name.truncatedInMiddle(to: 20), x: Self.legendLeft + 14, y: y + 4)
    }
  }

  private mutating func grid(from start: (x: Double, y: Double), to end: (x: Double, y: Double)) {
    line(
      "<line class=\"grid\" x1=\"\(Self.number(start.x))\" y1=\"\(Self.number(start.y))\""
        + " x2=\"\(Self.number(end.x))\" y2=\"\(Self.number(end.y))\"/>")
  }

  private mutating func text(
    _ text: String, x: Double, y: Double, class name: String? = nil
  ) {
    let style = name.map { " class=\"\($0)\"" } ?? ""
    line(
      "<text\(style) x=\"\(Self.number(x))\" y=\"\(Self.number(y))\">\(text.xmlEscaped)</text>")
  }

  private mutating func line(_ text: String) {
    output += text + "\n"
  }

  private static func number(_ value: Double) -> String {
    value == value.rounded()
      ? DecimalText.fixed(value, digits: 0) : DecimalText.fixed(value, digits: 1)
  }
}
