// SPDX-License-Identifier: Apache-2.0

public import BlockScale
import BlockScaleLayers
import Minifloat

/// Sequences of one length and, for each token, the one that follows.
public struct TokenBatch: Sendable, Hashable {
  /// The number of sequences.
  public let sequences: Int
  /// The tokens of each.
  public let length: Int
  /// The inputs, sequence by sequence.
  public let tokens: [Int32]
  /// What is to be predicted from each input.
  public let targets: [Int32]

  /// Creates a batch.
  ///
  /// - Parameter sequences: Runs of one length of at least two; the last token of each is a target only.
  /// - Throws: ``LlamaError`` if there are none or they differ in their lengths.
  public init(_ sequences: [[Int32]]) throws(LlamaError) {
    guard let first = sequences.first, first.count > 1,
      sequences.allSatisfy({ $0.count == first.count })
    else {
      throw LlamaError(
        .wrongInput, "A batch has sequences of one length of at least two tokens.")
    }
    self.sequences = sequences.count
    length = first.count - 1
    tokens = sequences.flatMap { $0.dropLast() }
    targets = sequences.flatMap { $0.dropFirst() }
  }
}

extension LlamaModel {
  /// The hidden states after all layers but the last normalization, and what each layer saved.
  private func hidden(
    _ tokens: [Int32], shape: [Int], keeps: Bool
  ) throws(LlamaError) -> (BFloat16Tensor, [DecoderLayer<Compute>.Saved]) {
    var x = try embedded(tokens, shape: shape)
    var saved: [DecoderLayer<Compute>.Saved] = []
    var cache: LayerCache?
    for layer in layers {
      let (result, kept) = try layer.forward(x, .init(rotary: rotary, offset: 0), cache: &cache)
      x = result
      if keeps { saved.append(kept) }
    }
    return (x, saved)
  }

  /// The rows of the embedding.
  func embedded(_ tokens: [Int32], shape: [Int]) throws(LlamaError) -> BFloat16Tensor {
    guard shape[1] <= contextLength else {
      throw LlamaError(
        .wrongInput,
        "A sequence of \(shape[1]) tokens is longer than the context of \(contextLength).")
    }
    return try at("model.embed_tokens") { () throws(BlockScaleError) in
      try Tensor(
        backend.embeddingForward(tokens, table: embedding),
        shape: shape + [configuration.hiddenSize])
    }
  }

  /// The last normalization.
  func normalized(_ x: BFloat16Tensor) throws(LlamaError) -> BFloat16Tensor {
    try at("model.norm") { () throws(BlockScaleError) in
      try backend.rmsNormForward(
        x, weight: norm, epsilon: Float(configuration.normEpsilon))
    }
  }

  /// The logits of every token, `tokens × vocabulary`.
  ///
  /// - Parameter tokens: One sequence.
  /// - Throws: ``LlamaError`` if a token is not in the vocabulary, the sequence is longer than the
  ///   context, or a value is not finite.
  public func logits(_ tokens: [Int32]) throws(LlamaError) -> Matrix<Float> {
    let (x, _) = try hidden(tokens, shape: [1, tokens.count], keeps: false)
    let last = try normalized(x)
    return try at(head.name) { () throws(BlockScaleError) in
      try head.linear.forwardInFloat32(head.linear.prepare(input: last))
    }
  }

  /// The mean cross-entropy of a batch, in nats a token.
  ///
  /// - Throws: ``LlamaError``; see ``logits(_:)``.
  public func loss(_ batch: TokenBatch) throws(LlamaError) -> Double {
    try tokenLosses(batch).reduce(0.0) { $0 + Double($1) } / Double(batch.targets.count)
  }

  /// The cross-entropy of each target of a batch, in nats.
  ///
  /// - Throws: ``LlamaError``; see ``logits(_:)``.
  public func tokenLosses(_ batch: TokenBatch) throws(LlamaError) -> [Float] {
    let (x, _) = try hidden(
      batch.tokens, shape: [batch.sequences, batch.length], keeps: false)
    var losses: [Float] = []
    try forEachChunk(of: try normalized(x), batch) { rows, input, targets throws(LlamaError) in
      losses += try at(head.name) { () throws(BlockScaleError) in
        try backend.crossEntropy(
          head.linear.forwardInFloat32(input), targets: targets, gradientFactor: nil
        ).losses
      }
    }
    return losses
  }

  /// The mean cross-entropy of a batch; its gradients are added, divided by a number of micro-batches.
  ///
  /// - Parameters:
  ///   - gradients: Sums in FP32.
  ///   - share: What the gradients are multiplied by: one over the micro-batches of a step.
  /// - Returns: The loss in nats a token, not multiplied.
  /// - Throws: ``LlamaError`` that names the module where a value is not finite; see ``logits(_:)``.
  /// - Precondition: The model was prepared for training.
  /// - Complexity: O(tokens × parameters).
  public func loss(
    _ batch: TokenBatch, addingGradientsTo gradients: inout ParameterStore, share: Double = 1
  ) throws(LlamaError) -> Double {
    precondition(trains, "A model that was prepared for inference has no gradients")
    let (x, saved) = try hidden(
      batch.tokens, shape: [batch.sequences, batch.length], keeps: true)
    let last = try normalized(x)
    let factor = Float(share / Double(batch.targets.count))
    var losses = 0.0
    var lastGradient: [BFloat16] = []
    try forEachChunk(of: last, batch) { rows, input, targets throws(LlamaError) in
      let gradient = try at(head.name) { () throws(BlockScaleError) in
        let output = try backend.crossEntropy(
          head.linear.forwardInFloat32(input), targets: targets, gradientFactor: factor)
        losses += output.losses.reduce(0.0) { $0 + Double($1) }
        guard let gradient = output.gradient else {
          preconditionFailure("A gradient was asked for")
        }
        guard losses.isFinite else {
          throw BlockScaleError(.nonFinite, "The loss is not a number.")
        }
        let prepared = try head.linear.prepare(gradient: BFloat16Tensor(gradient), rows: rows)
        let packed = try input.saved.packed(on: backend)
        try gradients.accumulate(head.parameter) { sum, adding throws(BlockScaleError) in
          try head.linear.addWeightGradient(prepared, input: packed, to: &sum, adding: adding)
        }
        return try head.linear.inputGradient(prepared)
      }
      lastGradient += gradient.matrix.values
    }
    var gradient = try at("model.norm") { () throws(BlockScaleError) in
      try backend.rmsNormBackward(
        x, weight: norm,
        gradient: Tensor(
          Matrix(lastGradient, rows: x.matrix.rows, columns: x.matrix.columns), shape: x.shape),
        residual: nil, epsilon: Float(configuration.normEpsilon),
        weightGradient: &gradients["model.norm.weight"].values)
    }
    var kept = saved
    for layer in layers.reversed() {
      // What a layer saved is let go as soon as it is used.
      gradient = try layer.backward(
        gradient, saved: kept.removeLast(), rotary: rotary, into: &gradients)
    }
    try at("model.embed_tokens") { () throws(BlockScaleError) in
      try backend.embeddingBackward(
        batch.tokens, gradient: gradient.matrix,
        into: &gradients["model.embed_tokens.weight"])
    }
    return losses / Double(batch.targets.count)
  }

  /// The most logits that exist at a time.
  private static var chunkLogits: Int { 1 << 25 }

  /// Runs `body` for some rows at a time, so that a large vocabulary does not take all memory.
  private func forEachChunk(
    of x: BFloat16Tensor, _ batch: TokenBatch,
    _ body: (Int, LinearInput, [Int32]) throws(LlamaError) -> Void
  ) throws(LlamaError) {
    let (rows, columns) = (x.matrix.rows, x.matrix.columns)
    let count = max(1, min(rows, Self.chunkLogits / configuration.vocabularySize))
    for first in stride(from: 0, to: rows, by: count) {
      let range = first..<min(rows, first + count)
      let part =
        range.count == rows
        ? x
        : BFloat16Tensor(
          Matrix(
            unchecked: Array(
              x.matrix.values[range.lowerBound * columns..<range.upperBound * columns]),
            rows: range.count, columns: columns))
      let input = try at(head.name) { () throws(BlockScaleError) in
        try head.linear.prepare(input: part)
      }
      try body(range.count, input, Array(batch.targets[range]))
    }
  }
}
