// SPDX-License-Identifier: Apache-2.0

package import BlockScale
import Minifloat
package import PTX

// The operations of `ReferenceBackend` of the same names, with the same bytes.

// MARK: SiLU and GELU

extension KernelExecutor {
  /// SiLU from FP8 to FP8; see `ReferenceBackend.siluForward`.
  package func siluForward<Input: ActivationElement, Output: ActivationElement>(
    _ input: Float8Tensor<Input>, as output: Output.Type = Float8E4M3.self,
    recipe: ActivationRecipe = .storedScale
  ) throws -> Float8Tensor<Output> {
    let groupSize = try input.matrix.groupSize(of: "input")
    let codes = try DeviceCodes(input.matrix, on: self)
    let result = try DeviceCodes<Output, BFloat16>(
      like: input.matrix, groupSize: groupSize, on: self)
    try launch(
      SiLUForward<Input, Output>(settings(of: input.matrix, groupSize, recipe)), like: input.matrix,
      merged(codes.arguments("input"), result.arguments("result")))
    return Tensor(try result.matrix(), like: input)
  }

  /// The gradient of SiLU in BF16, with the scales of its groups; see `ReferenceBackend.siluBackward`.
  package func siluBackward<Input: ActivationElement, Output: ActivationElement>(
    _ input: Float8Tensor<Input>, gradient: BFloat16Tensor,
    as output: Output.Type = Float8E5M2.self, recipe: ActivationRecipe = .storedScale
  ) throws -> GroupScaledActivation<Output> {
    let result = try activationBackward(.silu, input, gradient, as: output, recipe)
    return try result.activation(like: input)
  }

  /// The gradient of SiLU in FP8 under one scale; see `ReferenceBackend.siluBackward`.
  package func siluBackward<Input: ActivationElement, Output: ActivationElement>(
    _ input: Float8Tensor<Input>, gradient: BFloat16Tensor,
    as output: Output.Type = Float8E5M2.self, outputQuantizedTranspose: Bool,
    recipe: ActivationRecipe = .storedScale
  ) throws -> PerTensorActivation<Output> {
    let result = try activationBackward(.silu, input, gradient, as: output, recipe)
    return try quantized(
      result, as: output, transposes: outputQuantizedTranspose, recipe: recipe, like: input)
  }

  /// GELU from FP8 to FP8 under one scale; see `ReferenceBackend.geluForward`.
  package func geluForward<Input: ActivationElement, Output: ActivationElement>(
    _ input: Float8Tensor<Input>, as output: Output.Type = Float8E4M3.self,
    outputQuantizedTranspose: Bool = true, recipe: ActivationRecipe = .storedScale
  ) throws -> PerTensorActivation<Output> {
    let groupSize = try input.matrix.groupSize(of: "input")
    let codes = try DeviceCodes(input.matrix, on: self)
    let result = try DeviceGroupScaled(like: input.matrix, groupSize: groupSize, on: self)
    try launch(
      GELUForward<Input, Output>(settings(of: input.matrix, groupSize, recipe)), like: input.matrix,
      merged(codes.arguments("input"), result.arguments("result")))
    return try quantized(
      result, as: output, transposes: outputQuantizedTranspose, recipe: recipe, like: input)
  }

  /// The gradient of GELU in FP8 under one scale; see `ReferenceBackend.geluBackward`.
  package func geluBackward<Input: ActivationElement, Output: ActivationElement>(
    _ input: Float8Tensor<Input>, gradient: BFloat16Tensor,
    as output: Output.Type = Float8E5M2.self, outputQuantizedTranspose: Bool = false,
    recipe: ActivationRecipe = .storedScale
  ) throws -> PerTensorActivation<Output> {
    let result = try activationBackward(.gelu, input, gradient, as: output, recipe)
    return try quantized(
      result, as: output, transposes: outputQuantizedTranspose, recipe: recipe, like: input)
  }

  private func activationBackward<Input: ActivationElement, Output: ActivationElement>(
    _ function: ActivationFunction, _ input: Float8Tensor<Input>, _ gradient: BFloat16Tensor,
    as output: Output.Type, _ recipe: ActivationRecipe
  ) throws -> DeviceGroupScaled {
    let groupSize = try input.matrix.groupSize(of: "input")
    try gradient.check("gradient", hasShapeOf: input, "input")
    let codes = try DeviceCodes(input.matrix, on: self)
    let incoming = try DeviceMatrix(gradient.matrix, on: self)
    let result = try DeviceGroupScaled(like: input.matrix, groupSize: groupSize, on: self)
    try launch(
      ActivationBackward<Input, Output>(function, settings(of: input.matrix, groupSize, recipe)),
      like: input.matrix,
      merged(
        codes.arguments("input"), incoming.argument("gradient"), result.arguments("result")))
    return result
  }
}

// MARK: SwiGLU

extension KernelExecutor {
  /// SwiGLU from FP8 to FP8 under one scale; see `ReferenceBackend.swiGLUForward`.
  package func swiGLUForward<Input: ActivationElement, Output: ActivationElement>(
    gate: Float8Tensor<Input>, up: Float8Tensor<Input>, as output: Output.Type = Float8E4M3.self,
    outputQuantizedTranspose: Bool = true, recipe: ActivationRecipe = .storedScale
  ) throws -> PerTensorActivation<Output> {
    let groupSize = try checkedGroupSize(gate, "gate", up, "up projection")
    let gateCodes = try DeviceCodes(gate.matrix, on: self)
    let upCodes = try DeviceCodes(up.matrix, on: self)
    let result = try DeviceGroupScaled(like: gate.matrix, groupSize: groupSize, on: self)
    try launch(
      SwiGLUProduct<Input, Output>(settings(of: gate.matrix, groupSize, recipe)), like: gate.matrix,
      merged(gateCodes.arguments("gate"), upCodes.arguments("up"), result.arguments("result")))
    return try quantized(
      result, as: output, transposes: outputQuantizedTranspose, recipe: recipe, like: gate)
  }

  /// The gradients of the product in SwiGLU; see `ReferenceBackend.multiplyBackwardSiLUForward`.
  package func multiplyBackwardSiLUForward<Input: ActivationElement, Output: ActivationElement>(
    gate: Float8Tensor<Input>, up: Float8Tensor<Input>, gradient: BFloat16Tensor,
    as output: Output.Type = Float8E5M2.self, outputQuantizedTranspose: Bool = true,
    recipe: ActivationRecipe = .storedScale
  ) throws -> QuantizedMultiplyGradients<Output> {
    let ups = try DeviceGroupScaled(
      like: gate.matrix, groupSize: gate.matrix.groupSize(of: "gate"), on: self)
    let silus = try DeviceMatrix<BFloat16>(
      rows: gate.matrix.rows, columns: gate.matrix.columns, on: self)
    try launchSwiGLUGradients(
      gate, up, gradient, as: output, recipe, isWhole: false,
      merged(ups.arguments("upGradient"), silus.argument("siluGradient")))
    return QuantizedMultiplyGradients(
      first: Tensor(try silus.matrix(), like: gate),
      second: try quantized(
        ups, as: output, transposes: outputQuantizedTranspose, recipe: recipe, like: gate))
  }

  /// The gradients of SwiGLU in FP8, each under one scale; see `ReferenceBackend.swiGLUBackward`.
  package func swiGLUBackward<Input: ActivationElement, Output: ActivationElement>(
    gate: Float8Tensor<Input>, up: Float8Tensor<Input>, gradient: BFloat16Tensor,
    as output: Output.Type = Float8E5M2.self, outputQuantizedTranspose: Bool = true,
    recipe: ActivationRecipe = .storedScale
  ) throws -> SwiGLUGradients<Output> {
    let groupSize = try gate.matrix.groupSize(of: "gate")
    let ups = try DeviceGroupScaled(like: gate.matrix, groupSize: groupSize, on: self)
    let gates = try DeviceGroupScaled(like: gate.matrix, groupSize: groupSize, on: self)
    try launchSwiGLUGradients(
      gate, up, gradient, as: output, recipe, isWhole: true,
      merged(ups.arguments("upGradient"), gates.arguments("gateGradient")))
    return SwiGLUGradients(
      gate: try quantized(
        gates, as: output, transposes: outputQuantizedTranspose, recipe: recipe, like: gate),
      up: try quantized(
        ups, as: output, transposes: outputQuantizedTranspose, recipe: recipe, like: gate))
  }

  private func launchSwiGLUGradients<Input: ActivationElement, Output: ActivationElement>(
    _ gate: Float8Tensor<Input>, _ up: Float8Tensor<Input>, _ gradient: BFloat16Tensor,
    as output: Output.Type, _ recipe: ActivationRecipe, isWhole: Bool,
    _ results: [String: KernelArgument]
  ) throws {
    let groupSize = try checkedGroupSize(gate, "gate", up, "up projection")
    try gradient.check("gradient", hasShapeOf: gate, "gate")
    let gateCodes = try DeviceCodes(gate.matrix, on: self)
    let upCodes = try DeviceCodes(up.matrix, on: self)
    let incoming = try DeviceMatrix(gradient.matrix, on: self)
    try launch(
      SwiGLUGradientsStage<Input, Output>(
        settings(of: gate.matrix, groupSize, recipe), isWhole: isWhole), like: gate.matrix,
      merged(
        gateCodes.arguments("gate"), upCodes.arguments("up"), incoming.argument("gradient"),
        results))
  }
}

// MARK: Addition

extension KernelExecutor {
  /// Adds two tensors for the layer that follows; see `ReferenceBackend.addForward`.
  package func addForward<Output: ActivationElement>(
    _ first: BFloat16Tensor, _ second: BFloat16Tensor, as output: Output.Type = Float8E4M3.self,
    groupSize: Int = 16, recipe: ActivationRecipe = .storedScale
  ) throws -> AddOutput<Output> {
    try check(groupSize: groupSize)
    try second.check("second summand", hasShapeOf: first, "first")
    let summand = try DeviceMatrix(first.matrix, on: self)
    return try addForward(
      AddForward<Float8E4M3, Output>(settings(of: first.matrix, groupSize, recipe)),
      summand.argument("first"), second)
  }

  /// Adds a tensor to a residual stream that is kept in FP8; see `ReferenceBackend.addForward`.
  package func addForward<Residual: ActivationElement, Output: ActivationElement>(
    residual: Float8Tensor<Residual>, _ second: BFloat16Tensor,
    as output: Output.Type = Float8E4M3.self, recipe: ActivationRecipe = .storedScale
  ) throws -> AddOutput<Output> {
    let groupSize = try residual.matrix.groupSize(of: "residual")
    try second.check("second summand", hasShapeOf: residual, "residual")
    let summand = try DeviceCodes(residual.matrix, on: self)
    return try addForward(
      AddForward<Residual, Output>(
        settings(of: residual.matrix, groupSize, recipe), residualIsFloat8: true),
      summand.arguments("first"), second)
  }

  private func addForward<Residual: ActivationElement, Output: ActivationElement>(
    _ kernel: AddForward<Residual, Output>, _ first: [String: KernelArgument],
    _ second: BFloat16Tensor
  ) throws -> AddOutput<Output> {
    let summand = try DeviceMatrix(second.matrix, on: self)
    let sum = try DeviceMatrix<BFloat16>(
      rows: second.matrix.rows, columns: second.matrix.columns, on: self)
    let result = try DeviceCodes<Output, BFloat16>(
      like: second.matrix, groupSize: kernel.groupSize, on: self)
    try launch(
      kernel, like: second.matrix,
      merged(
        first, summand.argument("second"), sum.argument("sum"), result.arguments("result")))
    return AddOutput(
      sum: Tensor(try sum.matrix(), like: second),
      quantized: Tensor(try result.matrix(), like: second))
  }

  /// Adds two gradients for the linear layer before; see `ReferenceBackend.addBackward`.
  package func addBackward<Output: ActivationElement>(
    _ first: BFloat16Tensor, _ second: BFloat16Tensor, as output: Output.Type = Float8E5M2.self,
    groupSize: Int = 16, outputQuantizedTranspose: Bool = false,
    recipe: ActivationRecipe = .storedScale
  ) throws -> AddGradient<Output> {
    try check(groupSize: groupSize)
    try second.check("second summand", hasShapeOf: first, "first")
    let firstSummand = try DeviceMatrix(first.matrix, on: self)
    let secondSummand = try DeviceMatrix(second.matrix, on: self)
    let result = try DeviceGroupScaled(like: first.matrix, groupSize: groupSize, on: self)
    try launch(
      AddBackward<Output>(settings(of: first.matrix, groupSize, recipe)), like: first.matrix,
      merged(
        firstSummand.argument("first"), secondSummand.argument("second"),
        result.arguments("result")))
    let sum = try result.activation(as: output, like: first)
    return AddGradient(
      sum: sum.values,
      quantized: try quantized(
        result, as: output, transposes: outputQuantizedTranspose, recipe: recipe, like: first),
      groupScales: sum.groupScales)
  }
}
