// SPDX-License-Identifier: Apache-2.0

import OrderedCollections

extension JSONValue {
  /// How ``rendered(_:)`` lays out a document.
  package enum Layout: Sendable {
    /// No white space at all, as `serde_json` writes.
    case compact
    /// One member or element per line, indented by two spaces, as Python's
    /// `json.dump(…, indent=2, ensure_ascii=False)` writes.
    case pretty
  }

  /// The document's text, without a line break at its end.
  ///
  /// Characters beyond ASCII stand as they are; only quotes, backslashes and control characters
  /// are escaped.
  package func rendered(_ layout: Layout) -> String {
    String(decoding: renderedBytes(layout), as: UTF8.self)
  }

  /// The document's text in UTF-8; see ``rendered(_:)``.
  package func renderedBytes(_ layout: Layout) -> [UInt8] {
    var output: [UInt8] = []
    render(into: &output, layout: layout, depth: 0)
    return output
  }

  private func render(into output: inout [UInt8], layout: Layout, depth: Int) {
    switch self {
    case .null: output += "null".utf8
    case .bool(let value): output += (value ? "true" : "false").utf8
    case .number(let text): output += text.utf8
    case .string(let value): value.renderAsJSON(into: &output)
    case .array(let elements):
      output.append(UInt8(ascii: "["))
      for (index, element) in elements.enumerated() {
        separate(index, into: &output, layout: layout, depth: depth + 1)
        element.render(into: &output, layout: layout, depth: depth + 1)
      }
      if !elements.isEmpty { breakLine(into: &output, layout: layout, depth: depth) }
      output.append(UInt8(ascii: "]"))
    case .object(let members):
      output.append(UInt8(ascii: "{"))
      for (index, member) in members.enumerated() {
        separate(index, into: &output, layout: layout, depth: depth + 1)
        member.key.renderAsJSON(into: &output)
        output += (layout == .pretty ? ": " : ":").utf8
        member.value.render(into: &output, layout: layout, depth: depth + 1)
      }
      if !members.isEmpty { breakLine(into: &output, layout: layout, depth: depth) }
      output.append(UInt8(ascii: "}"))
    }
  }

  private func separate(
    _ index: Int, into output: inout [UInt8], layout: Layout, depth: Int
  ) {
    if index > 0 { output.append(UInt8(ascii: ",")) }
    breakLine(into: &output, layout: layout, depth: depth)
  }

  private func breakLine(into output: inout [UInt8], layout: Layout, depth: Int) {
    guard layout == .pretty else { return }
    output.append(UInt8(ascii: "\n"))
    output.append(contentsOf: repeatElement(UInt8(ascii: " "), count: 2 * depth))
  }
}

extension String {
  /// Appends the string as a JSON string, with its quotes.
  func renderAsJSON(into output: inout [UInt8]) {
    output.append(UInt8(ascii: "\""))
    defer { output.append(UInt8(ascii: "\"")) }
    // Nearly all strings are copied as they stand.
    let isPlain = utf8.allSatisfy {
      $0 >= 0x20 && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\")
    }
    if isPlain {
      output += utf8
      return
    }
    for byte in utf8 {
      switch byte {
      case UInt8(ascii: "\""): output += "\\\"".utf8
      case UInt8(ascii: "\\"): output += "\\\\".utf8
      case 0x08: output += "\\b".utf8
      case 0x09: output += "\\t".utf8
      case 0x0A: output += "\\n".utf8
      case 0x0C: output += "\\f".utf8
      case 0x0D: output += "\\r".utf8
      case 0..<0x20:
        output += (byte < 0x10 ? "\\u000" : "\\u00").utf8
        output += String(byte, radix: 16).utf8
      default: output.append(byte)
      }
    }
  }
}
