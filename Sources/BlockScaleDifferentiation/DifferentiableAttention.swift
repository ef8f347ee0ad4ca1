// SPDX-License-Identifier: Apache-2.0

#if Differentiation && canImport(_Differentiation)
  public import BlockScale
  import _Differentiation

  /// Rotary position embedding that Swift's automatic differentiation can pass through.
  public struct DifferentiableRotation<Compute: TransformerBackend>: Sendable {
    /// The angles.
    public let table: RotaryTable
    let backend: Compute

    /// Creates the operation.
    public init(_ table: RotaryTable, on backend: Compute) {
      self.table = table
      self.backend = backend
    }

    /// The pairs of each head, turned by the angles of their positions, the first being zero.
    ///
    /// - Precondition: `x` is (B, S, heads × dimension) with positions of the table.
    @differentiable(reverse)
    public func callAsFunction(_ x: DifferentiableTensor) -> DifferentiableTensor {
      DifferentiableTensor(turned(x.tensor, inverse: false))
    }

    @derivative(of: callAsFunction)
    @usableFromInline
    func derivativeOfCall(
      _ x: DifferentiableTensor
    ) -> (value: DifferentiableTensor, pullback: (TensorTangent) -> TensorTangent) {
      let output = turned(x.tensor, inverse: false)
      let rotation = self
      return (
        DifferentiableTensor(output),
        { tangent in
          guard !tangent.values.isEmpty else { return .zero }
          return TensorTangent(rotation.turned(tangent.tensor(like: output), inverse: true))
        }
      )
    }

    private func turned(_ tensor: BFloat16Tensor, inverse: Bool) -> BFloat16Tensor {
      unwrapped { () throws(BlockScaleError) in
        try backend.rotate(tensor, by: table, offset: 0, inverse: inverse)
      }
    }
  }

  /// Causal attention that Swift's automatic differentiation can pass through.
  public struct DifferentiableAttention<Compute: TransformerBackend>: Sendable {
    /// The heads.
    public let heads: AttentionHeads
    let backend: Compute

    /// Creates the operation.
    public init(_ heads: AttentionHeads, on backend: Compute) {
      self.heads = heads
      self.backend = backend
    }

    /// softmax(q·kᵀ/√d)·v, where a query sees its own position and those before it.
    ///
    /// - Precondition: Operands are (B, S, heads × dimension), for keys and values with their own heads.
    @differentiable(reverse)
    public func callAsFunction(
      query: DifferentiableTensor, key: DifferentiableTensor, value: DifferentiableTensor
    ) -> DifferentiableTensor {
      DifferentiableTensor(forward(query, key, value).output)
    }

    @derivative(of: callAsFunction)
    @usableFromInline
    func derivativeOfCall(
      query: DifferentiableTensor, key: DifferentiableTensor, value: DifferentiableTensor
    ) -> (
      value: DifferentiableTensor,
      pullback: (TensorTangent) -> (TensorTangent, TensorTangent, TensorTangent)
    ) {
      let result = forward(query, key, value)
      let attention = self
      return (
        DifferentiableTensor(result.output),
        { tangent in
          guard !tangent.values.isEmpty else { return (.zero, .zero, .zero) }
          let gradients = unwrapped { () throws(BlockScaleError) in
            try attention.backend.attentionBackward(
              query: query.tensor, key: key.tensor, value: value.tensor, heads: attention.heads,
              forward: result, gradient: tangent.tensor(like: result.output))
          }
          return (
            TensorTangent(gradients.query), TensorTangent(gradients.key),
            TensorTangent(gradients.value)
          )
        }
      )
    }

    private func forward(
      _ query: DifferentiableTensor, _ key: DifferentiableTensor, _ value: DifferentiableTensor
    ) -> AttentionOutput {
      unwrapped { () throws(BlockScaleError) in
        try backend.attentionForward(
          query: query.tensor, key: key.tensor, value: value.tensor, heads: heads)
      }
    }
  }
#endif
