// SPDX-License-Identifier: Apache-2.0

#if Differentiation && canImport(_Differentiation)
  public import BlockScale
  public import _Differentiation

  /// RMSNorm that Swift's automatic differentiation can pass through.
  ///
  /// Values that are not finite pass through as in the operation: they give NaN.
  public struct DifferentiableRMSNorm<Compute: TransformerBackend>: Differentiable, Sendable {
    /// The derivative with respect to the weight.
    public typealias TangentVector = TensorTangent

    /// One for each column.
    @noDerivative public private(set) var weight: [Float]
    /// What is added to the mean square.
    @noDerivative public let epsilon: Float
    @noDerivative let backend: Compute

    /// Creates a layer.
    public init(weight: [Float], epsilon: Float = 1e-5, on backend: Compute) {
      self.weight = weight
      self.epsilon = epsilon
      self.backend = backend
    }

    /// Adds an offset to the weight.
    ///
    /// - Precondition: The offset has as many values, or is zero.
    public mutating func move(by offset: TensorTangent) {
      weight = offset.added(to: weight, "weight")
    }

    /// The output for an input.
    ///
    /// - Precondition: The last dimension of `x` is the weight's count.
    @differentiable(reverse)
    public func callAsFunction(_ x: DifferentiableTensor) -> DifferentiableTensor {
      DifferentiableTensor(forward(x))
    }

    @derivative(of: callAsFunction)
    @usableFromInline
    func derivativeOfCall(
      _ x: DifferentiableTensor
    ) -> (value: DifferentiableTensor, pullback: (TensorTangent) -> (TensorTangent, TensorTangent))
    {
      let output = forward(x)
      let layer = self
      return (
        DifferentiableTensor(output),
        { tangent in
          guard !tangent.values.isEmpty else { return (.zero, .zero) }
          var weightGradient = [Float](repeating: 0, count: layer.weight.count)
          let input = unwrapped { () throws(BlockScaleError) in
            try layer.backend.rmsNormBackward(
              x.tensor, weight: layer.weight, gradient: tangent.tensor(like: output), residual: nil,
              epsilon: layer.epsilon, weightGradient: &weightGradient)
          }
          return (TensorTangent(weightGradient), TensorTangent(input))
        }
      )
    }

    private func forward(_ x: DifferentiableTensor) -> BFloat16Tensor {
      unwrapped { () throws(BlockScaleError) in
        try backend.rmsNormForward(x.tensor, weight: weight, epsilon: epsilon)
      }
    }
  }
#endif
