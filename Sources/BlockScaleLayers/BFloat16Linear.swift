// SPDX-License-Identifier: Apache-2.0

public import BlockScale

/// A linear layer whose products run in BF16: what the others are compared with.
///
/// The master weight is FP32 and is rounded to BF16 once after an update.
public struct BFloat16Linear<Compute: Backend>: LinearLayer {
  private let backend: Compute
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
  ///   - backend: Where the layer runs.
  /// - Throws: ``BlockScaleError`` if the counts do not fit or a value is not finite.
  public init(
    weight: Matrix<Float>, bias: [Float]? = nil, on backend: Compute
  ) throws(BlockScaleError) {
    self.backend = backend
    core = try LinearCore(
      LinearParameters(weight: weight, bias: bias, on: backend), precision: .bfloat16, on: backend)
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
    try core.update(weight: weight, bias: bias) { weight throws(BlockScaleError) in
      try PreparedLinear(weight: weight, precision: .bfloat16, on: backend)
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
