// SPDX-License-Identifier: Apache-2.0

public import Minifloat

//MARK: SiLU

extension ReferenceBackend {
  /// SiLU from FP8 to FP8: `y = x / (1 + e^−x)`.
  ///
  /// Source: COAT:coat/activation/real_quantization/silu_fwd.py.
  ///
  /// - Parameter input: M×N in 1×QB groups, which the result takes over.
  /// - Throws: ``BlockScaleError`` if the input is in other blocks.
  /// - Complexity: O(M·N).
  public func siluForward<Input, Element>(
    _ input: Float8Tensor<Input>, as element: Element.Type = Float8E4M3.self,
    recipe: ActivationRecipe = .storedScale
  ) throws(BlockScaleError) -> Float8Tensor<Element> {
    let groupSize = try input.matrix.groupSize(of: "input")
    let values = ActivationValues(input).mapped(silu)
    return Tensor(
      try values.quantized(as: element, groupSize: groupSize, recipe), like: input)
  }

  /// The gradient of SiLU in BF16, with the scales of its groups.
  ///
  /// `gradient · (σ + x·σ·(1 − σ))`. Source: COAT:coat/activation/real_quantization/silu_bwd.py.
  ///
  /// - Parameters:
  ///   - input: M×N in 1×QB groups, what the forward operation had.
  ///   - gradient: M×N.
  /// - Throws: ``BlockScaleError`` if the shapes differ or the input is in other blocks.
  /// - Complexity: O(M·N).
  public func siluBackward<Input, Element>(
    _ input: Float8Tensor<Input>, gradient: BFloat16Tensor,
    as element: Element.Type = Float8E5M2.self, recipe: ActivationRecipe = .storedScale
  ) throws(BlockScaleError) -> GroupScaledActivation<Element> {
    let groupSize = try input.matrix.groupSize(of: "input")
    try gradient.check("gradient", hasShapeOf: input, "input")
    return try ActivationValues(gradient)
      .combined(with: ActivationValues(input).mapped(siluDerivative), *)
      .groupScaled(as: element, groupSize: groupSize, recipe, like: input)
  }

  /// The gradient of SiLU in FP8 under one scale.
  ///
  /// As ``siluBackward(_:gradient:as:recipe:)``, and then a division by the largest group scale.
  ///
  /// - Parameter outputQuantizedTranspose: Whether the result has the N×M transpose too.
  /// - Throws: ``BlockScaleError`` if the shapes differ or the input is in other blocks.
  /// - Complexity: O(M·N).
  public func siluBackward<Input, Element>(
    _ input: Float8Tensor<Input>, gradient: BFloat16Tensor,
    as element: Element.Type = Float8E5M2.self, outputQuantizedTranspose: Bool,
    recipe: ActivationRecipe = .storedScale
  ) throws(BlockScaleError) -> PerTensorActivation<Element> {
    try siluBackward(input, gradient: gradient, as: element, recipe: recipe)
      .quantized(recipe, transposes: outputQuantizedTranspose)
  }
}

//MARK: SwiGLU

extension ReferenceBackend {
  /// SwiGLU from FP8 to FP8: `silu(gate) · up`.
  ///
  /// The SiLU is rounded to FP8 in 1×QB groups before the product, as if it had been stored: this is
  /// ``siluForward(_:as:recipe:)`` and ``multiplyForward(_:_:as:outputQuantizedTranspose:recipe:)``.
  /// Only the gate and `up` need to be kept for the backward pass. What it needs of the product, its
  /// transpose, is the same bytes when this is called again.
  ///
  /// - Parameters:
  ///   - gate: M×N in 1×QB groups.
  ///   - up: M×N in groups of the same size.
  ///   - outputQuantizedTranspose: Whether the result has the N×M transpose too.
  /// - Throws: ``BlockScaleError`` if shapes or groups differ.
  /// - Complexity: O(M·N).
  public func swiGLUForward<Input, Element>(
    gate: Float8Tensor<Input>, up: Float8Tensor<Input>,
    as element: Element.Type = Float8E4M3.self, outputQuantizedTranspose: Bool = true,
    recipe: ActivationRecipe = .storedScale
  ) throws(BlockScaleError) -> PerTensorActivation<Element> {
    _ = try checkedGroupSize(gate, "gate", up, "up projection")
    return try multiplyForward(
      siluForward(gate, as: Input.self, recipe: recipe), up, as: element,
      outputQuantizedTranspose: outputQuantizedTranspose, recipe: recipe)
  }

  /// The gradients of the product in SwiGLU, with its SiLU computed again from the gate.
  ///
  /// Source: VILA's fused `fp8_mul_backward_silu_forward`. Equals
  /// ``multiplyBackward(_:_:gradient:as:recipe:)`` of what ``siluForward(_:as:recipe:)`` gives.
  ///
  /// - Parameters:
  ///   - gate: M×N in 1×QB groups.
  ///   - up: M×N in groups of the same size.
  ///   - gradient: M×N.
  /// - Returns: The gradients of the SiLU and of `up`.
  /// - Throws: ``BlockScaleError`` if shapes or groups differ.
  /// - Complexity: O(M·N).
  public func multiplyBackwardSiLUForward<Input, Element>(
    gate: Float8Tensor<Input>, up: Float8Tensor<Input>, gradient: BFloat16Tensor,
    as element: Element.Type = Float8E5M2.self, outputQuantizedTranspose: Bool = true,
    recipe: ActivationRecipe = .storedScale
  ) throws(BlockScaleError) -> QuantizedMultiplyGradients<Element> {
    _ = try checkedGroupSize(gate, "gate", up, "up projection")
    try gradient.check("gradient", hasShapeOf: gate, "gate")
    return try multiplyBackward(
      siluForward(gate, as: Input.self, recipe: recipe), up, gradient: gradient, as: element,
      outputQuantizedTranspose: outputQuantizedTranspose, recipe: recipe)
  }

  /// The gradients of SwiGLU in FP8, each under one scale, from the gate and `up` alone.
  ///
  /// The gradient of the SiLU is rounded to BF16 between ``multiplyBackwardSiLUForward(gate:up:gradient:as:outputQuantizedTranspose:recipe:)``
  /// and ``siluBackward(_:gradient:as:recipe:)``.
  ///
  /// - Parameters:
  ///   - gate: M×N in 1×QB groups.
  ///   - up: M×N in groups of the same size.
  ///   - gradient: M×N.
  ///   - outputQuantizedTranspose: Whether the results have their N×M transposes too.
  /// - Throws: ``BlockScaleError`` if shapes or groups differ.
  /// - Complexity: O(M·N).
  public func swiGLUBackward<Input, Element>(
    gate: Float8Tensor<Input>, up: Float8Tensor<Input>, gradient: BFloat16Tensor,
    as element: Element.Type = Float8E5M2.self, outputQuantizedTranspose: Bool = true,
    recipe: ActivationRecipe = .storedScale
  ) throws(BlockScaleError) -> SwiGLUGradients<Element> {
    let product = try multiplyBackwardSiLUForward(
      gate: gate, up: up, gradient: gradient, as: element,
      outputQuantizedTranspose: outputQuantizedTranspose, recipe: recipe)
    return SwiGLUGradients(
      gate: try siluBackward(
        gate, gradient: product.first, as: element,
        outputQuantizedTranspose: outputQuantizedTranspose, recipe: recipe),
      up: product.second)
  }
}
