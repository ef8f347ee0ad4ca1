// SPDX-License-Identifier: Apache-2.0

#if Differentiation && canImport(_Differentiation)
  public import BlockScale
  import _Differentiation

  /// SwiGLU, `silu(gate) · up`, that Swift's automatic differentiation can pass through.
  public struct DifferentiableSwiGLU<Compute: TransformerBackend>: Sendable {
    let backend: Compute

    /// Creates the operation.
    public init(on backend: Compute) { self.backend = backend }

    /// The product.
    ///
    /// - Precondition: Both have one shape.
    @differentiable(reverse)
    public func callAsFunction(
      gate: DifferentiableTensor, up: DifferentiableTensor
    ) -> DifferentiableTensor {
      DifferentiableTensor(
        unwrapped { () throws(BlockScaleError) in
          try backend.swiGLUForward(gate: gate.tensor, up: up.tensor)
        })
    }

    @derivative(of: callAsFunction)
    @usableFromInline
    func derivativeOfCall(
      gate: DifferentiableTensor, up: DifferentiableTensor
    ) -> (value: DifferentiableTensor, pullback: (TensorTangent) -> (TensorTangent, TensorTangent))
    {
      let output = callAsFunction(gate: gate, up: up)
      let backend = backend
      return (
        output,
        { tangent in
          guard !tangent.values.isEmpty else { return (.zero, .zero) }
          let gradients = unwrapped { () throws(BlockScaleError) in
            try backend.swiGLUBackward(
              gate: gate.tensor, up: up.tensor, gradient: tangent.tensor(like: output.tensor))
          }
          return (TensorTangent(gradients.gate), TensorTangent(gradients.up))
        }
      )
    }
  }

  /// The sum of a residual connection, rounded once, that Swift's automatic differentiation can pass
  /// through.
  public struct DifferentiableSum<Compute: TransformerBackend>: Sendable {
    let backend: Compute

    /// Creates the operation.
    public init(on backend: Compute) { self.backend = backend }

    /// The sum.
    ///
    /// - Precondition: Both have one shape.
    @differentiable(reverse)
    public func callAsFunction(
      _ first: DifferentiableTensor, _ second: DifferentiableTensor
    ) -> DifferentiableTensor {
      DifferentiableTensor(
        unwrapped { () throws(BlockScaleError) in
          try backend.add(first.tensor, second.tensor)
        })
    }

    @derivative(of: callAsFunction)
    @usableFromInline
    func derivativeOfCall(
      _ first: DifferentiableTensor, _ second: DifferentiableTensor
    ) -> (value: DifferentiableTensor, pullback: (TensorTangent) -> (TensorTangent, TensorTangent))
    {
      (callAsFunction(first, second), { ($0, $0) })
    }
  }
#endif
