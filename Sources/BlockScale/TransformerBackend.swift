// SPDX-License-Identifier: Apache-2.0

public import Minifloat

/// A place where whole transformers run: products, and all that lies between them.
///
/// Activations are BF16 between operations and FP32 inside of them. Back ends agree within FP32
/// rounding of sums and exponentials before the one rounding at the end; a back end gives the same
/// bits each time, whatever the number of its threads.
public protocol TransformerBackend: Backend {
  //MARK: Elementwise

  /// The sum of two tensors, rounded once.
  ///
  /// - Throws: ``BlockScaleError`` if the shapes differ.
  func add(
    _ first: BFloat16Tensor, _ second: BFloat16Tensor
  ) throws(BlockScaleError) -> BFloat16Tensor

  /// `x · 1/√(mean(x²) + ε) · weight` of each row.
  ///
  /// - Throws: ``BlockScaleError`` if the weight has another count than the columns.
  func rmsNormForward(
    _ input: BFloat16Tensor, weight: [Float], epsilon: Float
  ) throws(BlockScaleError) -> BFloat16Tensor

  /// The gradients of RMSNorm: of its input, to which that of a residual around it is added before
  /// the one rounding; and of its weight, which are added to `weightGradient`.
  ///
  /// - Throws: ``BlockScaleError`` if shapes differ.
  func rmsNormBackward(
    _ input: BFloat16Tensor, weight: [Float], gradient: BFloat16Tensor,
    residual: BFloat16Tensor?, epsilon: Float, weightGradient: inout [Float]
  ) throws(BlockScaleError) -> BFloat16Tensor

  /// Turns the pairs of each head by the angles of their positions.
  ///
  /// - Parameters:
  ///   - tensor: (B, S, heads × dimension).
  ///   - offset: The position of the first row of each sequence.
  ///   - inverse: Whether to turn back, which is the gradient.
  /// - Throws: ``BlockScaleError`` if the shape does not fit or a position lies outside the table.
  func rotate(
    _ tensor: BFloat16Tensor, by table: RotaryTable, offset: Int, inverse: Bool
  ) throws(BlockScaleError) -> BFloat16Tensor

  /// `silu(gate) · up`.
  ///
  /// - Throws: ``BlockScaleError`` if the shapes differ.
  func swiGLUForward(
    gate: BFloat16Tensor, up: BFloat16Tensor
  ) throws(BlockScaleError) -> BFloat16Tensor

  /// The gradients of both factors of SwiGLU.
  ///
  /// - Throws: ``BlockScaleError`` if the shapes differ.
  func swiGLUBackward(
    gate: BFloat16Tensor, up: BFloat16Tensor, gradient: BFloat16Tensor
  ) throws(BlockScaleError) -> (gate: BFloat16Tensor, up: BFloat16Tensor)

  //MARK: Attention

  /// Causal attention: softmax(q·kᵀ/√d)·v, where a query sees its own position and those before it.
  ///
  /// Products are of BF16 values, probabilities included, with FP32 sums. Scores exist for a few
  /// queries at a time.
  ///
  /// - Parameters:
  ///   - query: (B, S, heads × dimension).
  ///   - key: (B, T, keyValueHeads × dimension) with T ≥ S; the last query is at the last key's
  ///     position.
  ///   - value: As `key`.
  /// - Throws: ``BlockScaleError`` if the shapes do not fit.
  /// - Complexity: O(B·S·T·heads·dimension).
  func attentionForward(
    query: BFloat16Tensor, key: BFloat16Tensor, value: BFloat16Tensor, heads: AttentionHeads
  ) throws(BlockScaleError) -> AttentionOutput

  /// The gradients of attention, with probabilities computed again from the operands and the sums.
  ///
  /// - Parameters:
  ///   - forward: What the forward call gave.
  ///   - gradient: Of its output.
  /// - Throws: ``BlockScaleError`` if the shapes do not fit.
  /// - Complexity: O(B·S·T·heads·dimension).
  func attentionBackward(
    query: BFloat16Tensor, key: BFloat16Tensor, value: BFloat16Tensor, heads: AttentionHeads,
    forward: AttentionOutput, gradient: BFloat16Tensor
  ) throws(BlockScaleError) -> AttentionGradients

  //MARK: Tokens

  /// The rows of a table that tokens name.
  ///
  /// - Returns: tokens × columns.
  /// - Throws: ``BlockScaleError`` if there are no tokens or one is not in the table.
  func embeddingForward(
    _ tokens: [Int32], table: Matrix<BFloat16>
  ) throws(BlockScaleError) -> Matrix<BFloat16>

  /// Adds the gradient of each token's row to that of the table, in the order of the tokens.
  ///
  /// - Throws: ``BlockScaleError`` if the shapes do not fit or a token is not in the table.
  func embeddingBackward(
    _ tokens: [Int32], gradient: Matrix<BFloat16>, into table: inout Matrix<Float>
  ) throws(BlockScaleError)

  /// The cross-entropy of each row of logits with its target, in nats.
  ///
  /// - Parameters:
  ///   - logits: tokens × vocabulary; its memory is used for the work.
  ///   - targets: One for each row.
  ///   - gradientFactor: What the gradient is multiplied by, such as one over the number of tokens;
  ///     nil if none is wanted.
  /// - Throws: ``BlockScaleError`` if there is not one target for each row, or one is not in the
  ///   vocabulary.
  func crossEntropy(
    _ logits: consuming Matrix<Float>, targets: [Int32], gradientFactor: Float?
  ) throws(BlockScaleError) -> CrossEntropyOutput

  //MARK: The optimizer

  /// The sum of the squares of values.
  func sumOfSquares(_ values: [Float]) -> Double

  /// Takes one step of AdamW; see ``ReferenceBackend``.
  ///
  /// - Parameter gradientFactor: What gradients are multiplied by first, as clipping wants it.
  func adamWStep<First, Second>(
    parameters: inout [Float], gradients: [Float], state: inout AdamWState<First, Second>,
    _ options: AdamW, gradientFactor: Float
  ) throws(BlockScaleError)

  //MARK: The FP8 activation flow

  /// Values in groups; see ``ReferenceBackend``.
  func quantizeGroups<Source, Element>(
    _ input: Tensor<Matrix<Source>>, as element: Element.Type, groupSize: Int,
    recipe: ActivationRecipe
  ) throws(BlockScaleError) -> Float8Tensor<Element>

  /// A sum in BF16 and in groups of FP8; see ``ReferenceBackend``.
  func addForward<Element>(
    _ first: BFloat16Tensor, _ second: BFloat16Tensor, as element: Element.Type, groupSize: Int,
    recipe: ActivationRecipe
  ) throws(BlockScaleError) -> AddOutput<Element>

  /// RMSNorm from FP8 to FP8; see ``ReferenceBackend``.
  func rmsNormForward<Input, Element>(
    _ input: Float8Tensor<Input>, weight: [Float], epsilon: Float, as element: Element.Type,
    outputQuantizedTranspose: Bool, recipe: ActivationRecipe
  ) throws(BlockScaleError) -> PerTensorActivation<Element>

  /// The gradients of RMSNorm from FP8; see ``ReferenceBackend``.
  func rmsNormBackward<Input>(
    _ input: Float8Tensor<Input>, weight: [Float], gradient: BFloat16Tensor, epsilon: Float
  ) throws(BlockScaleError) -> NormGradients

  /// SwiGLU from FP8 to FP8; see ``ReferenceBackend``.
  func swiGLUForward<Input, Element>(
    gate: Float8Tensor<Input>, up: Float8Tensor<Input>, as element: Element.Type,
    outputQuantizedTranspose: Bool, recipe: ActivationRecipe
  ) throws(BlockScaleError) -> PerTensorActivation<Element>

  /// The gradients of SwiGLU in FP8; see ``ReferenceBackend``.
  func swiGLUBackward<Input, Element>(
    gate: Float8Tensor<Input>, up: Float8Tensor<Input>, gradient: BFloat16Tensor,
    as element: Element.Type, outputQuantizedTranspose: Bool, recipe: ActivationRecipe
  ) throws(BlockScaleError) -> SwiGLUGradients<Element>
}

/// Losses, and the gradient of the logits.
public struct CrossEntropyOutput: Sendable {
  /// One for each row, in nats.
  public let losses: [Float]
  /// rows × vocabulary; nil if it was not wanted.
  public let gradient: Matrix<BFloat16>?

  package init(losses: [Float], gradient: Matrix<BFloat16>?) {
    self.losses = losses
    self.gradient = gradient
  }
}

extension [Int32] {
  /// Checks tokens before they are used as rows or columns.
  package func check(_ name: String, below limit: Int) throws(BlockScaleError) {
    if let index = firstIndex(where: { $0 < 0 || Int($0) >= limit }) {
      throw BlockScaleError(
        .wrongShape, "\(name) \(index) is \(self[index]), which is none of \(limit).")
    }
  }
}

/// What back ends check of tokens and tables.
package enum TokenChecks {
  package static func check(
    _ tokens: [Int32], gradient: Matrix<BFloat16>, into table: Matrix<Float>
  ) throws(BlockScaleError) {
    guard tokens.count == gradient.rows, gradient.columns == table.columns else {
      throw BlockScaleError(
        .wrongShape,
        "A gradient of \(gradient.rows)x\(gradient.columns) does not belong to \(tokens.count) "
          + "tokens of a table of \(table.rows)x\(table.columns).")
    }
    try tokens.check("Token", below: table.rows)
  }

  package static func check(
    _ tokens: [Int32], table: Matrix<BFloat16>
  ) throws(BlockScaleError) {
    guard !tokens.isEmpty else {
      throw BlockScaleError(.emptyMatrix, "There are no tokens to look up.")
    }
    try tokens.check("Token", below: table.rows)
  }

  package static func check(
    _ targets: [Int32], logits rows: Int, _ columns: Int
  ) throws(BlockScaleError) {
    guard targets.count == rows else {
      throw BlockScaleError(
        .wrongShape, "There are \(targets.count) targets for \(rows) rows of logits.")
    }
    try targets.check("Target", below: columns)
  }
}
