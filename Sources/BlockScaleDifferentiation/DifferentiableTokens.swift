// SPDX-License-Identifier: Apache-2.0

#if Differentiation && canImport(_Differentiation)
  public import BlockScale
  import Minifloat
  public import _Differentiation

  /// An embedding that Swift's automatic differentiation can pass through.
  public struct DifferentiableEmbedding<Compute: TransformerBackend>: Differentiable, Sendable {
    /// The derivative with respect to the table.
    public typealias TangentVector = TensorTangent

    /// tokens × columns, in FP32; rows are rounded to BF16 where they are looked up.
    @noDerivative public private(set) var table: Matrix<Float>
    @noDerivative let backend: Compute

    /// Creates a layer.
    public init(table: Matrix<Float>, on backend: Compute) {
      self.table = table
      self.backend = backend
    }

    /// Adds an offset to the table.
    ///
    /// - Precondition: The offset has as many values, or is zero.
    public mutating func move(by offset: TensorTangent) {
      table = Matrix(
        unchecked: offset.added(to: table.values, "table"), rows: table.rows, columns: table.columns
      )
    }

    /// The rows that tokens name, (B, S, columns).
    ///
    /// - Parameter tokens: Sequences of one length.
    /// - Precondition: There is a token, sequences have one length, and all tokens are in the table.
    @differentiable(reverse,wrt: self)
    public func callAsFunction(_ tokens: [[Int32]]) -> DifferentiableTensor {
      DifferentiableTensor(
        unwrapped { () throws(BlockScaleError) in
          try Tensor(
            backend.embeddingForward(tokens.flatMap(\.self), table: backend.rounded(table)),
            shape: [tokens.count, tokens.first?.count ?? 0, table.columns])
        })
    }

    @derivative(of: callAsFunction, wrt: self)
    @usableFromInline
    func derivativeOfCall(
      _ tokens: [[Int32]]
    ) -> (value: DifferentiableTensor, pullback: (TensorTangent) -> TensorTangent) {
      let output = callAsFunction(tokens)
      let layer = self
      return (
        output,
        { tangent in
          guard !tangent.values.isEmpty else { return .zero }
          var gradient = Matrix<Float>.zeros(rows: layer.table.rows, columns: layer.table.columns)
          unwrapped { () throws(BlockScaleError) in
            try layer.backend.embeddingBackward(
              tokens.flatMap(\.self), gradient: tangent.tensor(like: output.tensor).matrix,
              into: &gradient)
          }
          return TensorTangent(gradient.values)
        }
      )
    }
  }

  /// The mean cross-entropy that Swift's automatic differentiation can begin with.
  public struct DifferentiableCrossEntropy<Compute: TransformerBackend>: Sendable {
    let backend: Compute

    /// Creates the loss.
    public init(on backend: Compute) { self.backend = backend }

    /// The mean over all rows, in nats.
    ///
    /// - Parameters:
    ///   - logits: One row for each token.
    ///   - targets: One for each row.
    /// - Precondition: Targets are as many as rows, and columns of the logits.
    @differentiable(reverse,wrt: logits)
    public func callAsFunction(_ logits: DifferentiableTensor, targets: [Int32]) -> Float {
      forward(logits, targets, gradientFactor: nil).loss
    }

    @derivative(of: callAsFunction, wrt: logits)
    @usableFromInline
    func derivativeOfCall(
      _ logits: DifferentiableTensor, targets: [Int32]
    ) -> (value: Float, pullback: (Float) -> TensorTangent) {
      let (loss, gradient) = forward(
        logits, targets, gradientFactor: 1 / Float(max(1, targets.count)))
      return (
        loss,
        { factor in
          TensorTangent(gradient?.values.map { Float($0) * factor } ?? [])
        }
      )
    }

    private func forward(
      _ logits: DifferentiableTensor, _ targets: [Int32], gradientFactor: Float?
    ) -> (loss: Float, gradient: Matrix<BFloat16>?) {
      let matrix = logits.tensor.matrix
      let output = unwrapped { () throws(BlockScaleError) in
        try backend.crossEntropy(
          Matrix(
            unchecked: matrix.values.map { Float($0) }, rows: matrix.rows, columns: matrix.columns),
          targets: targets, gradientFactor: gradientFactor)
      }
      let sum = output.losses.reduce(0.0) { $0 + Double($1) }
      return (Float(sum / Double(targets.count)), output.gradient)
    }
  }
#endif
