// SPDX-License-Identifier: Apache-2.0

public import BlockScale
public import Minifloat

//MARK: Addition

extension CPUBackend {
  /// Adds two tensors for the layer that follows.
  ///
  /// The sum is stored in BF16, and in FP8 rounded once from FP32. The bytes of this and all other
  /// operations of the activation flow are those of `ReferenceBackend`, whatever the number of
  /// threads. Source: COAT's `fp8_add_Ifp_Ifp_Ofp_Og16`,
  /// coat/activation/real_quantization/add_fwd.py.
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
    let (left, right) = (ValueRows(first.matrix), ValueRows(second.matrix))
    return try addOutput(
      task(like: first, as: element, recipe, groupSize: groupSize), as: element, like: first
    ) { row, scratch in
      left.load(row, into: scratch[0])
      right.load(row, into: scratch[1])
    }
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
    let (left, right) = (CodeRows(residual.matrix), ValueRows(second.matrix))
    return try addOutput(
      task(like: residual, as: element, recipe, groupSize: groupSize), as: element, like: residual
    ) { row, scratch in
      left.decode(row, into: scratch[0])
      right.load(row, into: scratch[1])
    }
  }

  private func addOutput<Element: Float8Element, Other>(
    _ task: ActivationTask, as element: Element.Type, like other: Tensor<Other>,
    _ load: @Sendable (_ row: Int, _ scratch: [Row]) -> Void
  ) throws(BlockScaleError) -> AddOutput<Element> {
    var matrix: BlockScaledMatrix<Element, BFloat16>?
    var failure: BlockScaleError?
    let sums: [BFloat16] = filled(task.rows * task.columns) { sums in
      do throws(BlockScaleError) {
        matrix = try quantizedGroups(task, as: element, scratch: 2) { row, scratch in
          load(row, scratch)
          scratch[0].fill { scratch[0][$0] + scratch[1][$0] }
          scratch[0].store(into: sums, row: row)
        }
      } catch {
        failure = error
      }
    }
    guard let matrix else { throw failure ?? BlockScaleError(.emptyMatrix, "There is no sum.") }
    return AddOutput(
      sum: Tensor(try Matrix(sums, rows: task.rows, columns: task.columns), like: other),
      quantized: Tensor(matrix, like: other))
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
    let (left, right) = (ValueRows(first.matrix), ValueRows(second.matrix))
    let sum = try groupScaled(
      task(like: first, as: element, recipe, groupSize: groupSize), scratch: 2
    ) { row, scratch in
      left.load(row, into: scratch[0])
      right.load(row, into: scratch[1])
      scratch[0].fill { scratch[0][$0] + scratch[1][$0] }
    }
    return AddGradient(
      sum: Tensor(sum.values, like: first),
      quantized: try quantizedPerTensor(
        sum.values, groupScales: sum.scales, as: element, recipe,
        transposes: outputQuantizedTranspose, like: first),
      groupScales: Tensor(sum.scales, like: first))
  }
}

//MARK: Multiplication

extension CPUBackend {
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
    let (left, right) = (CodeRows(first.matrix), CodeRows(second.matrix))
    let product = try groupScaled(
      task(like: first, as: element, recipe, groupSize: groupSize), scratch: 2
    ) { row, scratch in
      left.decode(row, into: scratch[0])
      right.decode(row, into: scratch[1])
      scratch[0].fill { scratch[0][$0] * scratch[1][$0] }
    }
    return try quantizedPerTensor(
      product.values, groupScales: product.scales, as: element, recipe,
      transposes: outputQuantizedTranspose, like: first)
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
    let left = CodeRows(first.matrix)
    return try multiplyGradients(
      task(like: first, as: element, recipe, groupSize: groupSize), as: element,
      second: CodeRows(second.matrix), gradient: ValueRows(gradient.matrix), like: first
    ) { row, result, _ in left.decode(row, into: result) }
  }

  /// The gradients of a product whose first factor is computed for each row.
  func multiplyGradients<Element: Float8Element, Other>(
    _ task: ActivationTask, as element: Element.Type, second: CodeRows, gradient: ValueRows,
    like other: Tensor<Other>, first: @Sendable (_ row: Int, _ result: Row, _ scratch: Row) -> Void
  ) throws(BlockScaleError) -> MultiplyGradients<Element> {
    var scales: [BFloat16] = []
    let (firsts, seconds) = filled(task.rows * task.columns, task.rows * task.columns) {
      (firsts: Output<BFloat16>, seconds: Output<BFloat16>) in
      scales = filled(task.rows * task.groups) { scales in
        forEachRow(task.rows, columns: task.columns, scratch: 3) { row, scratch in
          let (values, others, incoming) = (scratch[0], scratch[1], scratch[2])
          first(row, values, others)
          second.decode(row, into: others)
          gradient.load(row, into: incoming)
          others.fill { incoming[$0] * others[$0] }
          others.store(into: firsts, row: row)
          values.fill { incoming[$0] * values[$0] }
          values.storeGroupScales(
            into: scales, row: row, groupSize: task.groupSize, task.format, task.recipe)
          values.store(into: seconds, row: row)
        }
      }
    }
    return MultiplyGradients(
      first: Tensor(try Matrix(firsts, rows: task.rows, columns: task.columns), like: other),
      second: GroupScaledActivation(
        values: Tensor(
          try Matrix(seconds, rows: task.rows, columns: task.columns), like: other),
        groupScales: Tensor(
          try Matrix(scales, rows: task.rows, columns: task.groups), like: other)))
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
    return try quantized(
      gradients, recipe, transposes: outputQuantizedTranspose, rounding: rounding)
  }

  func quantized<Element: Float8Element>(
    _ gradients: MultiplyGradients<Element>, _ recipe: ActivationRecipe, transposes: Bool,
    rounding: ActivationRounding = .nearest
  ) throws(BlockScaleError) -> QuantizedMultiplyGradients<Element> {
    QuantizedMultiplyGradients(
      first: gradients.first,
      second: try quantizedPerTensor(
        gradients.second.values.matrix, groupScales: gradients.second.groupScales.matrix,
        as: Element.self, recipe, transposes: transposes, rounding: rounding,
        like: gradients.first))
  }
}
