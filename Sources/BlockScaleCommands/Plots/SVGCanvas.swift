// SPDX-License-Identifier: Apache-2.0

/// An SVG document in the making: self-contained, without scripts, legible on light and on dark.
struct SVGCanvas {
  private(set) var output = ""

  /// Opens the document, with a background.
  mutating func begin(size: (width: Double, height: Double), title: String) {
    let (width, height) = (Self.number(size.width), Self.number(size.height))
    // The title is an attribute: as an element it would pop up over every empty spot.
    line(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(width) \(height)\""
        + " role=\"img\" aria-label=\"\(title.xmlEscaped)\">")
    line("<style>\n\(PlotStyle.sheet)\n</style>")
    line("<rect class=\"back\" width=\"\(width)\" height=\"\(height)\"/>")
  }

  /// Closes the document.
  mutating func finished() -> String {
    line("</svg>")
    return output
  }

  mutating func grid(from start: (x: Double, y: Double), to end: (x: Double, y: Double)) {
    line(
      "<line class=\"grid\" x1=\"\(Self.number(start.x))\" y1=\"\(Self.number(start.y))\""
        + " x2=\"\(Self.number(end.x))\" y2=\"\(Self.number(end.y))\"/>")
  }

  mutating func rectangle(
    left: Double, top: Double, right: Double, bottom: Double, class name: String
  ) {
    line(
      "<rect class=\"\(name)\" x=\"\(Self.number(left))\" y=\"\(Self.number(top))\""
        + " width=\"\(Self.number(right - left))\" height=\"\(Self.number(bottom - top))\"/>")
  }

  mutating func text(_ text: String, x: Double, y: Double, class name: String? = nil) {
    let style = name.map { " class=\"\($0)\"" } ?? ""
    line(
      "<text\(style) x=\"\(Self.number(x))\" y=\"\(Self.number(y))\">\(text.xmlEscaped)</text>")
  }

  /// A text that reads upwards.
  mutating func upwardText(_ text: String, x: Double, y: Double) {
    let place = "transform=\"translate(\(Self.number(x)) \(Self.number(y))) rotate(-90)\""
    line("<text class=\"middle\" \(place)>\(text.xmlEscaped)</text>")
  }

  mutating func polyline(_ points: [(x: Double, y: Double)], class name: String) {
    let places = points.map { "\(Self.number($0.x)),\(Self.number($0.y))" }
    line("<polyline class=\"\(name)\" points=\"\(places.joined(separator: " "))\"/>")
  }

  mutating func line(_ text: String) {
    output += text + "\n"
  }

  static func number(_ value: Double) -> String {
    value == value.rounded()
      ? DecimalText.fixed(value, digits: 0) : DecimalText.fixed(value, digits: 1)
  }
}
