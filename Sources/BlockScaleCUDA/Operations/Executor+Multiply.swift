// SPDX-License-Identifier: Apache-2.0

package import BlockScale
package import Minifloat
package import PTX

extension KernelExecutor {
  /// The first stage of ``multiplyBackward(_:_:gradient:as:outputQuantizedTranspose:recipe:rounding:)``.
  package func launchMultiplyBackward<First, Second, Output: ActivationElement>(
    _ first: borrowing DeviceCodes<First, BFloat16>,
    _ second: borrowing DeviceCodes<Second, BFloat16>,
    gradient: borrowing DeviceMatrix<BFloat16>, as output: Output.Type, recipe: ActivationRecipe,
    into firstGradient: borrowing DeviceMatrix<BFloat16>,
    _ secondGradient: borrowing DeviceGroupScaled
  ) throws -> KernelLaunch {
    try MultiplyBackward<First, Second, Output>(
      ActivationSettings(
        groupSize: first.blocking.columns, recipe: recipe, isAligned: isAligned(first.columns))
    ).launch(
      rows: first.rows, columns: first.columns,
      merged(
        first.arguments("first"), second.arguments("second"), gradient.argument("gradient"),
        firstGradient.argument("firstGradient"), secondGradient.arguments("result")), for: target)
  }

  /// Multiplies two tensors into FP8 under one scale; see `ReferenceBackend.multiplyForward`.
  package func multiplyForward<
    First: ActivationElement, Second: ActivationElement, Output: ActivationElement
  >(
    _ first: Float8Tensor<First>, _ second: Float8Tensor<Second>, as output: Output.Type,
    outputQuantizedTranspose: Bool = true, recipe: ActivationRecipe = .storedScale
  ) throws -> PerTensorActivation<Output> {
    let groupSize = try checkedGroupSize(first, "first factor", second, "second factor")
    // Operands are named, since they are given back at the end of their scope.
    let firstCodes = try DeviceCodes(first.matrix, on: self)
    let secondCodes = try DeviceCodes(second.matrix, on: self)
    let result = try DeviceGroupScaled(like: first.matrix, groupSize: groupSize, on: self)
    try launch(
      MultiplyForward<First, Second, Output>(settings(of: first.matrix, groupSize, recipe)),
      like: first.matrix,
      merged(
        firstCodes.arguments("first"), secondCodes.arguments("second"), result.arguments("result")))
    return try quantized(
      result, as: output, transposes: outputQuantizedTranspose, recipe: recipe, like: first)
  }

  /// The gradients of a product, the second with the scales of its groups; see
  /// `ReferenceBackend.multiplyBackward`.
  package func multiplyBackward<
    First: ActivationElement, Second: ActivationElement, Output: ActivationElement
  >(
    _ first: Float8Tensor<First>, _ second: Float8Tensor<Second>, gradient: BFloat16Tensor,
    as output: Output.Type, recipe: ActivationRecipe = .storedScale
  ) throws -> MultiplyGradients<Output> {
    let groupSize = try checkedGroupSize(first, "first factor", second, "second factor")
    try gradient.check("gradient", hasShapeOf: first, "factors")
    let result = try DeviceGroupScaled(like: first.matrix, groupSize: groupSize, on: self)
    return MultiplyGradients(
      first: try multiplyGradients(first, second, gradient, as: output, recipe, into: result),
      second: try result.activation(like: first))
  }

  /// The gradients of a product, the second in FP8 under one scale; see `ReferenceBackend.multiplyBackward`.
  package func multiplyBackward<
    First: ActivationElement, Second: ActivationElement, Output: ActivationElement
  >(
    _ first: Float8Tensor<First>, _ second: Float8Tensor<Second>, gradient: BFloat16Tensor,
    as output: Output.Type, outputQuantizedTranspose: Bool, recipe: ActivationRecipe = .storedScale,
    rounding: ActivationRounding = .nearest
  ) throws -> QuantizedMultiplyGradients<Output> {
    let groupSize = try checkedGroupSize(first, "first factor", second, "second factor")
    try gradient.check("gradient", hasShapeOf: first, "factors")
    let result = try DeviceGroupScaled(like: first.matrix, groupSize: groupSize, on: self)
    return QuantizedMultiplyGradients(
      first: try multiplyGradients(first, second, gradient, as: output, recipe, into: result),
      second: try quantized(
        result, as: output, transposes: outputQuantizedTranspose, recipe: recipe, rounding,
        like: first))
  }

  /// The first gradient; the second is on its way to one scale.
  private func multiplyGradients<
    First: ActivationElement, Second: ActivationElement, Output: ActivationElement
  >(
    _ first: Float8Tensor<First>, _ second: Float8Tensor<Second>, _ gradient: BFloat16Tensor,
    as output: Output.Type, _ recipe: ActivationRecipe, into result: borrowing DeviceGroupScaled
  ) throws -> BFloat16Tensor {
    let firstCodes = try DeviceCodes(first.matrix, on: self)
    let secondCodes = try DeviceCodes(second.matrix, on: self)
    let incoming = try DeviceMatrix(gradient.matrix, on: self)
    let firstGradient = try DeviceMatrix<BFloat16>(
      rows: first.matrix.rows, columns: first.matrix.columns, on: self)
    try launch(
      launchMultiplyBackward(
        firstCodes, secondCodes, gradient: incoming, as: output, recipe: recipe,
        into: firstGradient, result))
    return Tensor(try firstGradient.matrix(), like: first)
  }
}
