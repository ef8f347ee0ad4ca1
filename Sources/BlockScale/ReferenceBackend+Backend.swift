// SPDX-License-Identifier: Apache-2.0

public import Minifloat

extension ReferenceBackend: Backend {
  /// Nothing is rearranged.
  public func pack(_ operand: Operand) throws(BlockScaleError) -> Operand { operand }

  /// The transpose as an operand.
  public func packTransposed(_ matrix: Matrix<BFloat16>) throws(BlockScaleError) -> Operand {
    Operand(transpose(matrix))
  }

  /// The product `left · rightᵀ`, rounded once.
  ///
  /// Products of codes are exact. They are summed in FP32 from the first column to the last; where
  /// an operand has blocks of 32 columns or more with floating-point scales, each block's sum takes
  /// the product of the two scales and is added in FP32 to the others (torchao
  /// `blockwise_fp8_training/kernels.py`, DeepGEMM). Scales of whole rows and tensors, then the
  /// bias, follow at the end.
  ///
  /// - Parameters:
  ///   - left: M×K.
  ///   - right: N×K.
  ///   - bias: N values that are added to every row.
  /// - Returns: M×N.
  /// - Throws: ``BlockScaleError`` if the shapes do not fit.
  /// - Complexity: O(M·N·K).
  public func multiply<Value: SourceValue>(
    _ left: Operand, _ right: Operand, bias: [Float]? = nil, as type: Value.Type = Value.self
  ) throws(BlockScaleError) -> Matrix<Value> {
    let exact = try sums(left, right, bias: bias)
    return try Matrix(exact.map { Value(rounding: $0) }, rows: left.rows, columns: right.rows)
  }

  /// Writes the product `left · rightᵀ` into a matrix, or adds it to what is there.
  ///
  /// - Throws: ``BlockScaleError`` if the shapes do not fit.
  public func multiply<Value: SourceValue>(
    _ left: Operand, _ right: Operand, bias: [Float]? = nil, into result: inout Matrix<Value>,
    adding: Bool = false
  ) throws(BlockScaleError) {
    let exact = try sums(left, right, bias: bias)
    guard result.rows == left.rows, result.columns == right.rows else {
      throw .productShape(left, outputs: right.rows, depth: right.columns, result)
    }
    for index in exact.indices {
      result.values[index] = Value(
        rounding: adding ? Value.value(result.values[index]) + exact[index] : exact[index])
    }
  }

  /// Quantizes a matrix.
  public func quantized<Element, Scale, Source: SourceValue>(
    _ matrix: Matrix<Source>,
    as type: BlockScaledMatrix<Element, Scale>.Type = BlockScaledMatrix<Element, Scale>.self,
    recipe: Recipe, blocking: Blocking? = nil
  ) throws(BlockScaleError) -> BlockScaledMatrix<Element, Scale> {
    try type.quantized(
      matrix.values, rows: matrix.rows, columns: matrix.columns, recipe: recipe,
      blocking: blocking
    ).matrix
  }

  /// Quantizes a matrix and its transpose, each in its own blocks.
  public func quantizedBothWays<Element, Scale, Source: SourceValue>(
    _ matrix: Matrix<Source>,
    as type: BlockScaledMatrix<Element, Scale>.Type = BlockScaledMatrix<Element, Scale>.self,
    recipe: Recipe, blocking: Blocking? = nil
  ) throws(BlockScaleError) -> (
    matrix: BlockScaledMatrix<Element, Scale>, transposed: BlockScaledMatrix<Element, Scale>
  ) {
    try type.quantizedBothWays(
      matrix.values, rows: matrix.rows, columns: matrix.columns, recipe: recipe,
      blocking: blocking)
  }

  /// The nearest BF16 values, ties to even.
  public func rounded(_ matrix: Matrix<Float>) -> Matrix<BFloat16> {
    Matrix(
      unchecked: matrix.values.map { BFloat16(rounding: $0) }, rows: matrix.rows,
      columns: matrix.columns)
  }

  /// The transpose of a matrix.
  public func transpose(_ matrix: Matrix<BFloat16>) -> Matrix<BFloat16> {
    Matrix(
      unchecked: BlockScale.transposed(
        matrix.values, rows: matrix.rows, columns: matrix.columns), rows: matrix.columns,
      columns: matrix.rows)
  }

  /// Adds the sum of each column, in FP32 from the first row on, to what is there.
  public func addColumnSums(of matrix: Matrix<BFloat16>, to sums: inout [Float]) {
    precondition(sums.count == matrix.columns, "There is one sum for each column")
    for row in 0..<matrix.rows {
      for column in 0..<matrix.columns { sums[column] += Float(matrix[row, column]) }
    }
  }

  /// The largest magnitude, infinity or NaN if there is such a value.
  public func maximumMagnitude<Value: SourceValue>(of matrix: Matrix<Value>) -> Float {
    // The array is alive during the call.
    unsafe matrix.values.withUnsafeBytes {
      Float(bitPattern: unsafe maximumMagnitudeBits(Value.self, $0))
    }
  }
}

extension SourceValue {
  /// The value as FP32.
  static func value(_ value: Self) -> Float {
    // Sixteen values are not needed: one is loaded from where it lies.
    unsafe withUnsafeBytes(of: value) { unsafe load($0.baseAddress.unsafelyUnwrapped) }
  }
}

extension BlockScaleError {
  /// The result of a product has another shape.
  package static func productShape<Value>(
    _ left: Operand, outputs: Int, depth: Int, _ result: Matrix<Value>
  ) -> BlockScaleError {
    BlockScaleError(
      .wrongShape,
      "The product of \(left.rows)x\(left.columns) and \(outputs)x\(depth) is "
        + "\(left.rows)x\(outputs), not \(result.rows)x\(result.columns).")
  }
}
