// SPDX-License-Identifier: Apache-2.0

public import Minifloat

/// A place where operations run: the processor, a GPU, or the reference.
///
/// Operations have the same names and results everywhere; quantizers give the same bytes, products
/// differ in the order of their FP32 sums alone. A layer is generic over its back end and is handed
/// one; there is no default.
public protocol Backend: Sendable {
  /// The right operand of products in the form that the back end wants.
  associatedtype PackedOperand: Sendable

  /// Lays out the right operand of products.
  func pack(_ operand: Operand) throws(BlockScaleError) -> PackedOperand

  /// Lays out the transpose of a matrix as the right operand of products.
  func packTransposed(_ matrix: Matrix<BFloat16>) throws(BlockScaleError) -> PackedOperand

  /// The product `left · rightᵀ`; see ``ReferenceBackend/multiply(_:_:bias:as:)``.
  func multiply<Value: SourceValue>(
    _ left: Operand, _ right: PackedOperand, bias: [Float]?, as type: Value.Type
  ) throws(BlockScaleError) -> Matrix<Value>

  /// Writes the product `left · rightᵀ` into a matrix, or adds it to what is there.
  func multiply<Value: SourceValue>(
    _ left: Operand, _ right: PackedOperand, bias: [Float]?, into result: inout Matrix<Value>,
    adding: Bool
  ) throws(BlockScaleError)

  /// Quantizes a matrix.
  func quantized<Element, Scale, Source: SourceValue>(
    _ matrix: Matrix<Source>, as type: BlockScaledMatrix<Element, Scale>.Type, recipe: Recipe,
    blocking: Blocking?
  ) throws(BlockScaleError) -> BlockScaledMatrix<Element, Scale>

  /// Quantizes a matrix and its transpose, each in its own blocks, from one read of the values.
  func quantizedBothWays<Element, Scale, Source: SourceValue>(
    _ matrix: Matrix<Source>, as type: BlockScaledMatrix<Element, Scale>.Type, recipe: Recipe,
    blocking: Blocking?
  ) throws(BlockScaleError) -> (
    matrix: BlockScaledMatrix<Element, Scale>, transposed: BlockScaledMatrix<Element, Scale>
  )

  /// The transpose of a matrix.
  func transpose(_ matrix: Matrix<BFloat16>) -> Matrix<BFloat16>

  /// Adds the sum of each column, in FP32 from the first row on, to what is there.
  func addColumnSums(of matrix: Matrix<BFloat16>, to sums: inout [Float])

  /// The largest magnitude, infinity or NaN if there is such a value.
  func maximumMagnitude(of matrix: Matrix<BFloat16>) -> Float
}
