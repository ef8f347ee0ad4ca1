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
  ///
  /// - Parameter operand: N×K.
  /// - Throws: ``BlockScaleError`` if its blocks cannot be multiplied from the right.
  /// - Complexity: O(N·K).
  func pack(_ operand: Operand) throws(BlockScaleError) -> PackedOperand

  /// Lays out the transpose of a matrix as the right operand of products.
  ///
  /// - Parameter matrix: K×N: products sum along its columns.
  /// - Complexity: O(N·K).
  func packTransposed(_ matrix: Matrix<BFloat16>) throws(BlockScaleError) -> PackedOperand

  /// The product `left · rightᵀ`; see ``ReferenceBackend/multiply(_:_:bias:as:)``.
  ///
  /// - Parameters:
  ///   - left: M×K.
  ///   - right: N×K, packed by this back end.
  ///   - bias: N values that are added to every row, or none.
  /// - Returns: M×N, rounded once.
  /// - Throws: ``BlockScaleError`` if the shapes or blocks do not fit.
  /// - Complexity: O(M·N·K).
  func multiply<Value: SourceValue>(
    _ left: Operand, _ right: PackedOperand, bias: [Float]?, as type: Value.Type
  ) throws(BlockScaleError) -> Matrix<Value>

  /// Writes the product `left · rightᵀ` into a matrix, or adds it to what is there.
  ///
  /// - Parameters:
  ///   - left: M×K.
  ///   - right: N×K, packed by this back end.
  ///   - bias: N values that are added to every row, or none.
  ///   - result: M×N.
  ///   - adding: Whether the product is added, in FP32 before it is rounded once.
  /// - Throws: ``BlockScaleError`` if the shapes or blocks do not fit; then `result` is as it was.
  /// - Complexity: O(M·N·K).
  func multiply<Value: SourceValue>(
    _ left: Operand, _ right: PackedOperand, bias: [Float]?, into result: inout Matrix<Value>,
    adding: Bool
  ) throws(BlockScaleError)

  /// Products of groups of rows with a matrix each; see ``multiplyGroups(_:rowCounts:_:as:)``, which does
  /// without a back end's own.
  func multiplyGroups<Value: SourceValue>(
    _ left: Operand, rowCounts: [Int], _ right: [PackedOperand], as type: Value.Type
  ) throws(BlockScaleError) -> Matrix<Value>

  /// Quantizes a matrix.
  ///
  /// - Parameter blocking: The shape of the blocks; may be left out for NVFP4 and MX.
  /// - Throws: ``BlockScaleError`` if the recipe does not define these formats.
  /// - Complexity: O(rows × columns).
  func quantized<Element, Scale, Source: SourceValue>(
    _ matrix: Matrix<Source>, as type: BlockScaledMatrix<Element, Scale>.Type, recipe: Recipe,
    blocking: Blocking?
  ) throws(BlockScaleError) -> BlockScaledMatrix<Element, Scale>

  /// Quantizes a matrix and its transpose, each in its own blocks, from one read of the values.
  ///
  /// Where blocks are square, both have the same codes and scales.
  ///
  /// - Parameter blocking: The shape of the blocks of either; may be left out for NVFP4 and MX.
  /// - Throws: ``BlockScaleError`` if the recipe does not define these formats.
  /// - Complexity: O(rows × columns).
  func quantizedBothWays<Element, Scale, Source: SourceValue>(
    _ matrix: Matrix<Source>, as type: BlockScaledMatrix<Element, Scale>.Type, recipe: Recipe,
    blocking: Blocking?
  ) throws(BlockScaleError) -> (
    matrix: BlockScaledMatrix<Element, Scale>, transposed: BlockScaledMatrix<Element, Scale>
  )

  /// Quantizes a tensor under one scale, as COAT's linear layers take it; see ``ReferenceBackend``.
  func quantizePerTensor<Source, Element>(
    _ input: Tensor<Matrix<Source>>, as element: Element.Type, groupSize: Int,
    outputQuantizedTranspose: Bool, recipe: ActivationRecipe, rounding: ActivationRounding
  ) throws(BlockScaleError) -> PerTensorQuantization<Element>

  /// The nearest BF16 values, ties to even.
  ///
  /// - Complexity: O(rows × columns).
  func rounded(_ matrix: Matrix<Float>) -> Matrix<BFloat16>

  /// The transpose of a matrix.
  ///
  /// - Complexity: O(rows × columns).
  func transpose(_ matrix: Matrix<BFloat16>) -> Matrix<BFloat16>

  /// Adds the sum of each column, in FP32 from the first row on, to what is there.
  ///
  /// - Precondition: There is one sum for each column.
  /// - Complexity: O(rows × columns).
  func addColumnSums(of matrix: Matrix<BFloat16>, to sums: inout [Float])

  /// The largest magnitude, infinity or NaN if there is such a value.
  ///
  /// - Complexity: O(rows × columns).
  func maximumMagnitude<Value: SourceValue>(of matrix: Matrix<Value>) -> Float
}
