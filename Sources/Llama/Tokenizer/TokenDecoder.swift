// SPDX-License-Identifier: Apache-2.0

/// What is done with the texts of tokens before they are joined.
enum TokenDecoder: Sendable, Hashable {
  /// Every occurrence of one text becomes another.
  case replace(String, with: String)
  /// `<0x0A>` becomes the byte.
  case byteFallback
  /// All texts become one.
  case fuse
  /// Some occurrences of a character are dropped from the beginning and the end of each text.
  case strip(String, start: Int, stop: Int)

  func decoded(_ texts: [[UInt8]]) -> [[UInt8]] {
    switch self {
    case .replace(let old, let new):
      let (old, new) = (Array(old.utf8), Array(new.utf8))
      return texts.map { $0.replacing(old, with: new) }
    case .byteFallback: return texts.map { Self.byte($0).map { [$0] } ?? $0 }
    case .fuse: return [Array(texts.joined())]
    case .strip(let content, let start, let stop):
      let content = Array(content.utf8)
      return texts.map { text in
        var rest = text[...]
        for _ in 0..<start where rest.starts(with: content) { rest = rest.dropFirst(content.count) }
        for _ in 0..<stop where rest.suffix(content.count).elementsEqual(content) {
          rest = rest.dropLast(content.count)
        }
        return Array(rest)
      }
    }
  }

  /// The byte that a token such as `<0x0A>` stands for.
  static func byte(_ text: [UInt8]) -> UInt8? {
    guard text.count == 6, text.starts(with: Array("<0x".utf8)), text[5] == UInt8(ascii: ">") else {
      return nil
    }
    return UInt8(String(decoding: text[3..<5], as: UTF8.self), radix: 16)
  }

  /// The token of a byte.
  static func token(_ byte: UInt8) -> [UInt8] {
    let digits = String(byte, radix: 16, uppercase: true)
    return Array("<0x\(byte < 16 ? "0" : "")\(digits)>".utf8)
  }
}
