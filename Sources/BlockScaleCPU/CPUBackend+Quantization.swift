// SPDX-License-Identifier: Apache-2.0

public import BlockScale
public import Minifloat

extension CPUBackend {
  /// Quantizes a tensor in 1×QB groups with BF16 scales.
  ///
  /// The bytes are those of `ReferenceBackend`, whatever the number of threads. Source:
  /// COAT:coat/activation/real_quantization/_quantize.py.
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
    let source = ValueRows(input.matrix)
    let matrix = try quantizedGroups(
      task(like: input, as: element, recipe, groupSize: groupSize), as: element, scratch: 1
    ) { row, scratch in source.load(row, into: scratch[0]) }
    return Tensor(matrix, like: input)
  }

  /// What an operation does with tensors of one shape.
  func task<Element: Float8Element, Other>(
    like other: Tensor<Other>, as element: Element.Type, _ recipe: ActivationRecipe,
    groupSize: Int
  ) -> ActivationTask {
    ActivationTask(
      rows: other.matrix.rows, columns: other.matrix.columns, format: Element.elementFormat,
      recipe: recipe, groupSize: groupSize)
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
    let matrix = input.matrix
    let isFlat = matrix.blocking.rows == 1 && matrix.blocking.columns % 16 == 0
    guard isFlat || matrix.blocking == .tensor, matrix.tensorScale == nil else {
      // Blocks that the flow does not use.
      return try ReferenceBackend().dequantize(input)
    }
    let source = CodeRows(matrix)
    let values: [BFloat16] = filled(matrix.rows * matrix.columns) { values in
      forEachRow(matrix.rows, columns: matrix.columns, scratch: 1) { row, scratch in
        source.decode(row, into: scratch[0])
        scratch[0].store(into: values, row: row)
      }
    }
    return Tensor(
      try Matrix(values, rows: matrix.rows, columns: matrix.columns), like: input)
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
    let matrix = input.matrix
    let panelRows = 64
    let kernels = Kernels(tier)
    let codes: [UInt8] = filled(matrix.rows * matrix.columns) { codes in
      parallelFor((matrix.rows - 1) / panelRows + 1, threads: threads) { panel in
        let rows = panel * panelRows..<min(matrix.rows, (panel + 1) * panelRows)
        // The buffer of an array that is alive during the call and has all rows.
        unsafe matrix.codes.withUnsafeBufferPointer {
          unsafe transposePanel(
            $0.baseAddress.unsafelyUnwrapped + rows.lowerBound * matrix.columns, rows: rows,
            columns: matrix.columns, into: codes, rowsOfAll: matrix.rows, kernels)
        }
      }
    }
    let grid = matrix.blocking.grid(rows: matrix.rows, columns: matrix.columns)
    do {
      return try BlockScaledMatrix(
        rows: matrix.columns, columns: matrix.rows, blocking: matrix.blocking.transposed,
        codes: codes, scales: transposed(matrix.scales, rows: grid.rows, columns: grid.columns),
        tensorScale: matrix.tensorScale)
    } catch {
      preconditionFailure("A transpose has as many codes and scales as its matrix: \(error)")
    }
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
    let source = ValueRows(input.matrix)
    let task = task(like: input, as: element, recipe, groupSize: groupSize)
    let scales: [BFloat16] = filled(task.rows * task.groups) { scales in
      forEachRow(task.rows, columns: task.columns, scratch: 1) { row, scratch in
        source.load(row, into: scratch[0])
        scratch[0].storeGroupScales(
          into: scales, row: row, groupSize: groupSize, task.format, recipe,
          roundsToBFloat16: false)
      }
    }
    let quantized = try quantizedPerTensor(
      as: element, scale: largestScale(scales), recipe, transposes: outputQuantizedTranspose,
      rounding: rounding, like: input
    ) { row, scratch in source.load(row, into: scratch[0]) }
    return PerTensorQuantization(
      quantized: quantized,
      groupScales: Tensor(
        try Matrix(scales, rows: task.rows, columns: task.groups), like: input))
  }
}

extension CPUBackend {
  /// Divides a tensor by one scale and rounds it to FP8.
  ///
  /// Source: COAT:coat/activation/real_quantization/_division.py.
  ///
  /// - Parameters:
  ///   - input: M×N.
  ///   - scale: What to divide by; by default it is taken from the largest magnitude.
  /// - Returns: Codes under one scale, which is NaN if a value is not finite (`ActivationRecipe`).
  /// - Throws: ``BlockScaleError`` if the scale is infinite or not positive.
  /// - Complexity: O(M·N).
  public func division<Source, Element>(
    _ input: Tensor<Matrix<Source>>, by scale: BFloat16? = nil,
    as element: Element.Type = Float8E4M3.self, recipe: ActivationRecipe = .storedScale,
    rounding: ActivationRounding = .nearest
  ) throws(BlockScaleError) -> Float8Tensor<Element> {
    try divided(
      input, by: scale, as: element, recipe: recipe, rounding: rounding, transposes: false
    ).tensor
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
    try divided(
      input, by: scale, as: element, recipe: recipe, rounding: rounding, transposes: true)
  }

  private func divided<Source, Element: Float8Element>(
    _ input: Tensor<Matrix<Source>>, by scale: BFloat16?, as element: Element.Type,
    recipe: ActivationRecipe, rounding: ActivationRounding, transposes: Bool
  ) throws(BlockScaleError) -> PerTensorActivation<Element> {
    try check(givenScale: scale)
    let source = ValueRows(input.matrix)
    let maxima: [Float] = filled(input.matrix.rows) { maxima in
      forEachRow(input.matrix.rows, columns: input.matrix.columns, scratch: 1) { row, scratch in
        source.load(row, into: scratch[0])
        // One element, whose place was checked.
        unsafe maxima.pointer(row, count: 1).pointee = scratch[0].largestMagnitude(recipe)
      }
    }
    let maximum = recipe.largestMagnitude(maxima)
    let computed = recipe.computedScale(
      maximum: maximum, Element.elementFormat, source: Source.sourceFormat)
    let hasNumbers = recipe == .coat || maximum.isFinite
    return try quantizedPerTensor(
      as: element, scale: hasNumbers ? scale ?? computed : .nan, recipe, transposes: transposes,
      rounding: rounding, like: input
    ) { row, scratch in source.load(row, into: scratch[0]) }
  }
}
