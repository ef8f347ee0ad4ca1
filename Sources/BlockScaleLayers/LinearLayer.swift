// SPDX-License-Identifier: Apache-2.0

public import BlockScale
import Minifloat

/// A linear layer `Y = X·Wᵀ + b` as a pair of functions with a value between them.
///
/// `forward` returns what `backward` needs; nothing is kept in the layer. The weight is prepared for
/// products when the layer is made and once after each ``update(weight:bias:)``, however many
/// micro-batches an optimizer step has.
///
///     let (y, saved) = try layer.forward(x)
///     let dx = try layer.backward(dy, saved: saved, into: &gradients)
public protocol LinearLayer: Sendable {
  /// What one forward call leaves for its backward call.
  associatedtype Saved: Sendable

  /// The last dimension of inputs.
  var inputs: Int { get }
  /// The last dimension of outputs.
  var outputs: Int { get }
  /// The master weight, `outputs × inputs`.
  var weight: Matrix<Float> { get }
  /// What is added to each output, if anything.
  var bias: [Float]? { get }

  /// The output for `x`, (…, inputs), and what its backward call needs.
  ///
  /// - Throws: ``BlockScaleError`` if the shape does not fit or a value is not finite.
  func forward(_ x: BFloat16Tensor) throws(BlockScaleError) -> (
    output: BFloat16Tensor, saved: Saved
  )

  /// The gradient of the input, given that of the output; those of the parameters are added to
  /// `gradients` in FP32.
  ///
  /// - Parameters:
  ///   - gradient: (…, outputs), with as many rows as the input of the forward call.
  ///   - saved: What that call returned.
  /// - Throws: ``BlockScaleError`` if the shapes do not fit or a value is not finite; then
  ///   `gradients` may hold a part of the sum.
  func backward(
    _ gradient: BFloat16Tensor, saved: Saved, into gradients: inout LinearGradients
  ) throws(BlockScaleError) -> BFloat16Tensor

  /// Replaces the parameters, as an optimizer step does.
  ///
  /// - Throws: ``BlockScaleError`` if a shape differs or a value is not finite; then the layer is as
  ///   it was.
  mutating func update(weight: Matrix<Float>, bias: [Float]?) throws(BlockScaleError)
}

/// The gradients of a linear layer's parameters, summed in FP32 over micro-batches.
public struct LinearGradients: Sendable {
  /// `outputs × inputs`.
  public internal(set) var weight: Matrix<Float>
  /// One for each output; nil for a layer without bias.
  public internal(set) var bias: [Float]?

  /// Gradients of zero.
  public init(for layer: some LinearLayer) {
    weight = .zeros(rows: layer.outputs, columns: layer.inputs)
    bias = layer.bias.map { _ in [Float](repeating: 0, count: layer.outputs) }
  }
}

/// The parameters of a linear layer, checked.
struct LinearParameters: Sendable {
  private(set) var weight: Matrix<Float>
  private(set) var bias: [Float]?

  var inputs: Int { weight.columns }
  var outputs: Int { weight.rows }

  init(
    weight: Matrix<Float>, bias: [Float]?, on backend: some Backend
  ) throws(BlockScaleError) {
    try backend.checkFinite(weight, "The weight")
    if let bias {
      guard bias.count == weight.rows else {
        throw BlockScaleError(
          .wrongShape, "The bias has \(bias.count) values for \(weight.rows) outputs.")
      }
      guard bias.allSatisfy(\.isFinite) else {
        throw BlockScaleError(.nonFinite, "The bias holds a NaN or an infinity.")
      }
    }
    self.weight = weight
    self.bias = bias
  }

  /// Parameters that may take the place of these.
  func replaced(
    weight: Matrix<Float>, bias: [Float]?, on backend: some Backend
  ) throws(BlockScaleError) -> Self {
    guard weight.rows == outputs, weight.columns == inputs else {
      throw BlockScaleError(
        .wrongShape,
        "The weight of this layer is \(outputs)x\(inputs), not \(weight.rows)x\(weight.columns).")
    }
    guard (bias == nil) == (self.bias == nil) else {
      throw BlockScaleError(
        .wrongShape,
        bias == nil ? "This layer has a bias, and none is given." : "This layer has no bias.")
    }
    return try Self(weight: weight, bias: bias, on: backend)
  }

  func check(_ gradients: LinearGradients) throws(BlockScaleError) {
    guard gradients.weight.rows == outputs, gradients.weight.columns == inputs,
      gradients.bias?.count == bias.map({ _ in outputs })
    else {
      throw BlockScaleError(
        .wrongShape, "The gradients to add to are those of another layer.")
    }
  }
}

extension Backend {
  /// Refuses values that are not finite.
  package func checkFinite<Value: SourceValue>(
    _ matrix: Matrix<Value>, _ name: String
  ) throws(BlockScaleError) {
    if !maximumMagnitude(of: matrix).isFinite {
      throw BlockScaleError(.nonFinite, "\(name) holds a NaN or an infinity.")
    }
  }
}

extension BlockScaledMatrix where Scale == Float {
  /// Refuses blocks that hold values that are not finite.
  func checkFinite(_ name: String) throws(BlockScaleError) {
    if let index = scales.firstIndex(where: { !$0.isFinite }) {
      let grid = blocking.grid(rows: rows, columns: columns)
      throw BlockScaleError(
        .nonFinite,
        "\(name) holds a NaN or an infinity in row \(index / grid.columns * blocking.rows).")
    }
  }
}
