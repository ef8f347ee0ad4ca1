// SPDX-License-Identifier: Apache-2.0

public import BlockScale
public import Minifloat
import _BlockScaleShims

extension Row {
  /// Makes this row σ of another.
  func fillWithSigmoid(of x: Row) {
    // Rows of the same length.
    precondition(x.columns == columns)
    unsafe kernels.functions.sigmoid(x.values, columns, values)
  }

  /// Multiplies a gradient by SiLU's derivative: σ + x·σ·(1 − σ).
  func multiplyBySiLUDerivative(x: Row, sigma: Row) {
    fill { index in
      let s = sigma[index]
      return self[index] * (s + x[index] * s * (1 - s))
    }
  }
}

//MARK: SiLU

extension CPUBackend {
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
    let source = CodeRows(input.matrix)
    let matrix = try quantizedGroups(
      task(like: input, as: element, recipe, groupSize: groupSize), as: element, scratch: 2
    ) { row, scratch in
      source.decode(row, into: scratch[0])
      scratch[1].fillWithSigmoid(of: scratch[0])
      scratch[0].fill { scratch[0][$0] * scratch[1][$0] }
    }
    return Tensor(matrix, like: input)
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
    let (source, incoming) = (CodeRows(input.matrix), ValueRows(gradient.matrix))
    let result = try groupScaled(
      task(like: input, as: element, recipe, groupSize: groupSize), scratch: 3
    ) { row, scratch in
      incoming.load(row, into: scratch[0])
      source.decode(row, into: scratch[1])
      scratch[2].fillWithSigmoid(of: scratch[1])
      scratch[0].multiplyBySiLUDerivative(x: scratch[1], sigma: scratch[2])
    }
    return GroupScaledActivation(
      values: Tensor(result.values, like: input), groupScales: Tensor(result.scales, like: input))
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
    let result = try siluBackward(input, gradient: gradient, as: element, recipe: recipe)
    return try quantizedPerTensor(
      result.values.matrix, groupScales: result.groupScales.matrix, as: element, recipe,
      transposes: outputQuantizedTranspose, like: input)
  }
}
