// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleLayers
import Minifloat

/// The keys and values of the tokens that a model has seen of one sequence.
public struct KeyValueCache: Sendable {
  /// The number of those tokens.
  public private(set) var count = 0
  private var layers: [LayerCache]

  /// A cache without tokens.
  ///
  /// - Parameter capacity: The tokens to make room for.
  public init<Compute>(for model: LlamaModel<Compute>, capacity: Int = 0) {
    let heads = model.configuration.heads
    layers = Array(repeating: LayerCache(), count: model.configuration.layerCount)
    for index in layers.indices {
      layers[index].reserve(capacity, columns: heads.keyValueCount * heads.dimension)
    }
  }

  /// Lets a layer take its keys and values.
  fileprivate mutating func with<Result>(
    layer index: Int, _ body: (inout LayerCache?) throws(LlamaError) -> Result
  ) throws(LlamaError) -> Result {
    // Moved out and back, so that there is one reference and nothing is copied.
    var layer: LayerCache? = layers[index]
    layers[index] = LayerCache()
    defer { layers[index] = layer ?? LayerCache() }
    return try body(&layer)
  }

  fileprivate mutating func advance(by tokens: Int) { count += tokens }

  fileprivate func checkLayers(_ count: Int) throws(LlamaError) {
    guard layers.count == count else {
      throw LlamaError(
        .wrongInput, "A cache of \(layers.count) layers does not belong to \(count) layers.")
    }
  }
}

extension LlamaModel {
  /// The logits for the token after the last of some more tokens of a sequence.
  ///
  /// A prompt is given as a whole, what follows one token at a time.
  ///
  /// - Parameters:
  ///   - tokens: One or more.
  ///   - cache: What the model knows of the sequence so far; takes the tokens.
  /// - Returns: One for each token of the vocabulary.
  /// - Throws: ``LlamaError`` if there are no tokens or one is unknown, the context is full, or a value
  ///   is not finite; then the cache is of no use.
  public func nextLogits(
    _ tokens: [Int32], cache: inout KeyValueCache
  ) throws(LlamaError) -> [Float] {
    try cache.checkLayers(layers.count)
    let offset = cache.count
    guard offset + tokens.count <= contextLength else {
      throw LlamaError(
        .wrongInput,
        "\(offset + tokens.count) tokens are more than the context of \(contextLength).")
    }
    var x = try embedded(tokens, shape: [1, tokens.count])
    for (index, layer) in layers.enumerated() {
      x = try cache.with(layer: index) { cache throws(LlamaError) in
        try layer.forward(x, .init(rotary: rotary, offset: offset), cache: &cache).0
      }
    }
    cache.advance(by: tokens.count)
    let columns = x.matrix.columns
    let last = BFloat16Tensor(
      Matrix(unchecked: Array(x.matrix.values.suffix(columns)), rows: 1, columns: columns))
    let normalized = try normalized(last)
    return try at(head.name) { () throws(BlockScaleError) in
      try head.linear.forwardInFloat32(head.linear.prepare(input: normalized)).values
    }
  }
}
