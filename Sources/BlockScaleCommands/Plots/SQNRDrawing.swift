// SPDX-License-Identifier: Apache-2.0

extension SQNRDrawing {
  /// The whole document.
  mutating func draw() -> String {
    canvas.begin(size: Self.size, title: title)
    drawHeading()
    drawDecibels()
    drawLayers()
    let plot = Self.plot
    canvas.rectangle(
      left: plot.left, top: plot.top, right: plot.right, bottom: plot.bottom, class: "frame")
    for kind in kinds.indices { drawTrend(of: kind) }
    for kind in kinds.indices { drawMarks(of: kind) }
    drawLegend()
    return canvas.finished()
  }

  private mutating func drawHeading() {
    let left = Self.plot.left
    canvas.text(title.truncatedInMiddle(to: 90), x: left, y: 34, class: "title")
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
    canvas.text(facts, x: left, y: 56)
  }

  private mutating func drawDecibels() {
    let plot = Self.plot
    for (isShown, top, label) in [
      (hasExact, plot.top, "exact"), (hasUndefined, plot.bottom - Self.strip, "n/a"),
    ] where isShown {
      canvas.rectangle(
        left: plot.left, top: top, right: plot.right, bottom: top + Self.strip, class: "strip")
      canvas.text(label, x: plot.left - 8, y: top + Self.strip / 2 + 4, class: "end")
    }
    for tick in decibels?.ticks ?? [] {
      let y = y(tick)
      canvas.grid(from: (plot.left, y), to: (plot.right, y))
      canvas.text(decibels?.label(tick) ?? "", x: plot.left - 8, y: y + 4, class: "end")
    }
    canvas.upwardText("SQNR (dB)", x: 14, y: (plot.top + plot.bottom) / 2)
  }

  private mutating func drawLayers() {
    let plot = Self.plot
    let low = plot.bottom + 18
    for tick in layers?.ticks ?? [] {
      let x = layers?.place(tick) ?? 0
      canvas.grid(from: (x, plot.top), to: (x, plot.bottom))
      canvas.text(layers?.label(tick) ?? "", x: x, y: low, class: "middle")
    }
    if layers != nil {
      canvas.text("layer", x: (plot.left + otherLeft) / 2, y: low + 24, class: "middle")
    }
    guard !unlayered.isEmpty else { return }
    if layers != nil { canvas.grid(from: (otherLeft, plot.top), to: (otherLeft, plot.bottom)) }
    let label = layers == nil ? "tensors in file order" : "other"
    canvas.text(label, x: (otherLeft + plot.right) / 2, y: low + 24, class: "middle")
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
    let points = sums.sorted { $0.key < $1.key }.map { _, sum in (sum.x, sum.y / sum.count) }
    canvas.polyline(points, class: "k\(kind) trend")
  }

  private mutating func drawMarks(of kind: Int) {
    // Many tensors in a layer, such as experts, get smaller marks.
    let radius = columnWidth > 0 && Double(marks.count) / (740 / columnWidth) > 40 ? 2.0 : 3.2
    canvas.line("<g class=\"k\(kind) marks\">")
    for (index, mark) in marks.enumerated() where mark.kind == kind {
      let shape = PlotStyle.shape(kind: kind, x: x(index), y: y(mark.sqnr), radius: radius)
      let element = shape.prefix { $0 != " " }
      let tip = "\(mark.name): \(ByteText.sqnr(mark.sqnr))".xmlEscaped
      canvas.line("<\(shape)><title>\(tip)</title></\(element)>")
    }
    canvas.line("</g>")
  }

  private mutating func drawLegend() {
    for (kind, name) in kinds.enumerated() {
      let y = Self.plot.top + 10 + Double(kind) * 22
      let shape = PlotStyle.shape(kind: kind, x: Self.legendLeft, y: y, radius: 4.5)
      canvas.line("<g class=\"k\(kind) key\"><\(shape)/></g>")
      canvas.text(name.truncatedInMiddle(to: 20), x: Self.legendLeft + 14, y: y + 4)
    }
  }
}
