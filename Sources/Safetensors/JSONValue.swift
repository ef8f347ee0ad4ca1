// SPDX-License-Identifier: Apache-2.0

package import OrderedCollections

/// A JSON document that keeps what a rewrite must keep: key order and the text of numbers.
///
/// Objects are ordered dictionaries, and a number is the literal that the file had, so `1e-05` and
/// `10000.0` come back out as they went in.
///
/// Keys are Swift strings, which compare by canonical equivalence. Two keys that differ only in
/// their Unicode normalisation therefore count as duplicates, which the parser rejects.
package enum JSONValue: Hashable, Sendable {
  /// The literal `null`.
  case null
  /// `true` or `false`.
  case bool(Bool)
  /// A number, as the text of its literal.
  case number(String)
  /// A string, without its quotes and escapes.
  case string(String)
  /// An array.
  case array([JSONValue])
  /// An object, in the order of the document.
  case object(OrderedDictionary<String, JSONValue>)
}

// MARK: - Initialisers

extension JSONValue {
  /// Creates a number from an integer.
  package init(_ value: Int) {
    self = .number(String(value))
  }

  /// Creates a number from a floating-point value, or `null` where JSON has no literal for it.
  package init(_ value: Double) {
    // Swift writes 1e-05 as "1e-05" and 1.0 as "1.0": both are JSON as they stand.
    self = value.isFinite ? .number(value.description) : .null
  }

  /// Creates a string.
  package init(_ value: String) {
    self = .string(value)
  }
}

// MARK: - Conveniences

extension JSONValue {
  /// The member of an object, or nil if this is no object or has no such key.
  package subscript(key: String) -> JSONValue? {
    objectValue?[key]
  }

  /// The string, if this is one.
  package var stringValue: String? {
    if case .string(let value) = self { value } else { nil }
  }

  /// The integer, if this is a number written as an integer that `Int` can hold.
  ///
  /// `1.0` and `1e3` are no integers here: the formats that this package reads write counts
  /// without a fraction or an exponent.
  package var intValue: Int? {
    if case .number(let text) = self { Int(text) } else { nil }
  }

  /// The nearest `Double`, if this is a number; infinite where its exponent is out of range.
  package var doubleValue: Double? {
    if case .number(let text) = self { Double(text) } else { nil }
  }

  /// The Boolean, if this is one.
  package var boolValue: Bool? {
    if case .bool(let value) = self { value } else { nil }
  }

  /// The elements, if this is an array.
  package var arrayValue: [JSONValue]? {
    if case .array(let value) = self { value } else { nil }
  }

  /// The members, if this is an object.
  package var objectValue: OrderedDictionary<String, JSONValue>? {
    if case .object(let value) = self { value } else { nil }
  }

  /// Whether this is `null`.
  package var isNull: Bool {
    self == .null
  }

  /// What kind of value this is, for error sentences: "a string", "an object".
  package var kind: String {
    switch self {
    case .null: "null"
    case .bool: "a Boolean"
    case .number: "a number"
    case .string: "a string"
    case .array: "an array"
    case .object: "an object"
    }
  }
}

// MARK: - Literals

extension JSONValue: ExpressibleByNilLiteral, ExpressibleByBooleanLiteral,
  ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral, ExpressibleByStringLiteral,
  ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
  package init(nilLiteral: ()) {
    self = .null
  }

  package init(booleanLiteral value: Bool) {
    self = .bool(value)
  }

  package init(integerLiteral value: Int) {
    self.init(value)
  }

  package init(floatLiteral value: Double) {
    self.init(value)
  }

  package init(stringLiteral value: String) {
    self.init(value)
  }

  package init(arrayLiteral elements: JSONValue...) {
    self = .array(elements)
  }

  /// Creates an object; of two equal keys the later value counts.
  package init(dictionaryLiteral elements: (String, JSONValue)...) {
    self = .object(OrderedDictionary(elements) { _, last in last })
  }
}
