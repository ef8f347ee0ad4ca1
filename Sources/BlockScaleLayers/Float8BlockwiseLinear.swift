// SPDX-License-Identifier: Apache-2.0

public import BlockScale
import Minifloat

/// A linear layer whose three products run in FP8 blocks.
///
/// Inputs and gradients are quantized in blocks of 1x128 and the weight in blocks of 128x128
/// (DeepSeek-V3; torchao `Float8BlockwiseLinear`). Each value is quantized once from BF16: an input
/// and a gradient along both of their dimensions from one read, the weight once after an update, its
/// transpose with the same codes. Between forward and backward the layer keeps the input in FP8
/// alone, in the orientation that the gradient of the weight needs.
///
/// Shapes may be any; nothing need be a multiple of 128.
public struct Float8BlockwiseLinear<Compute: Backend>: LinearLayer {
  /// The numerics of the layer.
  public struct Configuration: Sendable, Hashable {
    /// What turns values into codes and scales; recipes of powers of two are
    /// `deepseek-ue8m0` and `transformer-engine-pow2`.
    public var recipe: Recipe
    /// The format of gradients.
    public var gradientFormat: GradientFormat

    /// Creates a configuration.
    public init(recipe: Recipe = .torchao, gradientFormat: GradientFormat = .e4m3) {
      self.recipe = recipe
      self.gradientFormat = gradientFormat
    }
  }

  /// The element formats of gradients.
  public enum GradientFormat: Sendable, Hashable, CaseIterable {
    /// Three bits of precision more, as DeepSeek-V3 trains.
    case e4m3
    /// A wider range, as TransformerEngine's hybrid recipes have it.
    case e5m2
  }

  /// The input, quantized along the rows of X.
  public struct Saved: Sendable {
    /// `inputs × rows` in blocks of 1x128.
    let transposedInput: Float8Matrix
    /// The rows of the input.
    var rows: Int { transposedInput.columns }
    /// The bytes that are kept.
    public var byteCount: Int {
      transposedInput.codes.count + 4 * transposedInput.scales.count
    }
  }

  private let backend: Compute
  /// Whether the scales of inputs and gradients do not tell that a value was not finite.
  private let hidesNonFinite: Bool
  /// The numerics of the layer.
  public let configuration: Configuration
  private var parameters: LinearParameters
  private var forwardWeight: Compute.PackedOperand
  private var backwardWeight: Compute.PackedOperand

  /// The last dimension of inputs, the columns of the weight.
  public var inputs: Int { parameters.inputs }
  /// The last dimension of outputs, the rows of the weight.
  public var outputs: Int { parameters.outputs }
  /// The master weight, `outputs × inputs`.
  public var weight: Matrix<Float> { parameters.weight }
  /// What is added to each output, if anything.
  public var bias: [Float]? { parameters.bias }

  private static var rowBlocks: Blocking { Blocking(rows: 1, columns: 128) }
  private static var squareBlocks: Blocking { Blocking(rows: 128, columns: 128) }

  /// Creates a layer.
  ///
  /// - Parameters:
  ///   - weight: `outputs × inputs`.
  ///   - bias: One value for each output, or none.
  ///   - configuration: The numerics.
  ///   - backend: Where the layer runs.
  /// - Throws: ``BlockScaleError`` if the counts do not fit, a value is not finite, or the recipe
  ///   does not define FP8 blocks with FP32 scales for values in FP32 and BF16.
  public init(
    weight: Matrix<Float>, bias: [Float]? = nil, configuration: Configuration = Configuration(),
    on backend: Compute
  ) throws(BlockScaleError) {
    // Inputs and gradients come in BF16, for which a recipe may have other scales than for FP32.
    guard
      let rule = configuration.recipe.rule(
        element: .e4m3, scale: .float32, source: .bfloat16, tensorMaximum: 1, perTensor: false)
    else {
      throw BlockScaleError(
        .unsupportedRecipe,
        "The recipe '\(configuration.recipe.rawValue)' does not define FP8 blocks of BF16 values "
          + "with FP32 scales.")
    }
    hidesNonFinite = rule.hidesNonFinite
    let parameters = try LinearParameters(weight: weight, bias: bias)
    self.parameters = parameters
    self.configuration = configuration
    self.backend = backend
    (forwardWeight, backwardWeight) = try Self.packed(parameters, configuration, backend)
  }

  private static func packed(
    _ parameters: LinearParameters, _ configuration: Configuration, _ backend: Compute
  ) throws(BlockScaleError) -> (Compute.PackedOperand, Compute.PackedOperand) {
    let (weight, transposed) = try backend.quantizedBothWays(
      parameters.weight, as: Float8Matrix.self, recipe: configuration.recipe,
      blocking: squareBlocks)
    try weight.checkFinite("The weight")
    return try (backend.pack(Operand(weight)), backend.pack(Operand(transposed)))
  }

  /// Replaces the parameters and prepares the weight for products.
  ///
  /// - Parameters:
  ///   - weight: `outputs × inputs`.
  ///   - bias: One value for each output; none for a layer that has none.
  /// - Throws: ``BlockScaleError`` if a shape differs or a value is not finite; then the layer is as
  ///   it was.
  /// - Complexity: O(outputs × inputs).
  public mutating func update(
    weight: Matrix<Float>, bias: [Float]?
  ) throws(BlockScaleError) {
    let replaced = try parameters.replaced(weight: weight, bias: bias)
    (forwardWeight, backwardWeight) = try Self.packed(replaced, configuration, backend)
    parameters = replaced
  }

  /// The output for `x`, and what its backward call needs.
  ///
  /// - Parameter x: (…, inputs).
  /// - Returns: (…, outputs).
  /// - Throws: ``BlockScaleError`` if the shape does not fit or a value is not finite.
  /// - Complexity: O(rows × inputs × outputs), where rows are all dimensions but the last.
  public func forward(
    _ x: BFloat16Tensor
  ) throws(BlockScaleError) -> (output: BFloat16Tensor, saved: Saved) {
    try parameters.check(input: x)
    if hidesNonFinite { try backend.checkFinite(x.matrix, "The input") }
    let (rows, transposed) = try backend.quantizedBothWays(
      x.matrix, as: Float8Matrix.self, recipe: configuration.recipe, blocking: Self.rowBlocks)
    try rows.checkFinite("The input")
    let output = try backend.multiply(
      Operand(rows), forwardWeight, bias: bias, as: BFloat16.self)
    return (BFloat16Tensor(output, like: x), Saved(transposedInput: transposed))
  }

  /// The gradient of the input; those of the parameters are added to `gradients` in FP32.
  ///
  /// - Parameters:
  ///   - gradient: (…, outputs), with as many rows as the input of the forward call.
  ///   - saved: What that call returned.
  ///   - gradients: Those of this layer, or of one with the same shape.
  /// - Returns: (…, inputs).
  /// - Throws: ``BlockScaleError`` if the shapes do not fit or a value is not finite; then
  ///   `gradients` may hold a part of the sum.
  /// - Complexity: O(rows × inputs × outputs).
  public func backward(
    _ gradient: BFloat16Tensor, saved: Saved, into gradients: inout LinearGradients
  ) throws(BlockScaleError) -> BFloat16Tensor {
    try parameters.check(gradient: gradient, rows: saved.rows, into: gradients)
    if hidesNonFinite { try backend.checkFinite(gradient.matrix, "The gradient") }
    switch configuration.gradientFormat {
    case .e4m3: return try backward(gradient, as: Float8E4M3.self, saved, &gradients)
    case .e5m2: return try backward(gradient, as: Float8E5M2.self, saved, &gradients)
    }
  }

  private func backward<Element: BlockElement>(
    _ gradient: BFloat16Tensor, as element: Element.Type, _ saved: Saved,
    _ gradients: inout LinearGradients
  ) throws(BlockScaleError) -> BFloat16Tensor {
    let (rows, transposed) = try backend.quantizedBothWays(
      gradient.matrix, as: BlockScaledMatrix<Element, Float>.self, recipe: configuration.recipe,
      blocking: Self.rowBlocks)
    try rows.checkFinite("The gradient")
    let result = try backend.multiply(
      Operand(rows), backwardWeight, bias: nil, as: BFloat16.self)
    try backend.multiply(
      Operand(transposed), backend.pack(Operand(saved.transposedInput)), bias: nil,
      into: &gradients.weight, adding: true)
    if gradients.bias != nil {
      backend.addColumnSums(of: gradient.matrix, to: &gradients.bias!)
    }
    return BFloat16Tensor(result, like: gradient)
  }
}
