// SPDX-License-Identifier: Apache-2.0

package import BlockScale
import Minifloat
package import PTX

// The operations of `ReferenceBackend` of the same names, with the same bytes.

extension KernelExecutor {
  /// RMSNorm from FP8 to FP8 under one scale; see `ReferenceBackend.rmsNormForward`.
  package func rmsNormForward<Input: ActivationElement, Output: ActivationElement>(
    _ input: Float8Tensor<Input>, weight: [Float], epsilon: Float = 1e-6,
    as output: Output.Type = Float8E4M3.self, outputQuantizedTranspose: Bool = true,
    recipe: ActivationRecipe = .storedScale
  ) throws -> PerTensorActivation<Output> {
    try normForward(
      .rms, input, weight: weight, bias: nil, epsilon, as: output,
      transposes: outputQuantizedTranspose, recipe)
  }

  /// LayerNorm from FP8 to FP8 under one scale; see `ReferenceBackend.layerNormForward`.
  package func layerNormForward<Input: ActivationElement, Output: ActivationElement>(
    _ input: Float8Tensor<Input>, weight: [Float]? = nil, bias: [Float]? = nil,
    epsilon: Float = 1e-5, as output: Output.Type = Float8E4M3.self,
    outputQuantizedTranspose: Bool = true, recipe: ActivationRecipe = .storedScale
  ) throws -> PerTensorActivation<Output> {
    try normForward(
      .layer, input, weight: weight, bias: bias, epsilon, as: output,
      transposes: outputQuantizedTranspose, recipe)
  }

  private func normForward<Input: ActivationElement, Output: ActivationElement>(
    _ kind: NormKind, _ input: Float8Tensor<Input>, weight: [Float]?, bias: [Float]?,
    _ epsilon: Float, as output: Output.Type, transposes: Bool, _ recipe: ActivationRecipe
  ) throws -> PerTensorActivation<Output> {
    precondition(epsilon >= 0, "The epsilon of a normalization is not negative")
    let groupSize = try input.matrix.groupSize(of: "input")
    try input.check(parameter: weight, "weight")
    try input.check(parameter: bias, "bias")
    let (rows, columns) = (input.matrix.rows, input.matrix.columns)
    let source: SourceFormat = kind == .rms ? .bfloat16 : .float32
    let codes = try DeviceCodes(input.matrix, on: self)
    let weights = try DeviceBuffer(weight ?? [], on: self)
    let biases = try DeviceBuffer(bias ?? [], on: self)
    let values = try DeviceBuffer(byteCount: rows * columns * source.byteCount, on: self)
    let largest = try DeviceBuffer([UInt32(0)], on: self)
    var arguments = try MatrixShape(rows: rows, columns: columns).arguments
    arguments.merge(codes.arguments("input")) { $1 }
    if weight != nil { arguments["weight"] = .pointer(weights.address) }
    if bias != nil { arguments["bias"] = .pointer(biases.address) }
    arguments["values"] = .pointer(values.address)
    arguments["largest"] = .pointer(largest.address)
    arguments["epsilon"] = .float(epsilon)
    try launch(
      KernelLaunch(
        NormForward<Input, Output>(
          kind, hasWeight: weight != nil, hasBias: bias != nil, groupSize: groupSize,
          recipe: recipe, isAligned: columns % RowRun.width == 0
        ).tree(for: target), grid: NormRows<Input>.grid(rows: rows), arguments: arguments))
    return try divided(
      values.address, source, largest: largest.address, as: output, transposes: transposes,
      recipe: recipe, like: input)
  }

  // MARK: Gradients

  /// The gradients of RMSNorm; see `ReferenceBackend.rmsNormBackward`.
  package func rmsNormBackward<Input: ActivationElement>(
    _ input: Float8Tensor<Input>, weight: [Float], gradient: BFloat16Tensor, epsilon: Float = 1e-6
  ) throws -> NormGradients {
    try normBackward(.rms, input, weight: weight, gradient, epsilon)
  }

  /// The gradients of LayerNorm; see `ReferenceBackend.layerNormBackward`.
  package func layerNormBackward<Input: ActivationElement>(
    _ input: Float8Tensor<Input>, weight: [Float]? = nil, gradient: BFloat16Tensor,
    epsilon: Float = 1e-5
  ) throws -> NormGradients {
    try normBackward(.layer, input, weight: weight, gradient, epsilon)
  }

  private func normBackward<Input: ActivationElement>(
    _ kind: NormKind, _ input: Float8Tensor<Input>, weight: [Float]?, _ gradient: BFloat16Tensor,
    _ epsilon: Float
  ) throws -> NormGradients {
    precondition(epsilon >= 0, "The epsilon of a normalization is not negative")
    let groupSize = try input.matrix.groupSize(of: "input")
    try input.check(parameter: weight, "weight")
    try gradient.check("gradient", hasShapeOf: input, "input")
    let (rows, columns) = (input.matrix.rows, input.matrix.columns)
    let codes = try DeviceCodes(input.matrix, on: self)
    let weights = try DeviceBuffer(weight ?? [], on: self)
    let incoming = try DeviceMatrix(gradient.matrix, on: self)
    let result = try DeviceMatrix<BFloat16>(rows: rows, columns: columns, on: self)
    let statistics = try DeviceBuffer(byteCount: rows * 8, on: self)
    let operands = merged(
      try MatrixShape(rows: rows, columns: columns).arguments, codes.arguments("input"),
      incoming.argument("gradient"), ["statistics": .pointer(statistics.address)])
    var arguments = merged(
      operands, result.argument("result"), ["epsilon": KernelArgument.float(epsilon)])
    if weight != nil { arguments["weight"] = .pointer(weights.address) }
    let isAligned = columns % RowRun.width == 0
    try launch(
      KernelLaunch(
        NormBackward<Input>(
          kind, hasWeight: weight != nil, groupSize: groupSize, isAligned: isAligned
        ).tree(for: target), grid: NormRows<Input>.grid(rows: rows), arguments: arguments))
    let inputGradient = Tensor(try result.matrix(), like: input)
    guard weight != nil else {
      return NormGradients(input: inputGradient, weight: nil, bias: nil)
    }
    let panels = rows.dividedUp(by: columnSumPanelRows)
    let weightPanels = try DeviceBuffer(byteCount: panels * columns * 4, on: self)
    let biasPanels = try DeviceBuffer(byteCount: panels * columns * 4, on: self)
    var sums = merged(operands, ["weightPanels": KernelArgument.pointer(weightPanels.address)])
    if kind == .layer { sums["biasPanels"] = .pointer(biasPanels.address) }
    let kernel = NormColumnSums<Input>(kind, groupSize: groupSize, isAligned: isAligned)
    try launch(
      KernelLaunch(
        kernel.tree(for: target),
        grid: NormColumnSums<Input>.grid(rows: rows, columns: columns), arguments: sums))
    return NormGradients(
      input: inputGradient, weight: try totals(of: weightPanels, panels: panels, columns: columns),
      bias: kind == .layer ? try totals(of: biasPanels, panels: panels, columns: columns) : nil)
  }

  /// The sums of panels.
  private func totals(
    of buffer: borrowing DeviceBuffer, panels: Int, columns: Int
  ) throws -> [Float] {
    let sums = try DeviceBuffer(byteCount: columns * 4, on: self)
    let threads = PanelTotals.threads
    try launch(
      KernelLaunch(
        PanelTotals().tree(for: target), grid: GridShape(columns.dividedUp(by: threads)),
        arguments: [
          "rows": .uint32(UInt32(panels)), "columns": .uint32(UInt32(columns)),
          "panels": .pointer(buffer.address), "sums": .pointer(sums.address),
        ]))
    return try sums.elements(Float.self, count: columns)
  }
}
