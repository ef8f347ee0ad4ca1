// SPDX-License-Identifier: Apache-2.0

import BlockScale
import OrderedCollections
package import Safetensors

extension LlamaConfiguration {
  /// Reads a config.json.
  ///
  /// - Parameter json: The file's text in UTF-8.
  /// - Throws: ``LlamaError`` if it is no configuration of a Llama 3 model, or asks for what this model
  ///   does not do.
  public init(json: [UInt8]) throws(LlamaError) {
    let value: JSONValue
    do throws(JSONError) {
      value = try JSONValue.parse(json)
    } catch {
      throw LlamaError(
        .malformedConfiguration,
        "config.json: no valid JSON at byte \(error.offset): \(error.message).")
    }
    try self.init(value)
  }

  /// The file's text in UTF-8.
  public var json: [UInt8] { JSONValue.object(allMembers).renderedBytes(.pretty) + [0x0A] }

  /// The tokens that end a text, one or several.
  public var endTokens: [Int32] {
    guard let value = members["eos_token_id"] else { return [] }
    return (value.arrayValue ?? [value]).compactMap { $0.intValue.flatMap(Int32.init(exactly:)) }
  }

  package init(_ json: JSONValue) throws(LlamaError) {
    guard let members = json.objectValue else {
      throw LlamaError(.malformedConfiguration, "config.json: is \(json.kind), not an object.")
    }
    let reader = MemberReader(members: members)
    try reader.requireLlama()
    let hiddenSize = try reader.count("hidden_size")
    let headCount = try reader.count("num_attention_heads")
    let dimension: Int
    if let given = try reader.optionalCount("head_dim") {
      dimension = given
    } else {
      guard hiddenSize % headCount == 0 else {
        throw LlamaError(
          .malformedConfiguration,
          "config.json: \(headCount) heads do not divide the hidden size of \(hiddenSize), and "
            + "'head_dim' is not given.")
      }
      dimension = hiddenSize / headCount
    }
    guard dimension % 2 == 0 else {
      throw LlamaError(
        .unsupportedConfiguration,
        "config.json: heads of \(dimension) values have no pairs to turn.")
    }
    let keyValueCount = try reader.optionalCount("num_key_value_heads") ?? headCount
    let heads: AttentionHeads
    do throws(BlockScaleError) {
      heads = try AttentionHeads(
        count: headCount, keyValueCount: keyValueCount, dimension: dimension)
    } catch {
      throw LlamaError(.malformedConfiguration, "config.json: \(error.description)")
    }
    let rotary = try reader.rotary()
    try self.init(
      vocabularySize: reader.count("vocab_size"), hiddenSize: hiddenSize,
      intermediateSize: reader.count("intermediate_size"),
      layerCount: reader.count("num_hidden_layers", below: 1 << 16), heads: heads,
      normEpsilon: reader.number("rms_norm_eps") ?? 1e-6, rotaryBase: rotary.base,
      rotaryScaling: rotary.scaling,
      maximumPositions: reader.optionalCount("max_position_embeddings") ?? 2048,
      tiesHead: members["tie_word_embeddings"]?.boolValue ?? false,
      initializerRange: reader.number("initializer_range") ?? 0.02)
    self.members = members
  }

  /// What was read, with the members that this type knows as they are now.
  private var allMembers: OrderedDictionary<String, JSONValue> {
    var result: OrderedDictionary<String, JSONValue> = members
    func setUnlessPresent(_ key: String, _ value: JSONValue) {
      if result[key] == nil { result[key] = value }
    }
    func set(_ key: String, _ value: Int) {
      if result[key]?.intValue != value { result[key] = JSONValue(value) }
    }
    func set(_ key: String, _ value: Double) {
      if result[key]?.doubleValue != value { result[key] = JSONValue(value) }
    }
    setUnlessPresent("architectures", ["LlamaForCausalLM"])
    setUnlessPresent("model_type", "llama")
    setUnlessPresent("attention_bias", false)
    setUnlessPresent("mlp_bias", false)
    setUnlessPresent("hidden_act", "silu")
    set("vocab_size", vocabularySize)
    set("hidden_size", hiddenSize)
    set("intermediate_size", intermediateSize)
    set("num_hidden_layers", layerCount)
    set("num_attention_heads", heads.count)
    set("num_key_value_heads", heads.keyValueCount)
    set("head_dim", heads.dimension)
    set("rms_norm_eps", normEpsilon)
    set("max_position_embeddings", maximumPositions)
    set("initializer_range", initializerRange)
    result["tie_word_embeddings"] = .bool(tiesHead)
    if result["dtype"] == nil { setUnlessPresent("torch_dtype", "bfloat16") }
    // What was read keeps its form; transformers 4 and 5 both read the one that is written otherwise.
    let reader = MemberReader(members: result)
    let known = try? reader.rotary()
    if known?.base != rotaryBase || known?.scaling != rotaryScaling || members.isEmpty {
      result["rope_parameters"] = nil
      result["rope_theta"] = JSONValue(rotaryBase)
      result["rope_scaling"] = rotaryScaling.map { scaling in
        [
          "rope_type": "llama3", "factor": JSONValue(scaling.factor),
          "low_freq_factor": JSONValue(scaling.lowFrequencyFactor),
          "high_freq_factor": JSONValue(scaling.highFrequencyFactor),
          "original_max_position_embeddings": JSONValue(scaling.originalPositions),
        ]
      }
    }
    return result
  }
}

/// Reads members of a config.json.
private struct MemberReader {
  let members: OrderedDictionary<String, JSONValue>

  func requireLlama() throws(LlamaError) {
    func refuse(_ key: String, _ text: String) -> LlamaError {
      LlamaError(.unsupportedConfiguration, "config.json: '\(key)' is \(text).")
    }
    guard let type = members["model_type"]?.stringValue, type == "llama" else {
      throw refuse(
        "model_type",
        "\(members["model_type"]?.rendered(.compact) ?? "missing"), and only \"llama\" is supported"
      )
    }
    if let activation = members["hidden_act"]?.stringValue, activation != "silu" {
      throw refuse("hidden_act", "'\(activation)', and only 'silu' is supported")
    }
    for key in ["attention_bias", "mlp_bias"] where members[key]?.boolValue == true {
      throw refuse(key, "true, and linear layers with biases are not supported")
    }
    if let parts = members["pretraining_tp"]?.intValue, parts > 1 {
      throw refuse("pretraining_tp", "\(parts), and only 1 is supported")
    }
  }

  /// - Parameter limit: Products of two widths below the usual one do not overflow.
  func optionalCount(_ key: String, below limit: Int = 1 << 31) throws(LlamaError) -> Int? {
    guard let value = members[key], !value.isNull else { return nil }
    guard let count = value.intValue, count > 0, count < limit else {
      throw LlamaError(
        .malformedConfiguration,
        "config.json: '\(key)' is \(value.rendered(.compact)), not a whole number from 1 to \(limit - 1)."
      )
    }
    return count
  }

  func count(_ key: String, below limit: Int = 1 << 31) throws(LlamaError) -> Int {
    guard let count = try optionalCount(key, below: limit) else {
      throw LlamaError(.malformedConfiguration, "config.json: '\(key)' is missing.")
    }
    return count
  }

  func number(_ key: String, in object: JSONValue? = nil) throws(LlamaError) -> Double? {
    let member = if let object { object[key] } else { members[key] }
    guard let value = member, !value.isNull else { return nil }
    guard let number = value.doubleValue, number > 0, number.isFinite else {
      throw LlamaError(
        .malformedConfiguration,
        "config.json: '\(key)' is \(value.rendered(.compact)), not a positive number.")
    }
    return number
  }

  /// transformers 4 writes `rope_theta` and `rope_scaling`, version 5 both in `rope_parameters`.
  func rotary() throws(LlamaError) -> (base: Double, scaling: RotaryScaling?) {
    let parameters = members["rope_parameters"].flatMap { $0.isNull ? nil : $0 }
    let scaling = parameters ?? members["rope_scaling"].flatMap { $0.isNull ? nil : $0 }
    let own = try parameters.map { object throws(LlamaError) in
      try number("rope_theta", in: object)
    }
    let outer = try number("rope_theta")
    let base = (own ?? nil) ?? outer ?? 10_000
    guard let scaling else { return (base, nil) }
    let type = (scaling["rope_type"] ?? scaling["type"])?.stringValue ?? "default"
    switch type {
    case "default": return (base, nil)
    case "llama3":
      let (factor, low, high) = try (
        number("factor", in: scaling), number("low_freq_factor", in: scaling),
        number("high_freq_factor", in: scaling)
      )
      guard let factor, let low, let high,
        let original = scaling["original_max_position_embeddings"]?.intValue, original > 0,
        high > low
      else {
        throw LlamaError(
          .malformedConfiguration,
          "config.json: the rotary scaling 'llama3' needs 'factor', 'low_freq_factor', a larger "
            + "'high_freq_factor' and 'original_max_position_embeddings'.")
      }
      return (
        base,
        RotaryScaling(
          factor: factor, lowFrequencyFactor: low, highFrequencyFactor: high,
          originalPositions: original)
      )
    default:
      throw LlamaError(
        .unsupportedConfiguration,
        "config.json: the rotary scaling '\(type)' is not supported, only 'llama3' is.")
    }
  }
}
