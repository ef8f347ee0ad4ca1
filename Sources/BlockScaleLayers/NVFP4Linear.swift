// SPDX-License-Identifier: Apache-2.0

public import BlockScale
import Minifloat

/// A linear layer whose weight is NVFP4 and whose inputs are BF16.
///
/// Both products with the weight use its exact values, `code × scale × tensor scale`; the master
/// weight takes the gradient as if it were not rounded (straight-through), so that the layer can be
/// fine-tuned in the form in which it will be served.
public struct NVFP4Linear<Compute: Backend>: LinearLayer {
  private let backend: Compute
  /// The numerics of the weight.
  public let recipe: Recipe
  /// The weight as it is multiplied.
  public private(set) var quantizedWeight: NVFP4Matrix
  private var core: LinearCore<Compute>

  /// The last dimension of inputs, the columns of the weight.
  public var inputs: Int { core.parameters.inputs }
  /// The last dimension of outputs, the rows of the weight.
  public var outputs: Int { core.parameters.outputs }
  /// The master weight, `outputs × inputs`.
  public var weight: Matrix<Float> { core.parameters.weight }
  /// What is added to each output, if anything.
  public var bias: [Float]? { core.parameters.bias }

  /// Creates a layer from a master weight.
  ///
  /// - Parameters:
  ///   - weight: `outputs × inputs`.
  ///   - bias: One value for each output, or none.
  ///   - backend: Where the layer runs.
  /// - Throws: ``BlockScaleError`` if the counts do not fit, a value is not finite, or the recipe
  ///   does not define NVFP4.
  public init(
    weight: Matrix<Float>, bias: [Float]? = nil, recipe: Recipe = .modelopt, on backend: Compute
  ) throws(BlockScaleError) {
    let parameters = try LinearParameters(weight: weight, bias: bias, on: backend)
    let quantized = try backend.quantized(
      weight, as: NVFP4Matrix.self, recipe: recipe, blocking: nil)
    try self.init(parameters, quantized, recipe, backend)
  }

  /// Creates a layer from a weight that is NVFP4 already; its values become the master weight.
  ///
  /// - Throws: ``BlockScaleError`` if the counts do not fit or a value is not finite.
  public init(
    quantizedWeight: NVFP4Matrix, bias: [Float]? = nil, recipe: Recipe = .modelopt,
    on backend: Compute
  ) throws(BlockScaleError) {
    let weight = try Matrix(
      quantizedWeight.dequantized(), rows: quantizedWeight.rows, columns: quantizedWeight.columns)
    try self.init(
      LinearParameters(weight: weight, bias: bias, on: backend), quantizedWeight, recipe, backend)
  }

  private init(
    _ parameters: LinearParameters, _ quantized: NVFP4Matrix, _ recipe: Recipe,
    _ backend: Compute
  ) throws(BlockScaleError) {
    self.backend = backend
    self.recipe = recipe
    quantizedWeight = quantized
    core = LinearCore(parameters, try PreparedLinear(quantized, on: backend), on: backend)
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
    let backend = backend
    let recipe = recipe
    var quantized = quantizedWeight
    try core.update(weight: weight, bias: bias) { weight throws(BlockScaleError) in
      quantized = try backend.quantized(
        weight, as: NVFP4Matrix.self, recipe: recipe, blocking: nil)
      return try PreparedLinear(quantized, on: backend)
    }
    quantizedWeight = quantized
  }

  /// The output for `x`, and what its backward call needs.
  ///
  /// - Parameter x: (…, inputs).
  /// - Returns: (…, outputs).
  /// - Throws: ``BlockScaleError`` if the shape does not fit or a value is not finite.
  /// - Complexity: O(rows × inputs × outputs), where rows are all dimensions but the last.
  public func forward(
    _ x: BFloat16Tensor
  ) throws(BlockScaleError) -> (output: BFloat16Tensor, saved: SavedLinearInput) {
    try core.forward(x)
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
    _ gradient: BFloat16Tensor, saved: SavedLinearInput, into gradients: inout LinearGradients
  ) throws(BlockScaleError) -> BFloat16Tensor {
    try core.backward(gradient, saved: saved, into: &gradients)
  }
}
