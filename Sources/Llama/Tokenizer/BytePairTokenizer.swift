// SPDX-License-Identifier: Apache-2.0

/// Tokens by byte pair encoding, as Hugging Face's tokenizer.json describes them.
///
/// The steps are those of the tokenizers library: tokens that are added to the vocabulary are found in
/// the text, what lies between is normalized and split into pieces, and in each piece the pair of symbols
/// that was learnt first is merged until none is left. Llama 3 and its kin, GPT-2's kin and the converted
/// SentencePiece models of Llama 2 are understood; what is not is refused when the file is read.
public struct BytePairTokenizer: Tokenizer {
  let addedTokens: AddedTokens
  let normalizers: [TextNormalizer]
  let splitters: [TextSplitter]
  let model: BytePairModel
  let decoders: [TokenDecoder]
  /// The tokens before and after every text.
  let opening: [Int32]
  let closing: [Int32]

  /// One more than the largest token.
  public var vocabularySize: Int { max(model.tokens.count, Int(addedTokens.largest ?? -1) + 1) }

  /// The tokens of a text in UTF-8.
  ///
  /// - Complexity: O(n log n) in the length of the longest piece, O(n) in the number of pieces.
  public func encode(_ text: [UInt8], addsSpecialTokens: Bool) -> [Int32] {
    var result = addsSpecialTokens ? opening : []
    // Words come again and again.
    var known: [[UInt8]: [Int32]] = [:]
    let splitting = splitters.map(\.prepared)
    for (index, segment) in addedTokens.segments(of: text).enumerated() {
      switch segment {
      case .token(let token):
        result.append(token)
      case .text(let plain):
        var pieces = [normalizers.reduce(plain) { $1.normalized($0) }]
        for splitter in splitting { pieces = splitter.split(pieces, isFirst: index == 0) }
        for piece in pieces where !piece.isEmpty {
          let bytes = Array(piece.utf8)
          if let tokens = known[bytes] {
            result += tokens
          } else {
            let tokens = model.encode(bytes)
            if bytes.count <= 64 { known[bytes] = tokens }
            result += tokens
          }
        }
      }
    }
    if addsSpecialTokens { result += closing }
    return result
  }

  /// The text of tokens, in UTF-8 as long as no character is cut by the ends.
  ///
  /// Tokens that control the model, such as `<|begin_of_text|>`, have none.
  ///
  /// - Throws: ``LlamaError`` for a number that is no token.
  /// - Complexity: O(n).
  public func decode(_ tokens: [Int32]) throws(LlamaError) -> [UInt8] {
    var texts: [[UInt8]] = []
    for token in tokens {
      if let added = addedTokens[token] {
        if !added.isSpecial { texts.append(Array(added.content.utf8)) }
        continue
      }
      guard token >= 0, token < model.tokens.count else {
        throw LlamaError(
          .wrongInput, "\(token) is no token of the \(vocabularySize) that there are.")
      }
      texts.append(model.tokens[Int(token)])
    }
    for decoder in decoders { texts = decoder.decoded(texts) }
    return Array(texts.joined())
  }

  /// The token of a text that is one, such as `<|end_of_text|>`.
  public func token(_ content: String) -> Int32? {
    addedTokens.token(content) ?? model.ids[Array(content.utf8)]
  }
}
