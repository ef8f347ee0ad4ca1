// SPDX-License-Identifier: Apache-2.0

/// How pictures look.
enum PlotStyle {
  /// A colour on white and its sibling on black.
  ///
  /// Neighbours differ in lightness as well as in hue, for those who do not see all hues; the
  /// shapes of the marks differ as well.
  static let colors: [(light: String, dark: String)] = [
    ("#0072b2", "#4aa8e8"), ("#d55e00", "#f0843c"), ("#008f68", "#2cc79a"),
    ("#c2659a", "#e08fbe"), ("#5a3fa8", "#a48cf0"), ("#a87600", "#f0c040"),
    ("#882255", "#d4669a"), ("#2a86b8", "#8fd3f4"), ("#5e7d1a", "#a9c850"),
    ("#a04020", "#d98a66"), ("#117777", "#52b5b5"), ("#777777", "#9a9a9a"),
  ]

  /// The style sheet.
  static var sheet: String {
    var light = ""
    var dark = ""
    for (index, color) in colors.enumerated() {
      light += ".k\(index) { fill: \(color.light); stroke: \(color.light); }\n"
      dark += "  .k\(index) { fill: \(color.dark); stroke: \(color.dark); }\n"
    }
    return """
      text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #57606a; }
      .title { font-size: 18px; font-weight: 600; fill: #1f2328; }
      .back { fill: #ffffff; }
      .frame { fill: none; stroke: #d0d7de; }
      .grid { stroke: #d0d7de; stroke-width: 0.6; }
      .strip { fill: #8c959f; fill-opacity: 0.1; }
      polyline.curve { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
      polyline.first { stroke-width: 4.5; stroke-opacity: 0.5; }
      polyline.raw { fill: none; stroke-width: 0.8; stroke-opacity: 0.25; stroke-linejoin: round; }
      polyline.trend { fill: none; stroke-width: 1.2; stroke-opacity: 0.4; stroke-linejoin: round; }
      .marks { fill-opacity: 0.8; stroke-width: 0.6; }
      .marks > :hover { stroke-width: 4; }
      .middle { text-anchor: middle; }
      .end { text-anchor: end; }
      .value { paint-order: stroke; stroke: #ffffff; stroke-width: 5px; stroke-linejoin: round; }
      \(light)@media (prefers-color-scheme: dark) {
        text { fill: #9198a1; }
        .title { fill: #f0f6fc; }
        .back { fill: #0d1117; }
        .value { stroke: #0d1117; }
        .frame, .grid { stroke: #3d444d; }
      \(dark)}
      """
  }

  /// The outline of a mark around a point: circle, square, triangle and diamond by turns.
  static func shape(kind: Int, x: Double, y: Double, radius: Double) -> String {
    func number(_ value: Double) -> String { DecimalText.fixed(value, digits: 1) }
    // Of equal area, more or less.
    let side = radius * 0.9
    let tip = radius * 1.25
    return switch kind % 4 {
    case 0: "circle cx=\"\(number(x))\" cy=\"\(number(y))\" r=\"\(number(radius))\""
    case 1:
      "rect x=\"\(number(x - side))\" y=\"\(number(y - side))\""
        + " width=\"\(number(2 * side))\" height=\"\(number(2 * side))\""
    case 2:
      "path d=\"M\(number(x)) \(number(y - tip))l\(number(tip)) \(number(tip * 1.75))"
        + "h\(number(-2 * tip))z\""
    default:
      "path d=\"M\(number(x)) \(number(y - tip))l\(number(tip)) \(number(tip))"
        + "l\(number(-tip)) \(number(tip))l\(number(-tip)) \(number(-tip))z\""
    }
  }
}

extension String {
  /// The text as it stands within an XML element or attribute.
  var xmlEscaped: String {
    var result = ""
    for scalar in unicodeScalars {
      switch scalar {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "\"": result += "&quot;"
      case "'": result += "&apos;"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}
