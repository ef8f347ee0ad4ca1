// SPDX-License-Identifier: Apache-2.0

#if Differentiation && canImport(_Differentiation)
  public import BlockScale
  import Minifloat
  import _Differentiation

  /// SwiGLU of COAT's flow, which takes, keeps and gives FP8, that Swift's automatic differentiation can
  /// pass through.
  ///
  /// Gate and up are rounded to E4M3 in groups, the product to E4M3 under one scale; it is decoded to BF16,
  /// which other operations take. The derivative is that of the flow, in E5M2: rounding counts as the
  /// identity. A tensor with a value that is not finite decodes to NaN.
  public struct DifferentiableFloat8SwiGLU<Compute: TransformerBackend>: Sendable {
    let backend: Compute
    let recipe: ActivationRecipe
    let groupSize: Int

    /// Creates the operation.
    ///
    /// - Parameters:
    ///   - groupSize: The values of a group; COAT's if left out.
    ///   - recipe: The scales that codes follow.
    public init(
      groupSize: Int = 16, recipe: ActivationRecipe = .storedScale, on backend: Compute
    ) {
      self.backend = backend
      self.recipe = recipe
      self.groupSize = groupSize
    }

    /// The product.
    ///
    /// - Precondition: Both have one shape.
    @differentiable(reverse)
    public func callAsFunction(
      gate: DifferentiableTensor, up: DifferentiableTensor
    ) -> DifferentiableTensor {
      product(quantized(gate), quantized(up), like: gate)
    }

    @derivative(of: callAsFunction)
    @usableFromInline
    func derivativeOfCall(
      gate: DifferentiableTensor, up: DifferentiableTensor
    ) -> (value: DifferentiableTensor, pullback: (TensorTangent) -> (TensorTangent, TensorTangent))
    {
      let (backend, recipe) = (backend, recipe)
      let (first, second) = (quantized(gate), quantized(up))
      let output = product(first, second, like: gate)
      return (
        output,
        { tangent in
          guard !tangent.values.isEmpty else { return (.zero, .zero) }
          let gradients = unwrapped { () throws(BlockScaleError) in
            try backend.swiGLUBackward(
              gate: first, up: second, gradient: tangent.tensor(like: output.tensor),
              as: Float8E5M2.self, outputQuantizedTranspose: false, recipe: recipe)
          }
          return (
            TensorTangent(gradients.gate.tensor.matrix.dequantized()),
            TensorTangent(gradients.up.tensor.matrix.dequantized())
          )
        }
      )
    }

    private func quantized(_ x: DifferentiableTensor) -> Float8Tensor<Float8E4M3> {
      unwrapped { () throws(BlockScaleError) in
        try backend.quantizeGroups(
          x.tensor, as: Float8E4M3.self, groupSize: groupSize, recipe: recipe)
      }
    }

    private func product(
      _ gate: Float8Tensor<Float8E4M3>, _ up: Float8Tensor<Float8E4M3>,
      like x: DifferentiableTensor
    ) -> DifferentiableTensor {
      let product = unwrapped { () throws(BlockScaleError) in
        try backend.swiGLUForward(
          gate: gate, up: up, as: Float8E4M3.self, outputQuantizedTranspose: false,
          recipe: recipe)
      }.tensor.matrix
      return DifferentiableTensor(
        BFloat16Tensor(
          Matrix(
            unchecked: product.dequantized().map { BFloat16(rounding: $0) }, rows: product.rows,
            columns: product.columns), like: x.tensor))
    }
  }
#endif
