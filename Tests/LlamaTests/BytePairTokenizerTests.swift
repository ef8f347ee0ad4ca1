// SPDX-License-Identifier: Apache-2.0

import Safetensors
import SystemPackage
import Testing
import _BlockScaleTestSupport

@testable import Llama

/// Against Hugging Face's tokenizers: `Tools/tokenizer_vectors.py`.
@Suite struct BytePairTokenizerTests {
  static let kinds = ["llama3", "gpt2", "llama2", "metaspace"]

  static func bytes(_ name: String) throws -> [UInt8] {
    let path = FilePath(#filePath).removingLastComponent().removingLastComponent()
      .appending("Vectors").appending("tokenizers").appending(name)
    let file = try FileDescriptor.open(path, .readOnly)
    return try file.closeAfter {
      var result: [UInt8] = []
      while true {
        // The buffer is only passed on.
        let part = try unsafe Array<UInt8>(unsafeUninitializedCapacity: 1 << 16) { buffer, count in
          count = unsafe try file.read(into: UnsafeMutableRawBufferPointer(buffer))
        }
        guard !part.isEmpty else { return result }
        result += part
      }
    }
  }

  struct Case {
    let text: String
    let ids: [Int32]
    let plain: [Int32]
    let decoded: String

    init(_ json: JSONValue) throws {
      text = try #require(json["text"]?.stringValue)
      ids = try #require(json["ids"]?.arrayValue).map { Int32(try #require($0.intValue)) }
      plain = try #require(json["plain"]?.arrayValue).map { Int32(try #require($0.intValue)) }
      decoded = try #require(json["decoded"]?.stringValue)
    }
  }

  @Test(arguments: kinds) func tokensAreThoseOfTheLibrary(_ kind: String) throws {
    let tokenizer = try BytePairTokenizer(json: Self.bytes("\(kind).json"))
    let cases = try JSONValue.parse(Self.bytes("\(kind).cases.json")).arrayValue
    for json in try #require(cases) {
      let expected = try Case(json)
      let text = Array(expected.text.utf8)
      #expect(
        tokenizer.encode(text, addsSpecialTokens: true) == expected.ids,
        "\(kind) '\(expected.text)'")
      #expect(
        tokenizer.encode(text, addsSpecialTokens: false) == expected.plain,
        "\(kind) '\(expected.text)'")
      // Bytes, since equal strings may be other bytes.
      #expect(
        try tokenizer.decode(expected.ids) == Array(expected.decoded.utf8),
        "\(kind) '\(expected.text)'")
    }
  }

  @Test func aLongPieceTakesNoSquareOfItsLength() throws {
    // A SentencePiece model splits nothing; 200,000 characters are one piece.
    let tokenizer = try BytePairTokenizer(json: Self.bytes("llama2.json"))
    let text = String(repeating: "quantize blocks ", count: 12_500)
    let tokens = tokenizer.encode(Array(text.utf8), addsSpecialTokens: false)
    #expect(try tokenizer.decode(tokens) == Array(text.utf8))
    #expect(tokens.count < text.utf8.count / 2)
  }

  @Test func unknownNumbersAreRefused() throws {
    let tokenizer = try BytePairTokenizer(json: Self.bytes("gpt2.json"))
    #expect(throws: LlamaError.self) {
      try tokenizer.decode([Int32(tokenizer.vocabularySize)])
    }
    #expect(throws: LlamaError.self) { try tokenizer.decode([-1]) }
  }

  @Test(arguments: [
    ("{", "tokenizer.json: no valid JSON at byte 1"),
    ("{}", "tokenizer.json: has no 'model'."),
    (#"{"model": {"type": "WordPiece"}}"#, "tokenizer.json: model: 'WordPiece' as a model"),
    (
      #"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}}"#,
      "tokenizer.json: model.merges[0]: 'a' and 'b'"
    ),
    (
      #"{"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}"#,
      "tokenizer.json: model.vocab['a']: is -1, not the number of a token."
    ),
    (
      #"{"normalizer": {"type": "NFKC"}, "model": {}}"#,
      "tokenizer.json: normalizer: 'NFKC' as a normalizer is not supported."
    ),
    (
      #"{"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"}}"#,
      "tokenizer.json: pre_tokenizer.pattern: is no regular expression"
    ),
    (
      #"{"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "BertPreTokenizer"}]}}"#,
      "tokenizer.json: pre_tokenizer.pretokenizers[0]: 'BertPreTokenizer' as a pre-tokenizer"
    ),
  ])
  func whatIsNotUnderstoodIsNamed(_ json: String, _ sentence: String) throws {
    let error = try #require(throws: LlamaError.self) {
      try BytePairTokenizer(json: Array(json.utf8))
    }
    #expect(error.description.hasPrefix(sentence), "\(error.description)")
  }
}
