// SPDX-License-Identifier: Apache-2.0

public import BlockScale
import RealModule

/// Picks the next token from logits.
public struct Sampler: Sendable, Hashable {
  /// What logits are divided by: 0 picks the likeliest token, 1 leaves the model's probabilities.
  public let temperature: Double
  /// Of the likeliest tokens as many stay in the game as have this probability together; 1 keeps all.
  ///
  /// Source: Holtzman and others, arXiv:1904.09751.
  public let topP: Double
  private var random: RandomStream

  /// Creates a sampler.
  ///
  /// - Parameter seed: What the picks follow from.
  /// - Throws: ``LlamaError`` for a negative temperature or a share outside 0 to 1.
  public init(temperature: Double = 0, topP: Double = 1, seed: UInt64 = 0) throws(LlamaError) {
    guard temperature >= 0, temperature.isFinite else {
      throw LlamaError(.wrongInput, "A temperature of \(temperature) cannot be sampled at.")
    }
    guard topP > 0, topP <= 1 else {
      throw LlamaError(
        .wrongInput, "A share of \(topP) of all probability is not above 0 and up to 1.")
    }
    self.temperature = temperature
    self.topP = topP
    random = RandomStream(seed: seed)
  }

  /// The picked token.
  ///
  /// - Parameter logits: One for each token; at least one, all finite.
  /// - Complexity: O(n), and O(n log n) with a share below 1.
  public mutating func pick(_ logits: [Float]) -> Int32 {
    // Of equal ones the first.
    let best = logits.indices.max { (logits[$0], $1) < (logits[$1], $0) }
    guard let best else { preconditionFailure("There are no logits to pick from") }
    guard temperature > 0 else { return Int32(best) }
    let most = Double(logits[best])
    let weights = logits.map { Double.exp((Double($0) - most) / temperature) }
    let total = weights.reduce(0, +)
    guard topP < 1 else {
      return Int32(place(of: random.uniform() * total, in: weights.indices, weights) ?? best)
    }
    let order = weights.indices.sorted { (weights[$0], $1) > (weights[$1], $0) }
    var kept = 0
    var sum = 0.0
    while kept < order.count, sum < topP * total {
      sum += weights[order[kept]]
      kept += 1
    }
    return Int32(place(of: random.uniform() * sum, in: order[..<kept], weights) ?? best)
  }

  /// The token in whose part of the running sum a number falls.
  private func place(
    of target: Double, in tokens: some Sequence<Int>, _ weights: [Double]
  ) -> Int? {
    var sum = 0.0
    var last: Int?
    for token in tokens where weights[token] > 0 {
      sum += weights[token]
      if target < sum { return token }
      last = token
    }
    // Rounding may leave the sum a little short.
    return last
  }
}

/// A text that a model writes, token by token.
///
///     var text = try TokenGenerator(model, prompt: tokens, sampler: Sampler())
///     while text.count < 100 { print(try text.next()) }
public struct TokenGenerator<Compute: TransformerBackend>: Sendable {
  private let model: LlamaModel<Compute>
  private var sampler: Sampler
  private var cache: KeyValueCache
  private var logits: [Float]
  // A token is read when the one after it is asked for: the last one need not fit into the context.
  private var unread: Int32?
  /// The tokens written so far, without the prompt.
  public private(set) var count = 0

  /// Reads the prompt.
  ///
  /// - Parameter capacity: The tokens to make room for after the prompt.
  /// - Throws: ``LlamaError`` if the prompt is empty, longer than the context or has unknown tokens.
  public init(
    _ model: LlamaModel<Compute>, prompt: [Int32], sampler: Sampler, capacity: Int = 0
  ) throws(LlamaError) {
    guard !prompt.isEmpty else {
      throw LlamaError(.wrongInput, "The prompt has no tokens to go on from.")
    }
    self.model = model
    self.sampler = sampler
    cache = KeyValueCache(for: model, capacity: prompt.count + min(capacity, model.contextLength))
    logits = try model.nextLogits(prompt, cache: &cache)
  }

  /// Whether the context has no room for the last token, which the next one would follow from.
  public var isFull: Bool { unread != nil && cache.count >= model.contextLength }

  /// Writes a token.
  ///
  /// - Throws: ``LlamaError`` if a value is not finite.
  /// - Precondition: The context is not full.
  public mutating func next() throws(LlamaError) -> Int32 {
    precondition(!isFull, "The context is full")
    if let unread { logits = try model.nextLogits([unread], cache: &cache) }
    let token = sampler.pick(logits)
    unread = token
    count += 1
    return token
  }
}
