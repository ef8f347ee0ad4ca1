// SPDX-License-Identifier: Apache-2.0

import Safetensors

extension TokenizerReader {
  /// The tokens outside the vocabulary.
  func addedTokens(areNormalized: Bool) throws(LlamaError) -> [AddedTokens.Token] {
    guard optional("added_tokens") != nil else { return [] }
    var result: [AddedTokens.Token] = []
    for entry in try array("added_tokens") {
      if try entry.bool("single_word", default: false) {
        throw entry.unsupported("that must be a word of its own")
      }
      let isSpecial = try entry.bool("special", default: false)
      let isNormalized = try entry.bool("normalized", default: !isSpecial)
      if isNormalized, !areNormalized, !isSpecial {
        throw entry.unsupported("that is looked for after normalization")
      }
      result.append(
        AddedTokens.Token(
          id: try entry.member("id").token, content: try entry.string("content"),
          isSpecial: isSpecial, stripsLeft: try entry.bool("lstrip", default: false),
          stripsRight: try entry.bool("rstrip", default: false)))
    }
    return result
  }

  /// A vocabulary and its merges.
  func bytePairModel(isByteLevel: Bool) throws(LlamaError) -> BytePairModel {
    let type = try string("type")
    guard type == "BPE" else { throw unsupported("as a model") }
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
      if let affix = optional(key), affix.json.stringValue != "" {
        throw unsupported("with a '\(key)'")
      }
    }
    if let dropout = optional("dropout"), dropout.json.doubleValue != 0 {
      throw unsupported("with dropout")
    }
    var model = BytePairModel()
    model.isByteLevel = isByteLevel
    model.fusesUnknown = try bool("fuse_unk", default: false)
    model.ignoresMerges = try bool("ignore_merges", default: false)
    /// What a text of the file stands for.
    func bytes(_ text: String) -> [UInt8] {
      (isByteLevel ? ByteAlphabet.bytes(of: text) : nil) ?? Array(text.utf8)
    }

    let entries = try member("vocab")
    guard let pairs = entries.json.arrayValue else {
      throw entries.malformed("is \(entries.json.kind), not an object")
    }
    for pair in pairs {
      // The parser made every member an array of two.
      guard let parts = pair.arrayValue, parts.count == 2, let text = parts[0].stringValue else {
        throw entries.malformed("is an array, not an object")
      }
      let id = try TokenizerReader(parts[1], "\(entries.path)['\(text)']").token
      let token = bytes(text)
      if id >= model.tokens.count {
        model.tokens += Array(repeating: [], count: Int(id) + 1 - model.tokens.count)
      }
      model.tokens[Int(id)] = token
      model.ids[token] = id
    }
    if try bool("byte_fallback", default: false) {
      let tokens = (UInt8.min...UInt8.max).map { model.ids[TokenDecoder.token($0)] }
      // As its producer does, bytes are only used if all of them are there.
      if !tokens.contains(nil) { model.byteTokens = tokens.compactMap(\.self) }
    }
    if optional("unk_token") != nil {
      let unknown = try string("unk_token")
      guard let id = model.ids[bytes(unknown)] else {
        throw malformed("the unknown token '\(unknown)' is not in the vocabulary")
      }
      model.unknown = id
    }

    for (rank, merge) in try array("merges").enumerated() {
      let parts: [String]
      if let text = merge.json.stringValue {
        parts = text.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
      } else {
        parts = merge.json.arrayValue?.compactMap(\.stringValue) ?? []
      }
      guard parts.count == 2 else { throw merge.malformed("is no pair of tokens") }
      let (left, right) = (bytes(parts[0]), bytes(parts[1]))
      guard let leftID = model.ids[left], let rightID = model.ids[right],
        let token = model.ids[left + right]
      else {
        throw merge.malformed("'\(parts[0])' and '\(parts[1])' or what they make is no token")
      }
      model.merges[BytePairModel.key(leftID, rightID)] = BytePairModel.Merge(
        rank: Int32(rank), token: token)
    }
    return model
  }
}
