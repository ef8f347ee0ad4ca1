// SPDX-License-Identifier: Apache-2.0

import OrderedCollections

extension JSONValue {
  /// The deepest nesting that ``parse(_:maximumDepth:)`` allows, whatever its caller asks for.
  ///
  /// The parser recurses once per level, so this bounds the stack that it needs.
  package static let depthLimit = 512

  /// Parses one JSON document, strictly by RFC 8259.
  ///
  /// - Parameters:
  ///   - bytes: the whole document in UTF-8, without a byte order mark.
  ///   - maximumDepth: how deep arrays and objects may nest; at most ``depthLimit``.
  ///   - pairKey: objects under this key become arrays of pairs, an array of the key and the value
  ///     each, so that keys may be equal as strings and differ in their bytes.
  /// - Throws: ``JSONError`` for anything that the RFC's grammar does not allow, and further for
  ///   duplicate keys, for invalid UTF-8, and for escapes that name half of a surrogate pair.
  package static func parse(
    _ bytes: Span<UInt8>, maximumDepth: Int = 64, pairsUnder pairKey: String? = nil
  ) throws(JSONError) -> JSONValue {
    var parser = JSONParser(depthLimit: min(maximumDepth, depthLimit), pairKey: pairKey)
    return try parser.parseDocument(bytes)
  }

  /// Parses one JSON document that an array holds; see ``parse(_:maximumDepth:)``.
  package static func parse(
    _ bytes: [UInt8], maximumDepth: Int = 64
  ) throws(JSONError) -> JSONValue {
    try parse(bytes.span, maximumDepth: maximumDepth)
  }

  /// Parses one JSON document that a string holds; see ``parse(_:maximumDepth:)``.
  package static func parse(
    _ text: String, maximumDepth: Int = 64
  ) throws(JSONError) -> JSONValue {
    try parse(Array(text.utf8), maximumDepth: maximumDepth)
  }
}

/// A recursive-descent parser: a position and a depth.
///
/// The bytes are passed to each method, since a structure that stores a `Span` needs lifetime
/// annotations, which Swift 6.3 still calls experimental.
struct JSONParser {
  var position = 0
  var depth = 0
  let depthLimit: Int
  let pairKey: String?

  init(depthLimit: Int, pairKey: String? = nil) {
    self.depthLimit = depthLimit
    self.pairKey = pairKey
  }

  mutating func parseDocument(_ bytes: Span<UInt8>) throws(JSONError) -> JSONValue {
    skipWhitespace(bytes)
    let value = try parseValue(bytes)
    skipWhitespace(bytes)
    guard position == bytes.count else {
      throw failure("the document ends, but \(describeByte(bytes)) follows")
    }
    return value
  }

  mutating func parseValue(_ bytes: Span<UInt8>) throws(JSONError) -> JSONValue {
    guard let byte = peek(bytes) else {
      throw failure("the text ends where a value must stand")
    }
    switch byte {
    case UInt8(ascii: "{"):
      return .object(try parseObject(bytes))
    case UInt8(ascii: "["):
      return .array(try parseArray(bytes))
    case UInt8(ascii: "\""):
      return .string(try parseString(bytes))
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
      return .number(try parseNumber(bytes))
    case UInt8(ascii: "t"):
      try expect("true", bytes)
      return .bool(true)
    case UInt8(ascii: "f"):
      try expect("false", bytes)
      return .bool(false)
    case UInt8(ascii: "n"):
      try expect("null", bytes)
      return .null
    default:
      throw failure("a value must stand here, not \(describeByte(bytes))")
    }
  }

  // MARK: Arrays and objects

  private mutating func parseArray(_ bytes: Span<UInt8>) throws(JSONError) -> [JSONValue] {
    try enter()
    skipWhitespace(bytes)
    var elements: [JSONValue] = []
    if peek(bytes) == UInt8(ascii: "]") {
      leave()
      return elements
    }
    while true {
      skipWhitespace(bytes)
      elements.append(try parseValue(bytes))
      skipWhitespace(bytes)
      if try closes(UInt8(ascii: "]"), of: "an array", bytes) { return elements }
    }
  }

  private mutating func parseObject(
    _ bytes: Span<UInt8>
  ) throws(JSONError) -> OrderedDictionary<String, JSONValue> {
    var members: OrderedDictionary<String, JSONValue> = [:]
    try parseMembers(bytes) { key, value, position throws(JSONError) in
      guard members.updateValue(value, forKey: key) == nil else {
        throw JSONError(offset: position, message: "the key \(quoted(key)) occurs twice")
      }
    }
    return members
  }

  /// The members of an object as arrays of key and value, whatever the keys.
  private mutating func parsePairs(_ bytes: Span<UInt8>) throws(JSONError) -> [JSONValue] {
    var pairs: [JSONValue] = []
    try parseMembers(bytes) { key, value, _ throws(JSONError) in
      pairs.append(.array([.string(key), value]))
    }
    return pairs
  }

  private mutating func parseMembers(
    _ bytes: Span<UInt8>,
    _ body: (_ key: String, _ value: JSONValue, _ position: Int) throws(JSONError) -> Void
  ) throws(JSONError) {
    try enter()
    skipWhitespace(bytes)
    if peek(bytes) == UInt8(ascii: "}") {
      leave()
      return
    }
    while true {
      skipWhitespace(bytes)
      let keyPosition = position
      guard let byte = peek(bytes) else {
        throw failure("the text ends inside an object")
      }
      guard byte == UInt8(ascii: "\"") else {
        throw failure("a key must stand here, not \(describeByte(bytes))")
      }
      let key = try parseString(bytes)
      skipWhitespace(bytes)
      guard peek(bytes) == UInt8(ascii: ":") else {
        throw failure("a colon must follow the key \(quoted(key))")
      }
      position += 1
      skipWhitespace(bytes)
      let hasPairs = key == pairKey && peek(bytes) == UInt8(ascii: "{")
      let value = hasPairs ? .array(try parsePairs(bytes)) : try parseValue(bytes)
      try body(key, value, keyPosition)
      skipWhitespace(bytes)
      if try closes(UInt8(ascii: "}"), of: "an object", bytes) { return }
    }
  }

  private mutating func enter() throws(JSONError) {
    guard depth < depthLimit else {
      throw failure("values nest deeper than \(depthLimit) levels")
    }
    depth += 1
    position += 1
  }

  private mutating func leave() {
    depth -= 1
    position += 1
  }

  /// Consumes a comma, or the closing bracket, in which case the result is true.
  private mutating func closes(
    _ bracket: UInt8, of container: String, _ bytes: Span<UInt8>
  ) throws(JSONError) -> Bool {
    guard let byte = peek(bytes) else {
      throw failure("the text ends inside \(container)")
    }
    if byte == bracket {
      leave()
      return true
    }
    guard byte == UInt8(ascii: ",") else {
      throw failure(
        "a comma or the end of \(container) must stand here, not \(describeByte(bytes))")
    }
    position += 1
    return false
  }

  // MARK: Bytes

  func peek(_ bytes: Span<UInt8>) -> UInt8? {
    position < bytes.count ? bytes[position] : nil
  }

  private mutating func skipWhitespace(_ bytes: Span<UInt8>) {
    while position < bytes.count {
      switch bytes[position] {
      case 0x20, 0x09, 0x0A, 0x0D: position += 1
      default: return
      }
    }
  }

  private mutating func expect(
    _ word: StaticString, _ bytes: Span<UInt8>
  ) throws(JSONError) {
    let start = position
    for expected in word.description.utf8 {
      guard peek(bytes) == expected else {
        throw JSONError(offset: start, message: "a value must stand here, not a word like this")
      }
      position += 1
    }
  }

  func failure(_ message: String) -> JSONError {
    JSONError(offset: position, message: message)
  }

  func describeByte(_ bytes: Span<UInt8>) -> String {
    guard let byte = peek(bytes) else { return "the end" }
    if byte > 0x20, byte < 0x7F { return "'\(Character(UnicodeScalar(byte)))'" }
    return "byte 0x" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
  }
}
