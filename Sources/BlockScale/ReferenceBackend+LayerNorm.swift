// SPDX-License-Identifier: Apache-2.0

public import Minifloat

extension ReferenceBackend {
  /// LayerNorm from FP8 to FP8 under one scale: `y = (x − mean) · 1/√(variance + ε) · weight + bias`.
  ///
  /// The variance is the mean of `(x − mean)²` over the N columns, however many they are. y is
  /// divided in FP32. Nothing but the input is kept for the backward pass. Source:
  /// COAT:coat/activation/real_quantization/func_layernorm_noparam.py and func_layernorm_param.py.
  ///
  /// - Parameters:
  ///   - input: M×N in 1×QB groups.
  ///   - weight: N values, or nil for ones.
  ///   - bias: N values, or nil for zeros.
  ///   - outputQuantizedTranspose: Whether the result has the N×M transpose too.
  /// - Throws: ``BlockScaleError`` if a parameter has another count or the input is in other blocks.
  /// - Precondition: `epsilon` is not negative.
  /// - Complexity: O(M·N).
  public func layerNormForward<Input, Element>(
    _ input: Float8Tensor<Input>, weight: [Float]? = nil, bias: [Float]? = nil,
    epsilon: Float = 1e-5, as element: Element.Type = Float8E4M3.self,
    outputQuantizedTranspose: Bool = true, recipe: ActivationRecipe = .storedScale
  ) throws(BlockScaleError) -> PerTensorActivation<Element> {
    precondition(epsilon >= 0, "The epsilon of a normalization is not negative")
    _ = try input.matrix.groupSize(of: "input")
    try input.check(parameter: weight, "weight")
    try input.check(parameter: bias, "bias")
    var values = ActivationValues(input)
    let columns = values.columns
    for row in 0..<values.rows {
      _ = normalize(&values.values[row * columns..<(row + 1) * columns], epsilon)
      for column in 0..<columns {
        if let weight { values.values[row * columns + column] *= weight[column] }
        if let bias { values.values[row * columns + column] += bias[column] }
      }
    }
    let scales = try values.groupScales(
      Element.elementFormat, groupSize: columns, recipe, roundsToBFloat16: false)
    let matrix = try values.quantized(
      as: element, tensorScale: largestScale(scales.values), recipe)
    return PerTensorActivation(
      tensor: Tensor(matrix, like: input),
      transposed: outputQuantizedTranspose ? matrix.transposed() : nil)
  }

  /// The gradients of LayerNorm.
  ///
  /// With `r = 1/√(variance + ε)`, `x̂ = (x − mean)·r` and `g = weight · gradient`:
  /// `r · (g − (x̂ · mean(x̂·g) + mean(g)))` in BF16; for the weight the sums of `gradient · x̂` and for
  /// the bias those of `gradient`, in FP32 and in an order that does not depend on threads. Source:
  /// as for the forward operation.
  ///
  /// - Parameters:
  ///   - input: M×N in 1×QB groups, what the forward operation had.
  ///   - weight: N values, or nil, which gives no gradients of weight and bias.
  ///   - gradient: M×N.
  /// - Throws: ``BlockScaleError`` if shapes differ or the input is in other blocks.
  /// - Precondition: `epsilon` is not negative.
  /// - Complexity: O(M·N).
  public func layerNormBackward<Input>(
    _ input: Float8Tensor<Input>, weight: [Float]? = nil, gradient: BFloat16Tensor,
    epsilon: Float = 1e-5
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
      let inverse = normalize(&normalized.values[first..<first + columns], epsilon)
      if let weight {
        for column in 0..<columns { result.values[first + column] *= weight[column] }
      }
      let weighted = Array(result.values[first..<first + columns])
      let slope =
        rowSum(columns) { normalized.values[first + $0] * weighted[$0] } / Float(columns)
      let mean = rowSum(columns) { weighted[$0] } / Float(columns)
      for column in 0..<columns {
        result.values[first + column] =
          inverse * (weighted[column] - (normalized.values[first + column] * slope + mean))
      }
    }
    guard weight != nil else {
      return NormGradients(
        input: Tensor(try result.bfloats(), like: input), weight: nil, bias: nil)
    }
    let weightGradient = columnSums(rows: result.rows, columns: columns) { row, column in
      incoming[row * columns + column] * normalized.values[row * columns + column]
    }
    let biasGradient = columnSums(rows: result.rows, columns: columns) { row, column in
      incoming[row * columns + column]
    }
    return NormGradients(
      input: Tensor(try result.bfloats(), like: input), weight: weightGradient, bias: biasGradient)
  }

  /// Normalizes a row in place.
  ///
  /// - Returns: 1/√(variance + ε).
  private func normalize(_ row: inout ArraySlice<Float>, _ epsilon: Float) -> Float {
    let values = Array(row)
    let mean = rowSum(values.count) { values[$0] } / Float(values.count)
    let variance =
      rowSum(values.count) { (values[$0] - mean) * (values[$0] - mean) } / Float(values.count)
    let inverse = 1 / (variance + epsilon).squareRoot()
    for index in row.indices { row[index] = (row[index] - mean) * inverse }
    return inverse
  }
}
