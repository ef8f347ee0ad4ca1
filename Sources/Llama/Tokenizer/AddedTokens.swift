// SPDX-License-Identifier: Apache-2.0

/// Tokens that stand outside the vocabulary and are found in a text as they are.
struct AddedTokens: Sendable {
  /// One of them.
  struct Token: Sendable {
    var id: Int32
    var content: String
    /// Whether it controls the model and is no text.
    var isSpecial: Bool
    /// Whether it swallows white space before or after it.
    var stripsLeft: Bool
    var stripsRight: Bool
  }

  /// A part of a text.
  enum Segment {
    case text(String)
    case token(Int32)
  }

  private let byID: [Int32: Token]
  private let byContent: [[UInt8]: Int32]
  /// By the first byte of the content, longest first.
  private let byFirstByte: [UInt8: [(content: [UInt8], token: Token)]]

  init(_ tokens: [Token]) {
    byID = Dictionary(tokens.map { ($0.id, $0) }) { $1 }
    byContent = Dictionary(tokens.map { (Array($0.content.utf8), $0.id) }) { $1 }
    byFirstByte = Dictionary(
      grouping: tokens.filter { !$0.content.isEmpty }.map { (Array($0.content.utf8), $0) },
      by: { $0.0[0] }
    ).mapValues { $0.sorted { $0.0.count > $1.0.count } }
  }

  var largest: Int32? { byID.keys.max() }

  subscript(id: Int32) -> Token? { byID[id] }

  func token(_ content: String) -> Int32? { byContent[Array(content.utf8)] }

  /// The tokens in a text and what lies between them, of which nothing is empty.
  ///
  /// The first match from the left counts, and of several there the longest.
  func segments(of bytes: [UInt8]) -> [Segment] {
    var result: [Segment] = []
    var start = 0
    var place = 0
    func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }
    func appendText(upTo end: Int) {
      if start < end { result.append(.text(String(decoding: bytes[start..<end], as: UTF8.self))) }
    }
    while place < bytes.count {
      let match = byFirstByte[bytes[place]]?.first { bytes[place...].starts(with: $0.content) }
      guard let (content, token) = match else {
        place += 1
        continue
      }
      var end = place
      if token.stripsLeft { while end > start, isSpace(bytes[end - 1]) { end -= 1 } }
      appendText(upTo: end)
      result.append(.token(token.id))
      place += content.count
      if token.stripsRight { while place < bytes.count, isSpace(bytes[place]) { place += 1 } }
      start = place
    }
    appendText(upTo: bytes.count)
    return result
  }
}
