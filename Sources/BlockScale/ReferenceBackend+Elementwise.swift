// SPDX-License-Identifier: Apache-2.0

public import Minifloat

//MARK: Addition

extension ReferenceBackend {
  /// Adds two tensors for the layer that follows.
  ///
  /// The sum is stored in BF16, and in FP8 rounded once from FP32. Source: COAT's
  /// `fp8_add_Ifp_Ifp_Ofp_Og16`, coat/activation/real_quantization/add_fwd.py.
  ///
  /// - Parameters:
  ///   - first: M×N.
  ///   - second: M×N.
  ///   - groupSize: Of the FP8 sum: 16, 32, 64 or 128.
  /// - Throws: ``BlockScaleError`` if the shapes differ.
  /// - Complexity: O(M·N).
  public func addForward<Element>(
    _ first: BFloat16Tensor, _ second: BFloat16Tensor, as element: Element.Type = Float8E4M3.self,
    groupSize: Int = 16, recipe: ActivationRecipe = .storedScale
  ) throws(BlockScaleError) -> AddOutput<Element> {
    try check(groupSize: groupSize)
    try second.check("second summand", hasShapeOf: first, "first")
    return try addOutput(
      ActivationValues(first), ActivationValues(second), as: element, groupSize: groupSize, recipe,
      like: first)
  }

  /// Adds a tensor to a residual stream that is kept in FP8.
  ///
  /// Source: `fp8_add_Ig16_Ifp_Ofp_Og16` of VILA:llava/model/coat.
  ///
  /// - Parameters:
  ///   - residual: M×N in 1×QB groups, which the sum takes over.
  ///   - second: M×N.
  /// - Throws: ``BlockScaleError`` if the shapes differ or the residual is in other blocks.
  /// - Complexity: O(M·N).
  public func addForward<Residual, Element>(
    residual: Float8Tensor<Residual>, _ second: BFloat16Tensor,
    as element: Element.Type = Float8E4M3.self, recipe: ActivationRecipe = .storedScale
  ) throws(BlockScaleError) -> AddOutput<Element> {
    let groupSize = try residual.matrix.groupSize(of: "residual")
    try second.check("second summand", hasShapeOf: residual, "residual")
    return try addOutput(
      ActivationValues(residual), ActivationValues(second), as: element, groupSize: groupSize,
      recipe, like: residual)
  }

  private func addOutput<Element: Float8Element, Other>(
    _ first: ActivationValues, _ second: ActivationValues, as element: Element.Type,
    groupSize: Int, _ recipe: ActivationRecipe, like other: Tensor<Other>
  ) throws(BlockScaleError) -> AddOutput<Element> {
    let sum = first.combined(with: second, +)
    return AddOutput(
      sum: Tensor(try sum.bfloats(), like: other),
      quantized: Tensor(
        try sum.quantized(as: element, groupSize: groupSize, recipe), like: other))
  }

  /// Adds two gradients for the linear layer before.
  ///
  /// Scales are taken from the FP32 sum, codes from the BF16 one. Source: COAT's
  /// `fp8_add_Ifp_Ifp_Ofp_Opt`, coat/activation/real_quantization/add_bwd.py.
  ///
  /// - Parameters:
  ///   - first: M×N.
  ///   - second: M×N.
  ///   - outputQuantizedTranspose: Whether the result has the N×M transpose too.
  /// - Throws: ``BlockScaleError`` if the shapes differ.
  /// - Complexity: O(M·N).
  public func addBackward<Element>(
    _ first: BFloat16Tensor, _ second: BFloat16Tensor, as element: Element.Type = Float8E5M2.self,
    groupSize: Int = 16, outputQuantizedTranspose: Bool = false,
    recipe: ActivationRecipe = .storedScale
  ) throws(BlockScaleError) -> AddGradient<Element> {
    try check(groupSize: groupSize)
    try second.check("second summand", hasShapeOf: first, "first")
    let sum = try ActivationValues(first).combined(with: ActivationValues(second), +)
      .groupScaled(as: element, groupSize: groupSize, recipe, like: first)
    return AddGradient(
      sum: sum.values,
      quantized: try sum.quantized(recipe, transposes: outputQuantizedTranspose),
      groupScales: sum.groupScales)
  }
}

//MARK: Multiplication

extension ReferenceBackend {
  /// Multiplies two tensors into FP8 under one scale.
  ///
  /// Scales are taken from the FP32 product, codes from the BF16 one. Source:
  /// COAT:coat/activation/real_quantization/mul_fwd.py.
  ///
  /// - Parameters:
  ///   - first: M×N in 1×QB groups.
  ///   - second: M×N in groups of the same size.
  ///   - outputQuantizedTranspose: Whether the result has the N×M transpose too.
  /// - Throws: ``BlockScaleError`` if shapes or groups differ.
  /// - Complexity: O(M·N).
  public func multiplyForward<First, Second, Element>(
    _ first: Float8Tensor<First>, _ second: Float8Tensor<Second>,
    as element: Element.Type = Float8E4M3.self, outputQuantizedTranspose: Bool = true,
    recipe: ActivationRecipe = .storedScale
  ) throws(BlockScaleError) -> PerTensorActivation<Element> {
    let groupSize = try checkedGroupSize(first, "first factor", second, "second factor")
    return try ActivationValues(first).combined(with: ActivationValues(second), *)
      .groupScaled(as: element, groupSize: groupSize, recipe, like: first)
      .quantized(recipe, transposes: outputQuantizedTranspose)
  }

  /// The gradients of a product, the second with the scales of its groups.
  ///
  /// `first = gradient · second factor` and `second = gradient · first factor`, in FP32 and rounded
  /// to BF16; the scales are taken before rounding. Source: COAT's `fp8_mul_backward`,
  /// coat/activation/real_quantization/mul_bwd.py, without `output_quantized_transpose`.
  ///
  /// - Parameters:
  ///   - first: M×N in 1×QB groups, the gate's SiLU in SwiGLU.
  ///   - second: M×N in groups of the same size.
  ///   - gradient: M×N.
  ///   - element: The format that the group scales are for (`fp8type`).
  /// - Throws: ``BlockScaleError`` if shapes or groups differ.
  /// - Complexity: O(M·N).
  public func multiplyBackward<First, Second, Element>(
    _ first: Float8Tensor<First>, _ second: Float8Tensor<Second>, gradient: BFloat16Tensor,
    as element: Element.Type = Float8E5M2.self, recipe: ActivationRecipe = .storedScale
  ) throws(BlockScaleError) -> MultiplyGradients<Element> {
    let groupSize = try checkedGroupSize(first, "first factor", second, "second factor")
    try gradient.check("gradient", hasShapeOf: first, "factors")
    let incoming = ActivationValues(gradient)
    return MultiplyGradients(
      first: Tensor(
        try incoming.combined(with: ActivationValues(second), *).bfloats(), like: first),
      second: try incoming.combined(with: ActivationValues(first), *)
        .groupScaled(as: element, groupSize: groupSize, recipe, like: first))
  }

  /// The gradients of a product, the second in FP8 under one scale.
  ///
  /// As ``multiplyBackward(_:_:gradient:as:recipe:)``, and then a division of the second gradient
  /// by the largest of its group scales.
  ///
  /// - Parameters:
  ///   - outputQuantizedTranspose: Whether the second gradient has its N×M transpose too; COAT's
  ///     kernel always makes both.
  ///   - rounding: Of the second gradient. COAT's kernel takes `stochastic` and ignores it.
  /// - Throws: ``BlockScaleError`` if shapes or groups differ.
  /// - Complexity: O(M·N).
  public func multiplyBackward<First, Second, Element>(
    _ first: Float8Tensor<First>, _ second: Float8Tensor<Second>, gradient: BFloat16Tensor,
    as element: Element.Type = Float8E5M2.self, outputQuantizedTranspose: Bool,
    recipe: ActivationRecipe = .storedScale, rounding: ActivationRounding = .nearest
  ) throws(BlockScaleError) -> QuantizedMultiplyGradients<Element> {
    let gradients = try multiplyBackward(
      first, second, gradient: gradient, as: element, recipe: recipe)
    return QuantizedMultiplyGradients(
      first: gradients.first,
      second: try gradients.second.quantized(
        recipe, transposes: outputQuantizedTranspose, rounding: rounding))
  }
}
