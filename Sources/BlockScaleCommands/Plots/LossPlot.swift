// SPDX-License-Identifier: Apache-2.0

/// A picture of the losses of some training runs, and how far they lie from the first.
package enum LossPlot {
  private static let size = (width: 1000.0, height: 560.0)
  private static let losses = (left: 88.0, right: 860.0, top: 72.0, bottom: 350.0)
  private static let differences = (left: 88.0, right: 860.0, top: 386.0, bottom: 504.0)

  /// Draws the picture as a self-contained SVG document.
  ///
  /// Thin lines are the losses of single steps, thick ones means over a fortieth of the run. The first
  /// curve is broad and pale, so that it shows beneath others that agree with it.
  package static func svg(_ curves: [LossCurve], title: String) -> String {
    let window = LossCurve.window(curves)
    let smoothed = curves.map { $0.smoothed(over: window) }
    let steps = Double(max(2, curves.map(\.losses.count).max() ?? 0))
    let x = PlotAxis.integers(1...steps, ends: (losses.left, losses.right), ticks: 10)
    var canvas = SVGCanvas()
    canvas.begin(size: size, title: title)
    canvas.text(title.printable.truncatedInMiddle(to: 90), x: losses.left, y: 34, class: "title")
    canvas.text(
      "loss in nats a token" + (window > 1 ? "; thick lines are means over \(window) steps" : ""),
      x: losses.left, y: 56)

    // Single steps far above all others, such as the first of a run, would flatten the rest.
    let lows = curves.flatMap(\.losses).filter(\.isFinite)
    let highs = smoothed.flatMap { $0 }.filter(\.isFinite)
    if let low = lows.min(), let high = highs.max() {
      let y = PlotAxis.rounded(low...high, ends: (losses.bottom, losses.top), ticks: 7)
      frame(&canvas, losses, y) { y.label($0) }
      for (index, curve) in curves.enumerated() {
        let raw = curve.losses.map { min($0, y.range.upperBound) }
        draw(&canvas, raw, x, y, class: "k\(index) raw")
        draw(&canvas, smoothed[index], x, y, class: style(index))
      }
    }
    canvas.upwardText("loss", x: 18, y: (losses.top + losses.bottom) / 2)

    let percents = smoothed.map { curve in
      zip(curve, smoothed[0]).map { 100 * ($0 - $1) / $1 }
    }
    let spread = percents.dropFirst().flatMap { $0 }.filter(\.isFinite)
    if let low = spread.min(), let high = spread.max() {
      let y = PlotAxis.rounded(
        min(low, 0)...max(high, 0), ends: (differences.bottom, differences.top), ticks: 4)
      frame(&canvas, differences, y) { "\(y.label($0)) %" }
      for index in percents.indices.dropFirst() {
        draw(&canvas, percents[index], x, y, class: style(index))
      }
      canvas.upwardText("against \(curves[0].name)", x: 18, y: 445)
    }
    for tick in x.ticks {
      canvas.text(x.label(tick), x: x.place(tick), y: size.height - 38, class: "middle")
    }
    canvas.text(
      "step", x: (losses.left + losses.right) / 2, y: size.height - 14, class: "middle")
    for (index, curve) in curves.enumerated() {
      let top = losses.top + 10 + Double(index) * 22
      canvas.polyline([(878, top), (902, top)], class: style(index))
      canvas.text(curve.name, x: 910, y: top + 4)
    }
    return canvas.finished()
  }

  private static func style(_ index: Int) -> String {
    "k\(index) curve\(index == 0 ? " first" : "")"
  }

  private static func frame(
    _ canvas: inout SVGCanvas,
    _ plot: (left: Double, right: Double, top: Double, bottom: Double), _ axis: PlotAxis,
    label: (Double) -> String
  ) {
    for tick in axis.ticks {
      let y = axis.place(tick)
      canvas.grid(from: (plot.left, y), to: (plot.right, y))
      canvas.text(label(tick), x: plot.left - 8, y: y + 4, class: "end")
    }
    canvas.rectangle(
      left: plot.left, top: plot.top, right: plot.right, bottom: plot.bottom, class: "frame")
  }

  private static func draw(
    _ canvas: inout SVGCanvas, _ values: [Double], _ x: PlotAxis, _ y: PlotAxis,
    class name: String
  ) {
    let points = values.enumerated().filter(\.element.isFinite).map {
      (x.place(Double($0.offset + 1)), y.place($0.element))
    }
    if !points.isEmpty { canvas.polyline(points, class: name) }
  }
}
