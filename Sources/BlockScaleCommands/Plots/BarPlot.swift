// SPDX-License-Identifier: Apache-2.0

/// A picture of some quantities as horizontal bars.
package enum BarPlot {
  /// Draws the picture as a self-contained SVG document.
  ///
  /// - Parameters:
  ///   - bars: Names, quantities and how these are written.
  ///   - unit: What is measured.
  package static func svg(
    _ bars: [(name: String, value: Double, label: String)], unit: String, title: String
  ) -> String {
    let (left, right, top, step) = (150.0, 860.0, 84.0, 40.0)
    let bottom = top + Double(bars.count) * step
    let most = bars.map(\.value).filter(\.isFinite).max() ?? 0
    // Bars begin at zero, or their lengths would mean nothing.
    let axis = PlotAxis.fromZero(to: max(most, 0.01), ends: (left, right), ticks: 8)
    let zero = axis.place(0)
    var canvas = SVGCanvas()
    canvas.begin(size: (1000, bottom + 56), title: title)
    canvas.text(title.printable.truncatedInMiddle(to: 90), x: 24, y: 34, class: "title")
    canvas.text(unit, x: 24, y: 56)
    for tick in axis.ticks {
      let x = axis.place(tick)
      canvas.grid(from: (x, top - 8), to: (x, bottom))
      canvas.text(axis.label(tick), x: x, y: bottom + 20, class: "middle")
    }
    for (index, bar) in bars.enumerated() {
      let y = top + Double(index) * step
      if bar.value.isFinite {
        canvas.rectangle(
          left: zero, top: y, right: axis.place(max(bar.value, 0)), bottom: y + step - 12,
          class: "k\(index % PlotStyle.colors.count)")
        canvas.text(
          bar.label, x: axis.place(max(bar.value, 0)) + 8, y: y + step / 2 - 2, class: "value")
      }
      canvas.text(
        bar.name.printable.truncatedInMiddle(to: 18), x: zero - 12, y: y + step / 2 - 2,
        class: "end")
    }
    return canvas.finished()
  }
}
