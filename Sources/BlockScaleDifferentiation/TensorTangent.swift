// SPDX-License-Identifier: Apache-2.0

#if Differentiation && canImport(_Differentiation)
  public import BlockScale
  import Minifloat
  public import _Differentiation

  /// The derivative with respect to a tensor: values in FP32, or zero of any shape.
  public struct TensorTangent: Differentiable, AdditiveArithmetic, Sendable {
    /// A derivative of a derivative has the same form.
    public typealias TangentVector = TensorTangent

    /// The values row by row; empty stands for zero.
    public private(set) var values: [Float]

    /// Creates a derivative from its values.
    public init(_ values: [Float]) { self.values = values }

    /// Zero of any shape.
    public static var zero: TensorTangent { TensorTangent([]) }

    /// The sum.
    ///
    /// - Precondition: Both have as many values, or one is zero.
    public static func + (left: TensorTangent, right: TensorTangent) -> TensorTangent {
      combined(left, right, +)
    }

    /// The difference.
    ///
    /// - Precondition: Both have as many values, or one is zero.
    public static func - (left: TensorTangent, right: TensorTangent) -> TensorTangent {
      combined(left, right, -)
    }

    /// Adds an offset.
    ///
    /// - Precondition: Both have as many values, or one is zero.
    public mutating func move(by offset: TensorTangent) { self += offset }

    private static func combined(
      _ left: TensorTangent, _ right: TensorTangent, _ operation: (Float, Float) -> Float
    ) -> TensorTangent {
      if right.values.isEmpty { return left }
      if left.values.isEmpty { return TensorTangent(right.values.map { operation(0, $0) }) }
      precondition(
        left.values.count == right.values.count,
        "Derivatives of \(left.values.count) and \(right.values.count) values cannot be added")
      return TensorTangent(zip(left.values, right.values).map(operation))
    }
  }

  /// A BF16 tensor that functions can be differentiated with respect to.
  public struct DifferentiableTensor: Differentiable, Sendable {
    /// The derivative with respect to the values.
    public typealias TangentVector = TensorTangent

    /// The values and their shape.
    @noDerivative public private(set) var tensor: BFloat16Tensor

    /// Wraps a tensor.
    public init(_ tensor: BFloat16Tensor) { self.tensor = tensor }

    /// Adds an offset, rounding to BF16.
    ///
    /// - Precondition: The offset has as many values, or is zero.
    public mutating func move(by offset: TensorTangent) {
      guard !offset.values.isEmpty else { return }
      let matrix = tensor.matrix
      precondition(
        offset.values.count == matrix.values.count,
        "An offset of \(offset.values.count) values for \(matrix.values.count)")
      let moved = zip(matrix.values, offset.values).map {
        BFloat16(rounding: Float($0) + $1)
      }
      tensor = BFloat16Tensor(
        Matrix(unchecked: moved, rows: matrix.rows, columns: matrix.columns), like: tensor)
    }

    /// The sum of all values, weighted; a loss for tests and gradient checks.
    ///
    /// - Precondition: There are as many weights as values.
    @differentiable(reverse,wrt: self)
    public func weightedSum(_ weights: [Float]) -> Float {
      precondition(
        weights.count == tensor.matrix.values.count, "There is one weight for each value")
      return zip(tensor.matrix.values, weights).reduce(0) { $0 + Float($1.0) * $1.1 }
    }

    @derivative(of: weightedSum, wrt: self)
    @usableFromInline
    func derivativeOfWeightedSum(
      _ weights: [Float]
    ) -> (value: Float, pullback: (Float) -> TensorTangent) {
      (weightedSum(weights), { factor in TensorTangent(weights.map { $0 * factor }) })
    }
  }
#endif
