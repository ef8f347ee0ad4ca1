// SPDX-License-Identifier: Apache-2.0

extension JSONParser {
  // MARK: Numbers

  /// Consumes a number and returns its literal.
  mutating func parseNumber(_ bytes: Span<UInt8>) throws(JSONError) -> String {
    let start = position
    if peek(bytes) == UInt8(ascii: "-") { position += 1 }
    if peek(bytes) == UInt8(ascii: "0") {
      position += 1
      if let next = peek(bytes), isDigit(next) {
        throw failure("a number must not begin with a zero that more digits follow")
      }
    } else {
      try skipDigits(bytes)
    }
    if peek(bytes) == UInt8(ascii: ".") {
      position += 1
      try skipDigits(bytes)
    }
    if let next = peek(bytes), next == UInt8(ascii: "e") || next == UInt8(ascii: "E") {
      position += 1
      if let sign = peek(bytes), sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-") {
        position += 1
      }
      try skipDigits(bytes)
    }
    return try text(start..<position, bytes)
  }

  private mutating func skipDigits(_ bytes: Span<UInt8>) throws(JSONError) {
    guard let first = peek(bytes), isDigit(first) else {
      throw failure("a digit must stand here, not \(describeByte(bytes))")
    }
    while let next = peek(bytes), isDigit(next) { position += 1 }
  }

  private func isDigit(_ byte: UInt8) -> Bool {
    byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
  }

  // MARK: Strings

  /// Consumes a string with its quotes and returns its value.
  mutating func parseString(_ bytes: Span<UInt8>) throws(JSONError) -> String {
    position += 1
    var segmentStart = position
    var result = ""
    while let byte = peek(bytes) {
      switch byte {
      case UInt8(ascii: "\""):
        let segment = try text(segmentStart..<position, bytes)
        position += 1
        // Most strings hold no escape: then there is nothing to append to.
        return result.isEmpty ? segment : result + segment
      case UInt8(ascii: "\\"):
        result += try text(segmentStart..<position, bytes)
        result.unicodeScalars.append(try parseEscape(bytes))
        segmentStart = position
      case 0..<0x20:
        throw failure("a string must not hold the control character \(describeByte(bytes))")
      default:
        position += 1
      }
    }
    throw failure("the text ends inside a string")
  }

  /// Consumes an escape from its backslash on.
  private mutating func parseEscape(_ bytes: Span<UInt8>) throws(JSONError) -> Unicode.Scalar {
    let start = position
    position += 1
    guard let kind = peek(bytes) else {
      throw failure("the text ends inside a string")
    }
    position += 1
    switch kind {
    case UInt8(ascii: "\""): return "\""
    case UInt8(ascii: "\\"): return "\\"
    case UInt8(ascii: "/"): return "/"
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "f"): return "\u{C}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"): return try parseUnicodeEscape(from: start, bytes)
    default:
      throw JSONError(offset: start, message: "a backslash must not stand before this character")
    }
  }

  /// Consumes the four hexadecimal digits after `\u`, and the other half of a surrogate pair.
  private mutating func parseUnicodeEscape(
    from start: Int, _ bytes: Span<UInt8>
  ) throws(JSONError) -> Unicode.Scalar {
    let unit = try parseFourHexDigits(bytes)
    if let scalar = Unicode.Scalar(unit) { return scalar }
    // Only surrogates are no scalars. A high one needs a low one right behind it.
    if unit < 0xDC00, peek(bytes) == UInt8(ascii: "\\") {
      position += 1
      if peek(bytes) == UInt8(ascii: "u") {
        position += 1
        let low = try parseFourHexDigits(bytes)
        if low >= 0xDC00, low < 0xE000 {
          let value = 0x1_0000 + (UInt32(unit) - 0xD800) << 10 + (UInt32(low) - 0xDC00)
          if let scalar = Unicode.Scalar(value) { return scalar }
        }
      }
    }
    throw JSONError(offset: start, message: "an escape names half of a surrogate pair")
  }

  private mutating func parseFourHexDigits(_ bytes: Span<UInt8>) throws(JSONError) -> UInt16 {
    var value: UInt16 = 0
    for _ in 0..<4 {
      guard let byte = peek(bytes), let digit = hexDigit(byte) else {
        throw failure("four hexadecimal digits must follow \\u")
      }
      value = value << 4 | digit
      position += 1
    }
    return value
  }

  private func hexDigit(_ byte: UInt8) -> UInt16? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt16(byte - UInt8(ascii: "0"))
    case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt16(byte - UInt8(ascii: "a") + 10)
    case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt16(byte - UInt8(ascii: "A") + 10)
    default: nil
    }
  }

  /// The text of some bytes, checked to be UTF-8.
  private func text(_ range: Range<Int>, _ bytes: Span<UInt8>) throws(JSONError) -> String {
    do {
      return String(copying: try UTF8Span(validating: bytes.extracting(range)))
    } catch {
      throw JSONError(
        offset: range.lowerBound + error.byteOffsets.lowerBound,
        message: "a string holds bytes that are no valid UTF-8")
    }
  }
}
