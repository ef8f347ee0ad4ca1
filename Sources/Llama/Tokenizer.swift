// SPDX-License-Identifier: Apache-2.0

/// Turns text into tokens and back.
public protocol Tokenizer: Sendable {
  /// The number of tokens.
  var vocabularySize: Int { get }

  /// The tokens of a text in UTF-8.
  func encode(_ text: [UInt8]) -> [Int32]

  /// The text of tokens, which need not end on a character.
  func decode(_ tokens: [Int32]) -> [UInt8]
}

/// A token for each byte.
public struct ByteTokenizer: Tokenizer, Hashable {
  /// Creates the tokenizer, which has no state.
  public init() {}

  /// 256.
  public var vocabularySize: Int { 256 }

  /// The bytes as numbers.
  public func encode(_ text: [UInt8]) -> [Int32] { text.map { Int32($0) } }

  /// The numbers as bytes.
  ///
  /// - Precondition: Every token is one of the vocabulary.
  public func decode(_ tokens: [Int32]) -> [UInt8] { tokens.map { UInt8($0) } }
}
