// SPDX-License-Identifier: Apache-2.0

import OrderedCollections
import Testing

import Safetensors

@Suite struct JSONValueTests {
  @Test(arguments: [
    ("9223372036854775807", Int.max), ("-9223372036854775808", Int.min), ("-0", 0),
    ("9223372036854775808", nil), ("-9223372036854775809", nil), ("1.0", nil), ("1e3", nil),
    ("\"1\"", nil),
  ])
  func intValue(_ text: String, _ expected: Int?) throws {
    #expect(try JSONValue.parse(text).intValue == expected)
  }

  @Test func conveniences() throws {
    let value: JSONValue = ["a": [1, 2.5, "x", true, nil]]
    let elements = try #require(value["a"]?.arrayValue)
    #expect(elements[0].intValue == 1)
    #expect(elements[1].doubleValue == 2.5)
    #expect(elements[2].stringValue == "x")
    #expect(elements[3].boolValue == true)
    #expect(elements[4].isNull)
    #expect(value["b"] == nil)
    #expect(elements[0]["a"] == nil)
    #expect(elements[0].stringValue == nil)
    #expect(elements[2].doubleValue == nil)
    #expect(elements[2].boolValue == nil)
    #expect(elements[2].objectValue == nil)
    #expect(elements[2].arrayValue == nil)
    #expect(JSONValue(1e-05) == .number("1e-05"))
    #expect(JSONValue(10000.0) == .number("10000.0"))
    #expect(JSONValue(Double.infinity) == .null)
    #expect(JSONValue(-7) == .number("-7"))
    #expect(elements.map(\.kind) == ["a number", "a number", "a string", "a Boolean", "null"])
    #expect(value.kind == "an object")
    #expect(JSONValue.array([]).kind == "an array")
  }

  // As Python's json.dump(indent=2, ensure_ascii=False) writes it.
  private static let pretty = #"""
    {
      "hidden_size": 4096,
      "rms_norm_eps": 1e-05,
      "rope_theta": 10000.0,
      "text": "Größe \"x\" \\ / \u0001\u001f\b\t\n\f\r",
      "empty": [],
      "none": {},
      "list": [
        1,
        [
          true,
          null
        ]
      ]
    }
    """#

  @Test func rendersPretty() throws {
    let value = try JSONValue.parse(Self.pretty)
    #expect(value.rendered(.pretty) == Self.pretty)
  }

  @Test func rendersCompact() throws {
    let text = #"{"a":[1e-05,10000.0,-0],"b":{"c":null,"d":"é\u0000😀"},"e":[],"f":{}}"#
    #expect(try JSONValue.parse(text).rendered(.compact) == text)
  }

  @Test func roundTripsEveryByteOfASCII() throws {
    let text = String(String.UnicodeScalarView((0..<128).map { Unicode.Scalar(UInt8($0)) }))
    let rendered = JSONValue(text).rendered(.compact)
    #expect(try JSONValue.parse(rendered) == .string(text))
  }
}
