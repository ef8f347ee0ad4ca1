// SPDX-License-Identifier: Apache-2.0

extension String {
  /// The text with every character that could steer a terminal, or break an XML document,
  /// replaced.
  ///
  /// Tensor names come from files that anyone can have written.
  package var printable: String {
    var result = String.UnicodeScalarView()
    for scalar in unicodeScalars {
      switch scalar.properties.generalCategory {
      case .control, .format, .lineSeparator, .paragraphSeparator, .unassigned, .privateUse:
        result.append("\u{FFFD}")
      default:
        result.append(scalar)
      }
    }
    return String(result)
  }

  /// The text with every character but ends of lines and tabs that could steer a terminal replaced.
  ///
  /// A model can write anything.
  var withoutControls: String {
    var result = String.UnicodeScalarView()
    for scalar in unicodeScalars {
      let isControl = scalar.properties.generalCategory == .control
      result.append(isControl && scalar != "\n" && scalar != "\t" ? "\u{FFFD}" : scalar)
    }
    return String(result)
  }

  /// How many columns the text takes, near enough: one per Unicode scalar.
  package var displayWidth: Int {
    unicodeScalars.count
  }

  /// The text in at most `width` columns, with `…` for what its middle loses.
  ///
  /// The end keeps the odd column: it is what tells tensor names apart.
  package func truncatedInMiddle(to width: Int) -> String {
    let scalars = unicodeScalars
    guard scalars.count > width else { return self }
    guard width > 0 else { return "" }
    let kept = width - 1
    return String(scalars.prefix(kept / 2)) + "…" + String(scalars.suffix(kept - kept / 2))
  }

  /// The text with spaces before it up to `width` columns.
  func paddedLeft(to width: Int) -> String {
    String(repeating: " ", count: max(0, width - displayWidth)) + self
  }

  /// The text with spaces behind it up to `width` columns.
  func paddedRight(to width: Int) -> String {
    self + String(repeating: " ", count: max(0, width - displayWidth))
  }
}
