// SPDX-License-Identifier: Apache-2.0

public import Minifloat

extension ReferenceBackend {
  /// Quantizes a tensor in 1×QB groups with BF16 scales.
  ///
  /// Source: COAT:coat/activation/real_quantization/_quantize.py.
  ///
  /// - Parameters:
  ///   - input: M×N.
  ///   - groupSize: QB: 16, 32, 64 or 128; the last group of a row may be short.
  /// - Throws: ``BlockScaleError`` for another group size.
  /// - Complexity: O(M·N).
  public func quantizeGroups<Source, Element>(
    _ input: Tensor<Matrix<Source>>, as element: Element.Type = Float8E4M3.self,
    groupSize: Int = 16, recipe: ActivationRecipe = .storedScale
  ) throws(BlockScaleError) -> Float8Tensor<Element> {
    try check(groupSize: groupSize)
    let matrix = try ActivationValues(input).quantized(
      as: element, groupSize: groupSize, recipe)
    return Tensor(matrix, like: input)
  }

  /// The values of codes, rounded to BF16.
  ///
  /// Source: COAT:coat/activation/real_quantization/_dequantize.py.
  ///
  /// - Parameter input: M×N in groups or under one scale.
  /// - Complexity: O(M·N).
  public func dequantize<Element>(
    _ input: Float8Tensor<Element>
  ) throws(BlockScaleError) -> BFloat16Tensor {
    Tensor(try ActivationValues(input).bfloats(), like: input)
  }

  /// The transpose of codes, with their scales.
  ///
  /// Source: COAT:coat/activation/real_quantization/_transpose.py.
  ///
  /// - Parameter input: M×N.
  /// - Returns: N×M; 1×QB groups become QB×1.
  /// - Complexity: O(M·N).
  public func transpose<Element>(
    _ input: Float8Tensor<Element>
  ) -> BlockScaledMatrix<Element, BFloat16> {
    input.matrix.transposed()
  }

  /// Quantizes a tensor under one scale: the largest of the scales of its 1×QB groups.
  ///
  /// Source: COAT:coat/activation/real_quantization/_quantize_pertensor.py.
  ///
  /// - Parameters:
  ///   - input: M×N.
  ///   - outputQuantizedTranspose: Whether the result has the N×M transpose too.
  /// - Throws: ``BlockScaleError`` for another group size than 16, 32, 64 or 128.
  /// - Complexity: O(M·N).
  public func quantizePerTensor<Source, Element>(
    _ input: Tensor<Matrix<Source>>, as element: Element.Type = Float8E4M3.self,
    groupSize: Int = 16, outputQuantizedTranspose: Bool = false,
    recipe: ActivationRecipe = .storedScale, rounding: ActivationRounding = .nearest
  ) throws(BlockScaleError) -> PerTensorQuantization<Element> {
    try check(groupSize: groupSize)
    let values = ActivationValues(input)
    let scales = try values.groupScales(
      Element.elementFormat, groupSize: groupSize, recipe, roundsToBFloat16: false)
    let matrix = try values.quantized(
      as: element, tensorScale: largestScale(scales.values), recipe, rounding: rounding)
    return PerTensorQuantization(
      quantized: PerTensorActivation(
        tensor: Tensor(matrix, like: input),
        transposed: outputQuantizedTranspose ? matrix.transposed() : nil),
      groupScales: Tensor(scales, like: input))
  }
}

extension ReferenceBackend {
  /// Divides a tensor by one scale and rounds it to FP8.
  ///
  /// Source: COAT:coat/activation/real_quantization/_division.py.
  ///
  /// - Parameters:
  ///   - input: M×N.
  ///   - scale: What to divide by; by default it is taken from the largest magnitude.
  /// - Returns: Codes under one scale, which is NaN if a value is not finite (``ActivationRecipe``).
  /// - Throws: ``BlockScaleError`` if the scale is infinite or not positive.
  /// - Complexity: O(M·N).
  public func division<Source, Element>(
    _ input: Tensor<Matrix<Source>>, by scale: BFloat16? = nil,
    as element: Element.Type = Float8E4M3.self, recipe: ActivationRecipe = .storedScale,
    rounding: ActivationRounding = .nearest
  ) throws(BlockScaleError) -> Float8Tensor<Element> {
    try check(givenScale: scale)
    let values = ActivationValues(input)
    let maximum = recipe.largestMagnitude(values.values)
    let computed = recipe.computedScale(
      maximum: maximum, Element.elementFormat, source: Source.sourceFormat)
    let hasNumbers = recipe == .coat || maximum.isFinite
    let matrix = try values.quantized(
      as: element, tensorScale: hasNumbers ? scale ?? computed : .nan, recipe, rounding: rounding)
    return Tensor(matrix, like: input)
  }

  /// Divides a tensor by one scale and rounds it to FP8, with the transpose of the codes.
  ///
  /// Source: COAT:coat/activation/real_quantization/_division_transpose.py.
  ///
  /// - Parameters:
  ///   - input: M×N.
  ///   - scale: What to divide by; by default it is taken from the largest magnitude.
  /// - Throws: ``BlockScaleError`` if the scale is infinite or not positive.
  /// - Complexity: O(M·N).
  public func divisionTranspose<Source, Element>(
    _ input: Tensor<Matrix<Source>>, by scale: BFloat16? = nil,
    as element: Element.Type = Float8E4M3.self, recipe: ActivationRecipe = .storedScale,
    rounding: ActivationRounding = .nearest
  ) throws(BlockScaleError) -> PerTensorActivation<Element> {
    let tensor = try division(input, by: scale, as: element, recipe: recipe, rounding: rounding)
    return PerTensorActivation(tensor: tensor, transposed: tensor.matrix.transposed())
  }
}
