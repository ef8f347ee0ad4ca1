// SPDX-License-Identifier: Apache-2.0

public import BlockScale

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
  public typealias Configuration = Float8BlockwiseConfiguration
  /// The element formats of gradients.
  public typealias GradientFormat = Float8BlockwiseConfiguration.GradientFormat

  private let backend: Compute
  /// The numerics of the layer.
  public let configuration: Configuration
  private var core: LinearCore<Compute>

  /// The last dimension of inputs, the columns of the weight.
  public var inputs: Int { core.parameters.inputs }
  /// The last dimension of outputs, the rows of the weight.
  public var outputs: Int { core.parameters.outputs }
  /// The master weight, `outputs × inputs`.
  public var weight: Matrix<Float> { core.parameters.weight }
  /// What is added to each output, if anything.
  public var bias: [Float]? { core.parameters.bias }

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
    self.backend = backend
    self.configuration = configuration
    _ = try configuration.hidesNonFinite()
    core = try LinearCore(
      LinearParameters(weight: weight, bias: bias, on: backend),
      precision: .float8Blocks(configuration), on: backend)
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
    let configuration = configuration
    let backend = backend
    try core.update(weight: weight, bias: bias) { weight throws(BlockScaleError) in
      try PreparedLinear(weight: weight, precision: .float8Blocks(configuration), on: backend)
    }
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
