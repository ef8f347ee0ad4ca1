// SPDX-License-Identifier: Apache-2.0

/// A picture of the signal-to-quantization-noise ratio of every tensor of a model.
package enum SQNRPlot {
  /// Draws the picture as a self-contained SVG document, without scripts.
  ///
  /// - Parameter points: The tensors in the order of their files. The same points in the same
  ///   order always make the same text.
  package static func svg(points: [(name: String, sqnr: Double)], title: String) -> String {
    var drawing = SQNRDrawing(points: points, title: title)
    return drawing.draw()
  }
}

/// The layout of one picture, and its text so far.
struct SQNRDrawing {
  /// A tensor in the picture.
  struct Mark {
    let name: String
    let sqnr: Double
    let layer: Int?
    /// An index into `kinds`.
    let kind: Int
  }

  // The picture's measures, in the units of its view box.
  static let size = (width: 1000.0, height: 500.0)
  static let plot = (left: 64.0, right: 796.0, top: 72.0, bottom: 436.0)
  /// The height of the strips for values that have no place on the axis.
  static let strip = 28.0
  static let margin = 6.0
  static let legendLeft = 820.0

  let title: String
  let marks: [Mark]
  /// The kinds in the legend, in order of appearance; the rarest share the last if they are many.
  let kinds: [String]
  /// The tensors without a layer, by their place in `marks`.
  let unlayered: [Int]
  let layers: PlotAxis?
  /// The width of one layer's column.
  let columnWidth: Double
  /// The left end of the part for tensors without a layer.
  let otherLeft: Double
  let decibels: PlotAxis?
  let hasExact: Bool
  let hasUndefined: Bool
  var canvas = SVGCanvas()

  init(points: [(name: String, sqnr: Double)], title: String) {
    self.title = title.printable
    let places = points.map { TensorPlace($0.name.printable) }
    let kinds = Self.legend(of: places.map(\.kind))
    self.kinds = kinds
    marks = zip(points, places).map { point, place in
      Mark(
        name: point.name.printable, sqnr: point.sqnr, layer: place.layer,
        kind: kinds.firstIndex(of: place.kind) ?? kinds.count - 1)
    }
    unlayered = marks.indices.filter { [marks] in marks[$0].layer == nil }

    let plot = Self.plot
    let numbers = marks.compactMap(\.layer)
    if let first = numbers.min(), let last = numbers.max() {
      let otherWidth = unlayered.isEmpty ? 0 : min(max(Double(unlayered.count) * 12, 56), 160)
      otherLeft = plot.right - otherWidth
      let count = Double(last) - Double(first) + 1
      // The margin keeps the outermost marks off the frame.
      let (left, right) = (plot.left + Self.margin, otherLeft - Self.margin)
      columnWidth = (right - left) / count
      layers = .integers(
        Double(first)...Double(last),
        ends: (left + columnWidth / 2, right - columnWidth / 2), ticks: 16)
    } else {
      otherLeft = plot.left
      columnWidth = 0
      layers = nil
    }

    let values = points.map(\.sqnr)
    hasExact = values.contains(.infinity)
    hasUndefined = values.contains { $0.isNaN || $0 == -.infinity }
    let finite = values.filter(\.isFinite)
    if let low = finite.min(), let high = finite.max() {
      decibels = .rounded(
        low...high,
        ends: (
          // A gap keeps the strips' labels apart from those of the ticks.
          plot.bottom - (hasUndefined ? Self.strip + 8 : 0),
          plot.top + (hasExact ? Self.strip + 8 : 0)
        ), ticks: 7)
    } else {
      decibels = nil
    }
  }

  /// The kinds that get a colour of their own.
  private static func legend(of kinds: [String]) -> [String] {
    var counts: [String: Int] = [:]
    var order: [String] = []
    for kind in kinds {
      if counts[kind] == nil { order.append(kind) }
      counts[kind, default: 0] += 1
    }
    let limit = PlotStyle.colors.count
    guard order.count > limit else { return order }
    // The most frequent ones; of equally frequent ones those that come first.
    let ranked = order.indices.sorted {
      (-counts[order[$0], default: 0], $0) < (-counts[order[$1], default: 0], $1)
    }
    return ranked.prefix(limit - 1).sorted().map { order[$0] } + ["other kinds"]
  }

  /// The place of a mark from the left.
  func x(_ index: Int) -> Double {
    let mark = marks[index]
    if let layer = mark.layer, let layers {
      // Kinds stand side by side within their layer's column, in the order of the legend.
      let distance = min(columnWidth * 0.7 / Double(kinds.count), 12)
      let offset = Double(mark.kind) - Double(kinds.count - 1) / 2
      return layers.place(Double(layer)) + offset * distance
    }
    var low = 0
    var high = unlayered.count
    // The position among the tensors without a layer, which are in ascending order.
    while low < high {
      let middle = (low + high) / 2
      if unlayered[middle] < index { low = middle + 1 } else { high = middle }
    }
    let fraction = (Double(low) + 0.5) / Double(unlayered.count)
    let (left, right) = (otherLeft + Self.margin, Self.plot.right - Self.margin)
    return left + fraction * (right - left)
  }

  /// The place of a value from the top.
  func y(_ sqnr: Double) -> Double {
    if sqnr == .infinity { return Self.plot.top + Self.strip / 2 }
    guard sqnr.isFinite, let decibels else { return Self.plot.bottom - Self.strip / 2 }
    return decibels.place(sqnr)
  }
}
