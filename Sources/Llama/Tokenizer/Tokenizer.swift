// SPDX-License-Identifier: Apache-2.0

/// Turns text into tokens and back.
public protocol Tokenizer: Sendable {
  /// One more than the largest token.
  var vocabularySize: Int { get }

  /// The tokens of a text in UTF-8.
  ///
  /// - Parameter addsSpecialTokens: Whether what the tokenizer puts before and after every text is
  ///   added, such as `<|begin_of_text|>`.
  func encode(_ text: [UInt8], addsSpecialTokens: Bool) -> [Int32]

  /// The text of tokens, which need not end on a character.
  ///
  /// - Throws: ``LlamaError`` for a number that is no token.
  func decode(_ tokens: [Int32]) throws(LlamaError) -> [UInt8]
}

/// A token for each byte.
public struct ByteTokenizer: Tokenizer, Hashable {
  /// Creates the tokenizer, which has no state.
  public init() {}

  /// 256.
  public var vocabularySize: Int { 256 }

  /// The bytes as numbers; there are no special tokens.
  public func encode(_ text: [UInt8], addsSpecialTokens: Bool) -> [Int32] { text.map { Int32($0) } }

  /// The numbers as bytes.
  public func decode(_ tokens: [Int32]) throws(LlamaError) -> [UInt8] {
    var result: [UInt8] = []
    for token in tokens {
      guard let byte = UInt8(exactly: token) else {
        throw LlamaError(.wrongInput, "\(token) is no byte.")
      }
      result.append(byte)
    }
    return result
  }
}
