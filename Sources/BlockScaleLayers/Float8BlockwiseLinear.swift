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
  /// The numerics of the layer.
  public let configuration: Configuration
  private var parameters: LinearParameters
  private var forwardWeight: Compute.PackedOperand
  private var backwardWeight: Compute.PackedOperand

  public var inputs: Int { parameters.inputs }
  public var outputs: Int { parameters.outputs }
  public var weight: Matrix<Float> { parameters.weight }
  public var bias: [Float]? { parameters.bias }

  private static var rowBlocks: Blocking { Blocking(rows: 1, columns: 128) }
  private static var squareBlocks: Blocking { Blocking(rows: 128, columns: 128) }

  /// Creates a layer.
  ///
  /// - Parameters:
  ///   - weight: `outputs × inputs`.
  ///   - bias: One value for each output, or none.
  ///   - backend: Where the layer runs.
  /// - Throws: ``BlockScaleError`` if the counts do not fit, a value is not finite, or the recipe
  ///   does not define FP8 blocks with FP32 scales.
  public init(
    weight: Matrix<Float>, bias: [Float]? = nil, configuration: Configuration = Configuration(),
    on backend: Compute
  ) throws(BlockScaleError) {
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

  public mutating func update(
    weight: Matrix<Float>, bias: [Float]?
  ) throws(BlockScaleError) {
    let replaced = try parameters.replaced(weight: weight, bias: bias)
    (forwardWeight, backwardWeight) = try Self.packed(replaced, configuration, backend)
    parameters = replaced
  }

  public func forward(
    _ x: BFloat16Tensor
  ) throws(BlockScaleError) -> (output: BFloat16Tensor, saved: Saved) {
    try parameters.check(input: x)
    let (rows, transposed) = try backend.quantizedBothWays(
      x.matrix, as: Float8Matrix.self, recipe: configuration.recipe, blocking: Self.rowBlocks)
    try rows.checkFinite("The input")
    let output = try backend.multiply(
      Operand(rows), forwardWeight, bias: bias, as: BFloat16.self)
    return (BFloat16Tensor(output, like: x), Saved(transposedInput: transposed))
  }

  public func backward(
    _ gradient: BFloat16Tensor, saved: Saved, into gradients: inout LinearGradients
  ) throws(BlockScaleError) -> BFloat16Tensor {
    try parameters.check(gradient: gradient, rows: saved.rows, into: gradients)
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
