// SPDX-License-Identifier: Apache-2.0

public import Minifloat

/// A matrix in FP8 and its transpose, each in 1×128 blocks along its own rows, as the products of
/// training take them.
public struct BothWays<Element: Float8Element>: Sendable, Hashable {
  /// M×N.
  public let matrix: BlockScaledMatrix<Element, Float>
  /// N×M, quantized from the same values as the matrix.
  public let transposed: BlockScaledMatrix<Element, Float>

  package init(
    matrix: BlockScaledMatrix<Element, Float>, transposed: BlockScaledMatrix<Element, Float>
  ) {
    self.matrix = matrix
    self.transposed = transposed
  }
}

// Back ends on the processor run one operation after the other; a GPU has a kernel for all of it.

extension TransformerBackend {
  /// `silu(gate) · up` in FP8, as a matrix and its transpose in 1×128 blocks.
  ///
  /// The product is rounded to BF16, every NaN to the same one, before it is quantized.
  ///
  /// - Parameters:
  ///   - gate: M×N, or (B, S, N), which counts as B·S rows.
  ///   - up: Of the same shape.
  ///   - recipe: One with FP32 scales.
  /// - Throws: ``BlockScaleError`` if the shapes differ or the recipe does not define the format.
  /// - Complexity: O(M·N).
  public func swiGLUForwardBothWays<Element: Float8Element>(
    gate: BFloat16Tensor, up: BFloat16Tensor, as element: Element.Type = Float8E4M3.self,
    recipe: Recipe
  ) throws(BlockScaleError) -> BothWays<Element> {
    try bothWays(of: swiGLUForward(gate: gate, up: up).matrix, recipe)
  }

  /// The gradients of SwiGLU in FP8, each as a matrix and its transpose in 1×128 blocks.
  ///
  /// Gate and up are dequantized to BF16 first.
  ///
  /// - Parameters:
  ///   - gate: M×N in 1×128 blocks.
  ///   - up: As `gate`.
  ///   - gradient: M×N, of the product.
  ///   - recipe: One with FP32 scales.
  /// - Throws: ``BlockScaleError`` if shapes or blocks do not fit or the recipe does not define the
  ///   format.
  /// - Complexity: O(M·N).
  public func swiGLUBackwardBothWays<Input: Float8Element, Element: Float8Element>(
    gate: BlockScaledMatrix<Input, Float>, up: BlockScaledMatrix<Input, Float>,
    gradient: Matrix<BFloat16>, as element: Element.Type = Float8E5M2.self, recipe: Recipe
  ) throws(BlockScaleError) -> (gate: BothWays<Element>, up: BothWays<Element>) {
    try checkSwiGLU(gate: gate, up: up, gradient: gradient)
    func values(
      _ matrix: BlockScaledMatrix<Input, Float>
    ) throws(BlockScaleError) -> BFloat16Tensor {
      Tensor(
        rounded(try Matrix(matrix.dequantized(), rows: matrix.rows, columns: matrix.columns)))
    }
    let gradients = try swiGLUBackward(
      gate: values(gate), up: values(up), gradient: Tensor(gradient))
    return try (
      bothWays(of: gradients.gate.matrix, recipe), bothWays(of: gradients.up.matrix, recipe)
    )
  }

  private func bothWays<Element: Float8Element>(
    of matrix: Matrix<BFloat16>, _ recipe: Recipe
  ) throws(BlockScaleError) -> BothWays<Element> {
    // What an operation makes of NaN differs among processors in the sign.
    let values = matrix.values.map { $0.isNaN ? .nan : $0 }
    let both = try quantizedBothWays(
      Matrix(unchecked: values, rows: matrix.rows, columns: matrix.columns),
      as: BlockScaledMatrix<Element, Float>.self, recipe: recipe,
      blocking: Blocking(rows: 1, columns: 128))
    return BothWays(matrix: both.matrix, transposed: both.transposed)
  }
}

/// Checks the operands of SwiGLU's gradient in blocks.
package func checkSwiGLU<Input>(
  gate: BlockScaledMatrix<Input, Float>, up: BlockScaledMatrix<Input, Float>,
  gradient: Matrix<BFloat16>
) throws(BlockScaleError) {
  for (name, matrix) in [("gate", gate), ("up projection", up)] {
    guard matrix.blocking == Blocking(rows: 1, columns: 128), matrix.tensorScale == nil else {
      throw BlockScaleError(
        .wrongShape,
        "The \(name) is in blocks of \(matrix.blocking)"
          + (matrix.tensorScale == nil ? "" : " under a tensor scale")
          + "; its gradient takes blocks of 1x128 alone.")
    }
  }
  try Tensor(up).check("up projection", hasShapeOf: Tensor(gate), "gate")
  try Tensor(gradient).check("gradient", hasShapeOf: Tensor(gate), "gate")
}
