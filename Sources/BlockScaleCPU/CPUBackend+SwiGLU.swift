// SPDX-License-Identifier: Apache-2.0

public import BlockScale
public import Minifloat

extension CPUBackend {
  /// SwiGLU from FP8 to FP8: `silu(gate) · up`.
  ///
  /// The SiLU is rounded to FP8 in 1×QB groups before the product, as if it had been stored, but is
  /// not. Only the gate and `up` need to be kept for the backward pass. What it needs of the product,
  /// its transpose, is the same bytes when this is called again.
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
    let groupSize = try checkedGroupSize(gate, "gate", up, "up projection")
    let (gates, ups) = (CodeRows(gate.matrix), CodeRows(up.matrix))
    let product = try groupScaled(
      task(like: gate, as: element, recipe, groupSize: groupSize), scratch: 2
    ) { row, scratch in
      gates.decode(row, into: scratch[0])
      scratch[1].fillWithSigmoid(of: scratch[0])
      scratch[0].fill { scratch[0][$0] * scratch[1][$0] }
      scratch[0].requantize(groupSize: groupSize, Input.elementFormat, recipe)
      ups.decode(row, into: scratch[1])
      scratch[0].fill { scratch[0][$0] * scratch[1][$0] }
    }
    return try quantizedPerTensor(
      product.values, groupScales: product.scales, as: element, recipe,
      transposes: outputQuantizedTranspose, like: gate)
  }

  /// The gradients of the product in SwiGLU, with its SiLU computed again from the gate.
  ///
  /// Source: VILA's fused `fp8_mul_backward_silu_forward`. Equals
  /// ``multiplyBackward(_:_:gradient:as:outputQuantizedTranspose:recipe:rounding:)`` of what
  /// ``siluForward(_:as:recipe:)`` gives.
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
    let groupSize = try checkedGroupSize(gate, "gate", up, "up projection")
    try gradient.check("gradient", hasShapeOf: gate, "gate")
    let gates = CodeRows(gate.matrix)
    let gradients = try multiplyGradients(
      task(like: gate, as: element, recipe, groupSize: groupSize), as: element,
      second: CodeRows(up.matrix), gradient: ValueRows(gradient.matrix), like: gate
    ) { row, result, sigma in
      gates.decode(row, into: result)
      sigma.fillWithSigmoid(of: result)
      result.fill { result[$0] * sigma[$0] }
      result.requantize(groupSize: groupSize, Input.elementFormat, recipe)
    }
    return try quantized(gradients, recipe, transposes: outputQuantizedTranspose)
  }

  /// The gradients of SwiGLU in FP8, each under one scale, from the gate and `up` alone.
  ///
  /// One pass reads the gate, `up` and the gradient and computes σ once; the bytes are those of
  /// `multiplyBackwardSiLUForward` and `siluBackward` after each other, with the gradient of the SiLU
  /// rounded to BF16 between them.
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
    let groupSize = try checkedGroupSize(gate, "gate", up, "up projection")
    try gradient.check("gradient", hasShapeOf: gate, "gate")
    let task = task(like: gate, as: element, recipe, groupSize: groupSize)
    let (gates, ups) = (CodeRows(gate.matrix), CodeRows(up.matrix))
    let incoming = ValueRows(gradient.matrix)
    let silus = Input.elementFormat
    let (values, groups) = (task.rows * task.columns, task.rows * task.groups)
    var gateScales: [BFloat16] = []
    var upScales: [BFloat16] = []
    let (gateValues, upValues) = filled(values, values) {
      (gateValues: Output<BFloat16>, upValues: Output<BFloat16>) in
      (gateScales, upScales) = filled(groups, groups) {
        (gateScales: Output<BFloat16>, upScales: Output<BFloat16>) in
        forEachRow(task.rows, columns: task.columns, scratch: 5) { row, scratch in
          let (x, sigma, y, other, g) = (scratch[0], scratch[1], scratch[2], scratch[3], scratch[4])
          gates.decode(row, into: x)
          sigma.fillWithSigmoid(of: x)
          y.fill { x[$0] * sigma[$0] }
          y.requantize(groupSize: groupSize, silus, recipe)
          ups.decode(row, into: other)
          incoming.load(row, into: g)
          y.fill { g[$0] * y[$0] }
          y.storeGroupScales(
            into: upScales, row: row, groupSize: groupSize, task.format, recipe)
          y.store(into: upValues, row: row)
          other.fill { g[$0] * other[$0] }
          other.roundToBFloat16()
          other.multiplyBySiLUDerivative(x: x, sigma: sigma)
          other.storeGroupScales(
            into: gateScales, row: row, groupSize: groupSize, task.format, recipe)
          other.store(into: gateValues, row: row)
        }
      }
    }
    func quantized(
      _ values: [BFloat16], _ scales: [BFloat16]
    ) throws(BlockScaleError) -> PerTensorActivation<Element> {
      try quantizedPerTensor(
        Matrix(values, rows: task.rows, columns: task.columns),
        groupScales: Matrix(scales, rows: task.rows, columns: task.groups), as: element, recipe,
        transposes: outputQuantizedTranspose, like: gate)
    }
    return SwiGLUGradients(
      gate: try quantized(gateValues, gateScales), up: try quantized(upValues, upScales))
  }
}
