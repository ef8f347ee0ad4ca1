// SPDX-License-Identifier: Apache-2.0

import OrderedCollections
import Testing

import Safetensors

@Suite struct JSONParserTests {
  struct Rejection: Sendable, CustomTestStringConvertible {
    let text: String
    let offset: Int
    let message: String
    var testDescription: String { text }

    init(_ text: String, _ offset: Int, _ message: String) {
      self.text = text
      self.offset = offset
      self.message = message
    }
  }

  @Test(arguments: [
    Rejection("", 0, "the text ends where a value must stand"),
    Rejection("  ", 2, "the text ends where a value must stand"),
    Rejection("{}x", 2, "the document ends, but 'x' follows"),
    Rejection("1 2", 2, "the document ends, but '2' follows"),
    Rejection("\u{FEFF}{}", 0, "not byte 0xEF"),
    Rejection("{\"a\":1,\"a\":2}", 7, "the key 'a' occurs twice"),
    Rejection("{\"\\u0061\":1,\"a\":2}", 12, "the key 'a' occurs twice"),
    Rejection("{\"é\":1,\"e\u{301}\":2}", 8, "occurs twice"),
    Rejection("{a:1}", 1, "a key must stand here, not 'a'"),
    Rejection("{1:1}", 1, "a key must stand here, not '1'"),
    Rejection("{\"a\" 1}", 5, "a colon must follow the key 'a'"),
    Rejection("{\"a\":1,}", 7, "a key must stand here, not '}'"),
    Rejection("{\"a\":1", 6, "the text ends inside an object"),
    Rejection("{\"a\":1,", 7, "the text ends inside an object"),
    Rejection("{\"a\"", 4, "a colon must follow"),
    Rejection("{\"a\":", 5, "the text ends where a value must stand"),
    Rejection("[1,]", 3, "a value must stand here, not ']'"),
    Rejection("[,1]", 1, "a value must stand here, not ','"),
    Rejection("[1 2]", 3, "a comma or the end of an array must stand here, not '2'"),
    Rejection("[1", 2, "the text ends inside an array"),
    Rejection("[1}", 2, "a comma or the end of an array must stand here, not '}'"),
    Rejection("]", 0, "a value must stand here"),
    Rejection("nul", 0, "a value must stand here"),
    Rejection("True", 0, "a value must stand here, not 'T'"),
    Rejection("NaN", 0, "a value must stand here, not 'N'"),
    Rejection("-Infinity", 1, "a digit must stand here, not 'I'"),
    Rejection("01", 1, "a zero that more digits follow"),
    Rejection("-01", 2, "a zero that more digits follow"),
    Rejection("+1", 0, "a value must stand here, not '+'"),
    Rejection(".5", 0, "a value must stand here, not '.'"),
    Rejection("1.", 2, "a digit must stand here, not the end"),
    Rejection("1.e5", 2, "a digit must stand here, not 'e'"),
    Rejection("1e", 2, "a digit must stand here"),
    Rejection("1e+", 3, "a digit must stand here"),
    Rejection("-", 1, "a digit must stand here"),
    Rejection("0x10", 1, "the document ends, but 'x' follows"),
    Rejection("\"a", 2, "the text ends inside a string"),
    Rejection("\"\\", 2, "the text ends inside a string"),
    Rejection("\"a\nb\"", 2, "the control character byte 0x0A"),
    Rejection("\"\u{0}\"", 1, "the control character byte 0x00"),
    Rejection("\"\\x41\"", 1, "a backslash must not stand before this character"),
    Rejection("\"\\u12G4\"", 5, "four hexadecimal digits must follow \\u"),
    Rejection("\"\\u12", 5, "four hexadecimal digits must follow \\u"),
    Rejection("\"\\uD800\"", 1, "half of a surrogate pair"),
    Rejection("\"\\uDC00\"", 1, "half of a surrogate pair"),
    Rejection("\"\\uD800x\"", 1, "half of a surrogate pair"),
    Rejection("\"\\uD800\\n\"", 1, "half of a surrogate pair"),
    Rejection("\"\\uD800\\u0041\"", 1, "half of a surrogate pair"),
    Rejection("\"\\uD800\\uD800\"", 1, "half of a surrogate pair"),
    Rejection("\"\\uDC00\\uD800\"", 1, "half of a surrogate pair"),
    Rejection("// comment\n1", 0, "a value must stand here, not '/'"),
    Rejection("'a'", 0, "a value must stand here, not '''"),
    Rejection("\u{C}1", 0, "not byte 0x0C"),
  ])
  func rejects(_ rejection: Rejection) {
    let error = #expect(throws: JSONError.self) { try JSONValue.parse(rejection.text) }
    #expect(error?.offset == rejection.offset)
    #expect(error?.description.contains(rejection.message) == true, "\(error?.description ?? "")")
  }

  @Test(arguments: [
    ([0xC0, 0x80], 1),  // an overlong NUL
    ([0xE0, 0x80, 0xAF], 1),  // an overlong slash
    ([0xED, 0xA0, 0x80], 1),  // a surrogate
    ([0xF4, 0x90, 0x80, 0x80], 1),  // beyond U+10FFFF
    ([0x61, 0xE2, 0x82], 2),  // cut off
    ([0x80], 1),  // a continuation alone
    ([0xFF], 1),
    ([0x5C, 0x6E, 0x61, 0xF8], 4),  // behind an escape
  ])
  func rejectsInvalidUTF8(_ content: [UInt8], offset: Int) {
    let error = #expect(throws: JSONError.self) {
      try JSONValue.parse([0x22] + content + [0x22])
    }
    #expect(error?.offset == offset)
    #expect(error?.message == "a string holds bytes that are no valid UTF-8")
  }

  static let accepted: [(String, JSONValue)] = [
    ("null", .null),
    (" true\r\n\t", true),
    ("false", false),
    ("0", .number("0")),
    ("-0", .number("-0")),
    ("-0.0e-0", .number("-0.0e-0")),
    ("1E+400", .number("1E+400")),
    ("\"\"", ""),
    ("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", .string("\"\\/\u{8}\u{C}\n\r\t")),
    ("\"\\u00e9\\u00E9é\"", "ééé"),
    ("\"\\uD83D\\uDE00\"", "😀"),
    ("\"\\uDBFF\\uDFFF\"", "\u{10FFFF}"),
    ("\"\\uD800\\uDC00\"", "\u{10000}"),
    ("\"\\u0000\"", "\u{0}"),
    ("\"\u{7F}\u{2028}\"", "\u{7F}\u{2028}"),
    ("[]", []),
    (" [ 1 , [ ] , { } ] ", [1, [], [:]]),
    ("{\"\":null}", ["": nil]),
    ("{\"b\":1,\"a\":{\"c\":\"d\"}}", ["b": 1, "a": ["c": "d"]]),
  ]

  @Test(arguments: accepted)
  func accepts(_ text: String, _ value: JSONValue) throws {
    #expect(try JSONValue.parse(text) == value)
  }

  @Test func limitsDepth() throws {
    func nested(_ depth: Int) -> String {
      String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
    }
    #expect(throws: Never.self) { try JSONValue.parse(nested(64)) }
    let error = #expect(throws: JSONError.self) { try JSONValue.parse(nested(65)) }
    #expect(error?.description == "At byte 64: values nest deeper than 64 levels.")
    #expect(throws: Never.self) { try JSONValue.parse(nested(2), maximumDepth: 2) }
    #expect(throws: JSONError.self) { try JSONValue.parse(nested(3), maximumDepth: 2) }
    #expect(throws: JSONError.self) { try JSONValue.parse("[]", maximumDepth: 0) }
    // A caller's limit cannot exceed the parser's own, so the stack is bounded.
    #expect(throws: JSONError.self) {
      try JSONValue.parse(String(repeating: "[", count: 1_000_000), maximumDepth: .max)
    }
    // Depth goes down again.
    let siblings = "[" + String(repeating: "[],{},", count: 200) + "[]]"
    #expect(throws: Never.self) { try JSONValue.parse(siblings, maximumDepth: 2) }
  }
}
