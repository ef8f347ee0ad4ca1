// SPDX-License-Identifier: Apache-2.0

public import Minifloat

extension ReferenceBackend {
  /// GELU by the error function, from FP8 to FP8 under one scale: `y = x·(1 + erf(x/√2))/2`.
  ///
  /// Source: COAT:coat/activation/real_quantization/gelu_fwd.py.
  ///
  /// - Parameters:
  ///   - input: M×N in 1×QB groups.
  ///   - outputQuantizedTranspose: Whether the result has the N×M transpose too.
  /// - Throws: ``BlockScaleError`` if the input is in other blocks.
  /// - Complexity: O(M·N).
  public func geluForward<Input, Element>(
    _ input: Float8Tensor<Input>, as element: Element.Type = Float8E4M3.self,
    outputQuantizedTranspose: Bool = true, recipe: ActivationRecipe = .storedScale
  ) throws(BlockScaleError) -> PerTensorActivation<Element> {
    let groupSize = try input.matrix.groupSize(of: "input")
    return try ActivationValues(input).mapped(gelu)
      .groupScaled(as: element, groupSize: groupSize, recipe, like: input)
      .quantized(recipe, transposes: outputQuantizedTranspose)
  }

  /// The gradient of GELU in FP8 under one scale.
  ///
  /// `gradient · ((1 + erf(x/√2))/2 + x·e^(−x²/2)/√(2π))`. Source:
  /// COAT:coat/activation/real_quantization/gelu_bwd.py.
  ///
  /// - Parameters:
  ///   - input: M×N in 1×QB groups, what the forward operation had.
  ///   - gradient: M×N.
  ///   - outputQuantizedTranspose: Whether the result has the N×M transpose too.
  /// - Throws: ``BlockScaleError`` if the shapes differ or the input is in other blocks.
  /// - Complexity: O(M·N).
  public func geluBackward<Input, Element>(
    _ input: Float8Tensor<Input>, gradient: BFloat16Tensor,
    as element: Element.Type = Float8E5M2.self, outputQuantizedTranspose: Bool = false,
    recipe: ActivationRecipe = .storedScale
  ) throws(BlockScaleError) -> PerTensorActivation<Element> {
    let groupSize = try input.matrix.groupSize(of: "input")
    try gradient.check("gradient", hasShapeOf: input, "input")
    return try ActivationValues(gradient)
      .combined(with: ActivationValues(input).mapped(geluDerivative), *)
      .groupScaled(as: element, groupSize: groupSize, recipe, like: input)
      .quantized(recipe, transposes: outputQuantizedTranspose)
  }
}
