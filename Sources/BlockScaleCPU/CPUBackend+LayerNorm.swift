// SPDX-License-Identifier: Apache-2.0

public import BlockScale
public import Minifloat

extension CPUBackend {
  /// LayerNorm from FP8 to FP8 under one scale: `y = (x − mean) · 1/√(variance + ε) · weight + bias`.
  ///
  /// The variance is the mean of `(x − mean)²` over the N columns, however many they are. y is
  /// divided in FP32, for which it is computed twice rather than stored. Nothing but the input is
  /// kept for the backward pass. Source:
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
    let source = CodeRows(input.matrix)
    let kernels = LayerKernels(tier)
    let (weights, biases) = (weight.map { Row($0, kernels) }, bias.map { Row($0, kernels) })
    let compute: @Sendable (Int, [Row]) -> Void = { row, scratch in
      let values = scratch[0]
      source.decode(row, into: values)
      _ = values.normalizeByDeviation(epsilon: epsilon)
      if let weights { values.fill { values[$0] * weights[$0] } }
      if let biases { values.fill { values[$0] + biases[$0] } }
    }
    let (rows, columns) = (input.matrix.rows, input.matrix.columns)
    let scales: [BFloat16] = filled(rows) { scales in
      forEachRow(rows, columns: columns, scratch: 1) { row, scratch in
        compute(row, scratch)
        scratch[0].storeGroupScales(
          into: scales, row: row, groupSize: columns, Element.elementFormat, recipe,
          roundsToBFloat16: false)
      }
    }
    return try quantizedPerTensor(
      as: element, scale: largestScale(scales), recipe, transposes: outputQuantizedTranspose,
      like: input, compute)
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
    let (source, incoming) = (CodeRows(input.matrix), ValueRows(gradient.matrix))
    let kernels = LayerKernels(tier)
    let weights = weight.map { Row($0, kernels) }
    return try normGradients(like: input, hasWeight: weight != nil, hasBias: weight != nil) {
      row, scratch, weightSums, biasSums in
      let (result, normalized) = (scratch[0], scratch[1])
      source.decode(row, into: normalized)
      incoming.load(row, into: result)
      let inverse = normalized.normalizeByDeviation(epsilon: epsilon)
      if let weights {
        weightSums.fill { weightSums[$0] + result[$0] * normalized[$0] }
        biasSums.fill { biasSums[$0] + result[$0] }
        result.fill { result[$0] * weights[$0] }
      }
      let count = Float(result.columns)
      let slope = result.sum { normalized[$0] * result[$0] } / count
      let mean = result.sum { result[$0] } / count
      result.fill { inverse * (result[$0] - (normalized[$0] * slope + mean)) }
    }
  }
}
