// SPDX-License-Identifier: Apache-2.0

package import Safetensors

extension BytePairTokenizer {
  /// Reads a tokenizer.json.
  ///
  /// - Parameter json: The file's text in UTF-8.
  /// - Throws: ``LlamaError`` if it is no tokenizer, or one that is not understood.
  /// - Complexity: O(n) in the length of the file.
  public init(json: [UInt8]) throws(LlamaError) {
    let value: JSONValue
    do throws(JSONError) {
      // A vocabulary may have keys that are equal as strings.
      value = try JSONValue.parse(json.span, pairsUnder: "vocab")
    } catch {
      throw LlamaError(
        .malformedConfiguration,
        "tokenizer.json: no valid JSON at byte \(error.offset): \(error.message).")
    }
    try self.init(value)
  }

  package init(_ json: JSONValue) throws(LlamaError) {
    let root = TokenizerReader(json, "tokenizer.json")
    normalizers = try root.steps("normalizer", of: "normalizers") {
      step throws(LlamaError) in try step.normalizers()
    }
    var isByteLevel = false
    splitters = try root.steps("pre_tokenizer", of: "pretokenizers") {
      step throws(LlamaError) in
      guard !isByteLevel else { throw step.unsupported("after ByteLevel") }
      isByteLevel = try step.string("type") == "ByteLevel"
      return try step.splitters()
    }
    model = try root.member("model").bytePairModel(isByteLevel: isByteLevel)
    decoders = try root.steps("decoder", of: "decoders") {
      step throws(LlamaError) in try step.decoders(isByteLevel: isByteLevel)
    }
    addedTokens = try AddedTokens(root.addedTokens(areNormalized: normalizers.isEmpty))
    var template: (opening: [Int32], closing: [Int32]) = ([], [])
    _ = try root.steps("post_processor", of: "processors") {
      step throws(LlamaError) -> [Int] in
      if let found = try step.template() { template = found }
      return []
    }
    (opening, closing) = template
  }
}

/// A part of a tokenizer.json and where it stands.
struct TokenizerReader {
  let json: JSONValue
  let path: String

  init(_ json: JSONValue, _ path: String) {
    self.json = json
    self.path = path
  }

  // MARK: Members

  func malformed(_ text: String) -> LlamaError {
    LlamaError(.malformedConfiguration, "\(path): \(text).")
  }

  func unsupported(_ text: String) -> LlamaError {
    let type = json["type"]?.stringValue.map { "'\($0)' " } ?? ""
    return LlamaError(.unsupportedConfiguration, "\(path): \(type)\(text) is not supported.")
  }

  private func within(_ key: String) -> String {
    path == "tokenizer.json" ? "\(path): \(key)" : "\(path).\(key)"
  }

  /// A member that is there and is not null.
  func optional(_ key: String) -> TokenizerReader? {
    guard let value = json[key], !value.isNull else { return nil }
    return TokenizerReader(value, within(key))
  }

  func member(_ key: String) throws(LlamaError) -> TokenizerReader {
    guard let member = optional(key) else { throw malformed("has no '\(key)'") }
    return member
  }

  func array(_ key: String) throws(LlamaError) -> [TokenizerReader] {
    let member = try member(key)
    guard let elements = member.json.arrayValue else {
      throw member.malformed("is \(member.json.kind), not an array")
    }
    return elements.enumerated().map { TokenizerReader($1, "\(member.path)[\($0)]") }
  }

  func string(_ key: String) throws(LlamaError) -> String {
    let member = try member(key)
    guard let value = member.json.stringValue else {
      throw member.malformed("is \(member.json.kind), not a string")
    }
    return value
  }

  func bool(_ key: String, default usual: Bool) throws(LlamaError) -> Bool {
    guard let member = optional(key) else { return usual }
    guard let value = member.json.boolValue else {
      throw member.malformed("is \(member.json.kind), not a Boolean")
    }
    return value
  }

  func count(_ key: String) throws(LlamaError) -> Int {
    let member = try member(key)
    guard let value = member.json.intValue, value >= 0 else {
      throw member.malformed("is \(member.json.rendered(.compact)), not a whole number")
    }
    return value
  }

  /// A token's number.
  var token: Int32 {
    get throws(LlamaError) {
      guard let value = json.intValue, value >= 0, value < 1 << 24 else {
        throw malformed("is \(json.rendered(.compact)), not the number of a token")
      }
      return Int32(value)
    }
  }

  // MARK: Steps

  /// The steps of a member that may be missing, be one step or be a sequence of them.
  func steps<Step>(
    _ key: String, of elements: String,
    _ read: (TokenizerReader) throws(LlamaError) -> [Step]
  ) throws(LlamaError) -> [Step] {
    guard let member = optional(key) else { return [] }
    guard try member.string("type") == "Sequence" else { return try read(member) }
    var result: [Step] = []
    for element in try member.array(elements) { result += try read(element) }
    return result
  }

  /// A pattern that is a plain text.
  private func plainPattern() throws(LlamaError) -> String {
    let pattern = try member("pattern")
    guard pattern.optional("String") != nil else {
      throw unsupported("with a regular expression")
    }
    return try pattern.string("String")
  }

  func normalizers() throws(LlamaError) -> [TextNormalizer] {
    switch try string("type") {
    case "Prepend": return [.prepend(try string("prepend"))]
    case "Replace": return [.replace(try plainPattern(), with: try string("content"))]
    default: throw unsupported("as a normalizer")
    }
  }

  func splitters() throws(LlamaError) -> [TextSplitter] {
    switch try string("type") {
    case "ByteLevel":
      return (try bool("add_prefix_space", default: true) ? [.spaceBefore] : [])
        + (try bool("use_regex", default: true) ? [.words] : [])
    case "Digits": return [.digits(isIndividual: try bool("individual_digits", default: false))]
    case "Metaspace":
      let mark = try string("replacement").unicodeScalars
      guard mark.count == 1, let first = mark.first else {
        throw malformed("'replacement' is not one character")
      }
      // Older files say only whether a space is added.
      let isAdded = try bool("add_prefix_space", default: true)
      let scheme = optional("prepend_scheme") == nil ? nil : try string("prepend_scheme")
      guard
        let prepending = TextSplitter.Prepending(
          rawValue: scheme ?? (isAdded ? "always" : "never"))
      else { throw unsupported("with the prepend_scheme '\(scheme ?? "")'") }
      return [.metaspace(first, prepending, splits: try bool("split", default: true))]
    case "Split":
      let pattern = try member("pattern")
      let expression =
        pattern.optional("Regex") != nil
        ? try pattern.string("Regex") : escaped(try pattern.string("String"))
      let name = try string("behavior")
      guard let behavior = TextSplitter.Behavior(rawValue: name) else {
        throw unsupported("with the behavior '\(name)'")
      }
      do {
        _ = try TextSplitter.expression(expression)
      } catch {
        throw pattern.malformed("is no regular expression that is understood: \(error)")
      }
      return [.pattern(expression, behavior, isInverted: try bool("invert", default: false))]
    default: throw unsupported("as a pre-tokenizer")
    }
  }

  /// An expression for a text as it is.
  private func escaped(_ text: String) -> String {
    text.unicodeScalars.map { "\\u{\(String($0.value, radix: 16))}" }.joined()
  }

  func decoders(isByteLevel: Bool) throws(LlamaError) -> [TokenDecoder] {
    switch try string("type") {
    case "ByteLevel":
      guard isByteLevel else { throw unsupported("with a vocabulary of characters") }
      return []
    case "ByteFallback": return [.byteFallback]
    case "Fuse": return [.fuse]
    case "Replace": return [.replace(try plainPattern(), with: try string("content"))]
    case "Strip":
      return [.strip(try string("content"), start: try count("start"), stop: try count("stop"))]
    case "Metaspace":
      let mark = try string("replacement")
      let keepsFirst = optional("prepend_scheme")?.json.stringValue == "never"
      return [.replace(mark, with: " "), .fuse]
        + (keepsFirst ? [] : [.strip(" ", start: 1, stop: 0)])
    default: throw unsupported("as a decoder")
    }
  }

  /// The tokens before and after a text, if this step puts any there.
  func template() throws(LlamaError) -> (opening: [Int32], closing: [Int32])? {
    switch try string("type") {
    case "ByteLevel": return nil
    case "TemplateProcessing":
      var result: (opening: [Int32], closing: [Int32]) = ([], [])
      var isAfter = false
      for part in try array("single") {
        if part.optional("Sequence") != nil {
          isAfter = true
          continue
        }
        let name = try part.member("SpecialToken").string("id")
        for id in try member("special_tokens").member(name).array("ids") {
          if isAfter {
            result.closing.append(try id.token)
          } else {
            result.opening.append(try id.token)
          }
        }
      }
      return result
    default: throw unsupported("as a post-processor")
    }
  }
}
