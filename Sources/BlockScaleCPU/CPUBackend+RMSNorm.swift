// SPDX-License-Identifier: Apache-2.0

public import BlockScale
public import Minifloat

extension CPUBackend {
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
    let source = CodeRows(input.matrix)
    let weights = Row(weight, LayerKernels(tier))
    let result = try groupScaled(
      task(like: input, as: element, recipe, groupSize: input.matrix.columns), scratch: 1
    ) { row, scratch in
      source.decode(row, into: scratch[0])
      _ = scratch[0].normalizeByRootMeanSquare(epsilon: epsilon)
      scratch[0].fill { scratch[0][$0] * weights[$0] }
    }
    return try quantizedPerTensor(
      result.values, groupScales: result.scales, as: element, recipe,
      transposes: outputQuantizedTranspose, like: input)
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
    let (source, incoming) = (CodeRows(input.matrix), ValueRows(gradient.matrix))
    let weights = Row(weight, LayerKernels(tier))
    return try normGradients(like: input, hasWeight: true, hasBias: false) {
      row, scratch, weightSums, _ in
      let (result, normalized) = (scratch[0], scratch[1])
      source.decode(row, into: normalized)
      incoming.load(row, into: result)
      let inverse = normalized.normalizeByRootMeanSquare(epsilon: epsilon)
      weightSums.fill { weightSums[$0] + result[$0] * normalized[$0] }
      result.fill { weights[$0] * result[$0] }
      let mean = result.sum { normalized[$0] * result[$0] } / Float(result.columns)
      result.fill { inverse * (result[$0] - normalized[$0] * mean) }
    }
  }
}
