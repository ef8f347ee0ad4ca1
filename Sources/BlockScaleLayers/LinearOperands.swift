// SPDX-License-Identifier: Apache-2.0

package import BlockScale
package import Minifloat

/// An input in the form in which the products of layers take it; several layers may share it.
package struct LinearInput: Sendable {
  /// The leading dimensions' bearer.
  package let shape: [Int]
  let rows: Operand
  /// What the gradients of the weights need.
  package let saved: SavedLinearInput

  /// COAT's activations, which come quantized from the operation before.
  package init(
    _ activation: PerTensorActivation<Float8E4M3>
  ) throws(BlockScaleError) {
    shape = activation.tensor.shape
    rows = try Operand(activation.tensor.matrix)
    saved = SavedLinearInput(
      kind: try activation.transposed.map { transposed throws(BlockScaleError) in
        .transposed(try Operand(transposed), byteCount: transposed.codes.count)
      } ?? .none, rows: activation.tensor.matrix.rows)
  }

  init(_ x: BFloat16Tensor) {
    shape = x.shape
    rows = Operand(x.matrix)
    saved = SavedLinearInput(kind: .bfloat16(x.matrix), rows: x.matrix.rows)
  }

  init(_ x: BFloat16Tensor, _ matrix: Float8Matrix, transposed: Float8Matrix?)
    throws(BlockScaleError)
  {
    shape = x.shape
    rows = try Operand(matrix)
    saved = SavedLinearInput(
      kind: try transposed.map { transposed throws(BlockScaleError) in
        .transposed(
          try Operand(transposed),
          byteCount: transposed.codes.count + 4 * transposed.scales.count)
      } ?? .none, rows: x.matrix.rows)
  }
}

/// What one forward call of a linear layer leaves for its backward call.
public struct SavedLinearInput: Sendable {
  enum Kind: Sendable {
    case none
    /// The input itself.
    case bfloat16(Matrix<BFloat16>)
    /// The input in FP8 alone, along its rows.
    case transposed(Operand, byteCount: Int)
  }

  let kind: Kind
  let rows: Int

  /// The bytes that are kept.
  public var byteCount: Int {
    switch kind {
    case .none: 0
    case .bfloat16(let matrix): 2 * matrix.values.count
    case .transposed(_, let byteCount): byteCount
    }
  }

  /// The input as the right operand of the product that gives a weight's gradient.
  package func packed<Compute: Backend>(
    on backend: Compute
  ) throws(BlockScaleError) -> Compute.PackedOperand {
    switch kind {
    case .none: preconditionFailure("This input was not kept for a backward call")
    case .bfloat16(let matrix): try backend.packTransposed(matrix)
    case .transposed(let operand, _): try backend.pack(operand)
    }
  }
}

/// The gradient of an output in the form in which the products of a layer take it.
package struct LinearOutputGradient: Sendable {
  package let shape: [Int]
  let rows: Operand
  let transposed: Operand

  /// COAT's gradients, which come quantized from the operation before.
  package init(_ gradient: PerTensorActivation<Float8E5M2>) throws(BlockScaleError) {
    guard let transposed = gradient.transposed else {
      preconditionFailure("A gradient has its transpose for the product with the input")
    }
    shape = gradient.tensor.shape
    rows = try Operand(gradient.tensor.matrix)
    self.transposed = try Operand(transposed)
  }

  init(shape: [Int], rows: Operand, transposed: Operand) {
    self.shape = shape
    self.rows = rows
    self.transposed = transposed
  }
}
