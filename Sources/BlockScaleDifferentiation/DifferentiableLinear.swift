// SPDX-License-Identifier: Apache-2.0

#if Differentiation && canImport(_Differentiation)
  import BlockScale
  public import BlockScaleLayers
  import Minifloat
  public import _Differentiation

  /// A linear layer that Swift's automatic differentiation can pass through.
  ///
  /// The derivative calls the layer's own forward and backward pair; nothing is derived from the
  /// arithmetic of quantization.
  ///
  ///     let (loss, pullback) = valueWithPullback(at: layer, x) { layer, x in
  ///       layer(x).weightedSum(weights)
  ///     }
  public struct DifferentiableLinear<Layer: LinearLayer>: Differentiable, Sendable {
    /// The derivative with respect to a layer's parameters.
    public struct TangentVector: Differentiable, AdditiveArithmetic, Sendable {
      /// A derivative of a derivative has the same form.
      public typealias TangentVector = Self

      /// `outputs × inputs`.
      public var weight: TensorTangent
      /// One for each output; zero for a layer without bias.
      public var bias: TensorTangent

      /// Creates a derivative from its parts.
      public init(weight: TensorTangent, bias: TensorTangent) {
        self.weight = weight
        self.bias = bias
      }

      /// Zero of any shape.
      public static var zero: Self { Self(weight: .zero, bias: .zero) }

      /// The sum of both parts.
      public static func + (left: Self, right: Self) -> Self {
        Self(weight: left.weight + right.weight, bias: left.bias + right.bias)
      }

      /// The difference of both parts.
      public static func - (left: Self, right: Self) -> Self {
        Self(weight: left.weight - right.weight, bias: left.bias - right.bias)
      }

      /// Adds an offset.
      public mutating func move(by offset: Self) { self += offset }
    }

    /// The layer itself.
    @noDerivative public private(set) var layer: Layer

    /// Wraps a layer.
    public init(_ layer: Layer) { self.layer = layer }

    /// Adds an offset to the parameters.
    ///
    /// - Precondition: The offset is finite and has the shape of the parameters.
    public mutating func move(by offset: TangentVector) {
      var weight = layer.weight
      if !offset.weight.values.isEmpty {
        precondition(
          offset.weight.values.count == weight.values.count,
          "An offset of another shape than the weight")
        weight = Matrix(
          unchecked: zip(weight.values, offset.weight.values).map { $0 + $1 }, rows: weight.rows,
          columns: weight.columns)
      }
      precondition(
        offset.bias.values.isEmpty || offset.bias.values.count == layer.bias?.count,
        "An offset of another shape than the bias")
      let bias = layer.bias.map { bias in
        offset.bias.values.isEmpty ? bias : zip(bias, offset.bias.values).map { $0 + $1 }
      }
      do {
        try layer.update(weight: weight, bias: bias)
      } catch {
        preconditionFailure("The layer cannot be moved: \(error)")
      }
    }

    /// The output for an input.
    ///
    /// A function under differentiation cannot throw and be chained, so what the layer would refuse
    /// shows itself otherwise: an input that is not finite gives NaN, in the output as in all
    /// derivatives.
    ///
    /// - Precondition: The last dimension of `x` is the layer's.
    @differentiable(reverse)
    public func callAsFunction(_ x: DifferentiableTensor) -> DifferentiableTensor {
      DifferentiableTensor(forward(x).output)
    }

    @derivative(of: callAsFunction)
    @usableFromInline
    func derivativeOfCall(
      _ x: DifferentiableTensor
    ) -> (
      value: DifferentiableTensor,
      pullback: (TensorTangent) -> (TangentVector, TensorTangent)
    ) {
      let (output, saved) = forward(x)
      let layer = layer
      let inputCount = x.tensor.matrix.values.count
      return (
        DifferentiableTensor(output),
        { tangent in
          guard !tangent.values.isEmpty else { return (.zero, .zero) }
          precondition(
            tangent.values.count == output.matrix.values.count,
            "The derivative of an output of \(output.matrix.values.count) values has "
              + "\(tangent.values.count)")
          let gradient = BFloat16Tensor(
            Matrix(
              unchecked: tangent.values.map { BFloat16(rounding: $0) },
              rows: output.matrix.rows, columns: output.matrix.columns), like: output)
          var gradients = LinearGradients(for: layer)
          guard let saved,
            let input = resultUnlessNonFinite({ () throws(BlockScaleError) in
              try layer.backward(gradient, saved: saved, into: &gradients)
            })
          else {
            return (
              TangentVector(
                weight: TensorTangent([Float](repeating: .nan, count: layer.weight.values.count)),
                bias: TensorTangent(layer.bias.map { $0.map { _ in .nan } } ?? [])),
              TensorTangent([Float](repeating: .nan, count: inputCount))
            )
          }
          return (
            TangentVector(
              weight: TensorTangent(gradients.weight.values),
              bias: TensorTangent(gradients.bias ?? [])),
            TensorTangent(input.matrix.values.map { Float($0) })
          )
        }
      )
    }

    /// The layer's forward call; NaN and nothing saved for an input that is not finite.
    private func forward(
      _ x: DifferentiableTensor
    ) -> (output: BFloat16Tensor, saved: Layer.Saved?) {
      if let (output, saved) = resultUnlessNonFinite({ () throws(BlockScaleError) in
        try layer.forward(x.tensor)
      }) {
        return (output, saved)
      }
      let rows = x.tensor.matrix.rows
      return (
        BFloat16Tensor(
          Matrix(
            unchecked: [BFloat16](repeating: BFloat16(rounding: .nan), count: rows * layer.outputs),
            rows: rows, columns: layer.outputs), like: x.tensor), nil
      )
    }
  }

  /// The result of a call, or nil if it refuses values that are not finite; anything else that it
  /// refuses is a programmer's error.
  private func resultUnlessNonFinite<Result>(_ body: () throws(BlockScaleError) -> Result)
    -> Result?
  {
    do {
      return try body()
    } catch {
      guard error.code == .nonFinite else { preconditionFailure("\(error)") }
      return nil
    }
  }
#endif
