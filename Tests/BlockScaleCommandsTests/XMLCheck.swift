// SPDX-License-Identifier: Apache-2.0

/// The elements of an XML document that uses no more of XML than the pictures here do.
struct XMLCheck {
  struct Problem: Error {
    let text: String
  }

  struct Element {
    let name: String
    let attributes: [String: String]
    /// The classes of the elements around it, from the outside.
    let parents: [String]

    subscript(key: String) -> Double {
      attributes[key].flatMap(Double.init) ?? .nan
    }

    /// A mark's place: a circle's centre, a rectangle's centre, or the top of a path.
    var place: (x: Double, y: Double)? {
      switch name {
      case "circle": return (self["cx"], self["cy"])
      case "rect": return (self["x"] + self["width"] / 2, self["y"] + self["height"] / 2)
      case "path":
        let numbers = attributes["d"]?.dropFirst().split { $0 == " " || $0 == "l" } ?? []
        return (Double(numbers[0]) ?? .nan, Double(numbers[1]) ?? .nan)
      default: return nil
      }
    }
  }

  private(set) var elements: [Element] = []

  /// Throws unless tags match, attributes are quoted and unique, and nothing is left unescaped.
  init(_ document: String) throws {
    var open: [(name: String, style: String)] = []
    var rest = document[...]
    while let start = rest.firstIndex(of: "<") {
      try Self.checkText(rest[..<start])
      guard let end = rest[start...].firstIndex(of: ">") else { throw Problem(text: "open tag") }
      var tag = rest[rest.index(after: start)..<end]
      rest = rest[rest.index(after: end)...]
      if tag.first == "/" {
        guard let last = open.popLast(), last.name == tag.dropFirst() else {
          throw Problem(text: "<\(tag)>")
        }
        continue
      }
      let closes = tag.last == "/"
      if closes { tag.removeLast() }
      let name = String(tag.prefix { $0 != " " })
      let attributes = try Self.attributes(tag.dropFirst(name.count))
      if open.isEmpty, !elements.isEmpty { throw Problem(text: "second root") }
      elements.append(
        Element(name: name, attributes: attributes, parents: open.map(\.style)))
      if !closes { open.append((name, attributes["class"] ?? "")) }
    }
    guard open.isEmpty, rest.allSatisfy(\.isWhitespace) else { throw Problem(text: "unclosed") }
  }

  private static func attributes(_ text: Substring) throws -> [String: String] {
    // Names and values by turns, between quotes.
    let parts = text.split(separator: "\"", omittingEmptySubsequences: false)
    guard parts.count.isMultiple(of: 2) == false, parts.last?.isEmpty == true else {
      throw Problem(text: "quotes in \(text)")
    }
    var attributes: [String: String] = [:]
    for index in stride(from: 0, to: parts.count - 1, by: 2) {
      let name = parts[index]
      guard name.first == " ", name.last == "=" else { throw Problem(text: "name \(name)") }
      try checkText(parts[index + 1])
      let old = attributes.updateValue(
        String(parts[index + 1]), forKey: String(name.dropFirst().dropLast()))
      guard old == nil else { throw Problem(text: "twice: \(name)") }
    }
    return attributes
  }

  private static func checkText(_ text: Substring) throws {
    let isClean = text.unicodeScalars.allSatisfy { $0.value >= 0x20 || $0 == "\n" }
    let entities = text.split(separator: "&", omittingEmptySubsequences: false).dropFirst()
    let known = ["amp;", "lt;", "gt;", "quot;", "apos;"]
    guard isClean, entities.allSatisfy({ part in known.contains { part.hasPrefix($0) } }) else {
      throw Problem(text: "text \(text)")
    }
  }
}
