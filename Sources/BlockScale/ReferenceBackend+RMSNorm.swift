// SPDX-License-Identifier: Apache-2.0

public import Minifloat

extension ReferenceBackend {
  /// RMSNorm from FP8 to FP8 under one scale: `y = x · 1/√(mean(x²) + ε) · weight`.
  ///
  /// y is rounded to BF16 before it is divided; the scale is taken from y in FP32. Nothing but the
  /// input is kept for the backward pass. Source:
  /// COAT:coat/activation/real_quantization/func_rmsnorm.py.
  ///
  /// - Parameters:
  ///   - input: M×N in 1×QB groups.
  ///   - weight: N values.
  ///   - outputQuantizedTranspose: Whether the result has the N×M transpose too.
  /// - Throws: ``BlockScaleError`` if the weight has another count or the input is in other blocks.
  /// - Precondition: `epsilon` is not negative.
  /// - Complexity: O(M·N).
  public func rmsNormForward<Input, Element>(
    _ input: Float8Tensor<Input>, weight: [Float], epsilon: Float = 1e-6,
    as element: Element.Type = Float8E4M3.self, outputQuantizedTranspose: Bool = true,
    recipe: ActivationRecipe = .storedScale
  ) throws(BlockScaleError) -> PerTensorActivation<Element> {
    precondition(epsilon >= 0, "The epsilon of a normalization is not negative")
    _ = try input.matrix.groupSize(of: "input")
    try input.check(parameter: weight, "weight")
    var values = ActivationValues(input)
    let columns = values.columns
    for row in 0..<values.rows {
      let inverse = inverseRootMeanSquare(
        values.values[row * columns..<(row + 1) * columns], epsilon)
      for column in 0..<columns {
        values.values[row * columns + column] *= inverse
        values.values[row * columns + column] *= weight[column]
      }
    }
    return try values.groupScaled(
      as: element, groupSize: columns, recipe, like: input
    ).quantized(recipe, transposes: outputQuantizedTranspose)
  }

  /// The gradients of RMSNorm.
  ///
  /// With `r = 1/√(mean(x²) + ε)`, `x̂ = x·r` and `g = weight · gradient`:
  /// `r · (g − x̂ · mean(x̂·g))` in BF16, and for the weight the sums of `gradient · x̂` in FP32, in an
  /// order that does not depend on threads. Source:
  /// COAT:coat/activation/real_quantization/func_rmsnorm.py.
  ///
  /// - Parameters:
  ///   - input: M×N in 1×QB groups, what the forward operation had.
  ///   - weight: N values.
  ///   - gradient: M×N.
  /// - Throws: ``BlockScaleError`` if shapes differ or the input is in other blocks.
  /// - Precondition: `epsilon` is not negative.
  /// - Complexity: O(M·N).
  public func rmsNormBackward<Input>(
    _ input: Float8Tensor<Input>, weight: [Float], gradient: BFloat16Tensor, epsilon: Float = 1e-6
  ) throws(BlockScaleError) -> NormGradients {
    precondition(epsilon >= 0, "The epsilon of a normalization is not negative")
    _ = try input.matrix.groupSize(of: "input")
    try input.check(parameter: weight, "weight")
    try gradient.check("gradient", hasShapeOf: input, "input")
    var normalized = ActivationValues(input)
    var result = ActivationValues(gradient)
    let incoming = result.values
    let columns = result.columns
    for row in 0..<result.rows {
      let first = row * columns
      let inverse = inverseRootMeanSquare(normalized.values[first..<first + columns], epsilon)
      for index in first..<first + columns { normalized.values[index] *= inverse }
      let mean =
        rowSum(columns) { normalized.values[first + $0] * (weight[$0] * incoming[first + $0]) }
        / Float(columns)
      for column in 0..<columns {
        let weighted = weight[column] * incoming[first + column]
        result.values[first + column] =
          inverse * (weighted - normalized.values[first + column] * mean)
      }
    }
    let weightGradient = columnSums(rows: result.rows, columns: columns) { row, column in
      incoming[row * columns + column] * normalized.values[row * columns + column]
    }
    return NormGradients(
      input: Tensor(try result.bfloats(), like: input), weight: weightGradient, bias: nil)
  }

  func inverseRootMeanSquare(_ row: ArraySlice<Float>, _ epsilon: Float) -> Float {
    let sum = rowSum(row.count) { row[row.startIndex + $0] * row[row.startIndex + $0] }
    return 1 / (sum / Float(row.count) + epsilon).squareRoot()
  }
}
