// SPDX-License-Identifier: Apache-2.0

package import BlockScale
package import Minifloat
package import PTX

// The operations of `ReferenceBackend` of the same names, with the same bytes.

extension KernelExecutor {
  /// Quantizes a tensor in 1×QB groups with BF16 scales; see `ReferenceBackend.quantizeGroups`.
  package func quantizeGroups<Source: SourceValue, Output: ActivationElement>(
    _ input: Tensor<Matrix<Source>>, as output: Output.Type = Float8E4M3.self, groupSize: Int = 16,
    recipe: ActivationRecipe = .storedScale
  ) throws -> Float8Tensor<Output> {
    try check(groupSize: groupSize)
    let values = try DeviceMatrix(input.matrix, on: self)
    let result = try DeviceCodes<Output, BFloat16>(
      like: input.matrix, groupSize: groupSize, on: self)
    try launch(
      QuantizeGroups<Output>(
        settings(of: input.matrix, groupSize, recipe), source: Source.sourceFormat),
      like: input.matrix, merged(values.argument("values"), result.arguments("result")))
    return Tensor(try result.matrix(), like: input)
  }

  /// The values of codes, rounded to BF16; see `ReferenceBackend.dequantize`.
  package func dequantize<Input: ActivationElement>(
    _ input: Float8Tensor<Input>
  ) throws -> BFloat16Tensor {
    let values = try dequantized(input.matrix, as: BFloat16.self)
    return Tensor(
      Matrix(
        // The conversion of GPUs gives another NaN than ours.
        unchecked: values.map { $0.isNaN ? .nan : $0 }, rows: input.matrix.rows,
        columns: input.matrix.columns), like: input)
  }

  /// The transpose of codes, with their scales; see `ReferenceBackend.transpose`.
  package func transpose<Input: ActivationElement>(
    _ input: Float8Tensor<Input>
  ) throws -> BlockScaledMatrix<Input, BFloat16> {
    let matrix = input.matrix
    let codes = try DeviceBuffer(matrix.codes, on: self)
    let turned = try DeviceBuffer(byteCount: matrix.codes.count, on: self)
    var arguments = try MatrixShape(rows: matrix.rows, columns: matrix.columns).arguments
    arguments["codes"] = .pointer(codes.address)
    arguments["transposed"] = .pointer(turned.address)
    try launch(
      KernelLaunch(
        TransposeCodes(isAligned: isAligned(matrix.rows, matrix.columns)).tree(for: target),
        grid: CodeTile.grid(rows: matrix.rows, columns: matrix.columns), arguments: arguments))
    let grid = matrix.blocking.grid(rows: matrix.rows, columns: matrix.columns)
    return try BlockScaledMatrix(
      rows: matrix.columns, columns: matrix.rows,
      blocking: Blocking(rows: matrix.blocking.columns, columns: matrix.blocking.rows),
      codes: turned.bytes(),
      scales: transposed(matrix.scales, rows: grid.rows, columns: grid.columns))
  }

  /// Quantizes a tensor under one scale, the largest of those of its 1×QB groups; see
  /// `ReferenceBackend.quantizePerTensor`.
  package func quantizePerTensor<Source: SourceValue, Output: ActivationElement>(
    _ input: Tensor<Matrix<Source>>, as output: Output.Type = Float8E4M3.self, groupSize: Int = 16,
    outputQuantizedTranspose: Bool = false, recipe: ActivationRecipe = .storedScale,
    rounding: ActivationRounding = .nearest
  ) throws -> PerTensorQuantization<Output> {
    try check(groupSize: groupSize)
    let (rows, columns) = (input.matrix.rows, input.matrix.columns)
    let values = try DeviceMatrix(input.matrix, on: self)
    let scales = try DeviceMatrix<BFloat16>(
      rows: rows, columns: columns.dividedUp(by: groupSize), on: self)
    let largest = try DeviceBuffer([UInt32(0)], on: self)
    try launch(
      QuantizeGroups<Output>(
        settings(of: input.matrix, groupSize, recipe), source: Source.sourceFormat,
        scalesAlone: true), like: input.matrix,
      merged(
        values.argument("values"), scales.argument("resultScales"),
        ["resultLargest": .pointer(largest.address)]))
    return PerTensorQuantization(
      quantized: try divided(
        values.values.address, Source.sourceFormat, largest: largest.address, as: output,
        transposes: outputQuantizedTranspose, recipe: recipe, rounding, like: input),
      groupScales: Tensor(try scales.matrix(), like: input))
  }

  /// Divides a tensor by one scale and rounds it to FP8; see `ReferenceBackend.division`.
  package func division<Source: SourceValue, Output: ActivationElement>(
    _ input: Tensor<Matrix<Source>>, by scale: BFloat16? = nil,
    as output: Output.Type = Float8E4M3.self, recipe: ActivationRecipe = .storedScale,
    rounding: ActivationRounding = .nearest
  ) throws -> Float8Tensor<Output> {
    try division(
      input, by: scale, as: output, transposes: false, recipe: recipe, rounding: rounding
    ).tensor
  }

  /// Divides a tensor by one scale and rounds it to FP8, with the transpose of the codes; see
  /// `ReferenceBackend.divisionTranspose`.
  package func divisionTranspose<Source: SourceValue, Output: ActivationElement>(
    _ input: Tensor<Matrix<Source>>, by scale: BFloat16? = nil,
    as output: Output.Type = Float8E4M3.self, recipe: ActivationRecipe = .storedScale,
    rounding: ActivationRounding = .nearest
  ) throws -> PerTensorActivation<Output> {
    try division(
      input, by: scale, as: output, transposes: true, recipe: recipe, rounding: rounding)
  }

  private func division<Source: SourceValue, Output: ActivationElement>(
    _ input: Tensor<Matrix<Source>>, by scale: BFloat16?, as output: Output.Type, transposes: Bool,
    recipe: ActivationRecipe, rounding: ActivationRounding
  ) throws -> PerTensorActivation<Output> {
    try check(givenScale: scale)
    let values = try DeviceMatrix(input.matrix, on: self)
    let largest = try DeviceBuffer([UInt32(0)], on: self)
    if scale == nil || recipe == .storedScale {
      let shape = try MatrixShape(rows: input.matrix.rows, columns: input.matrix.columns)
      let maximum = ScaleMaximum(
        Source.sourceFormat, kind: recipe == .coat ? .numbers : .all,
        isAligned: shape.rows * shape.columns % SourceRun.count == 0)
      try launch(
        maximum.launch(
          in: KernelLibrary(for: target), values: values.values.address, maximum: largest.address,
          shape: shape, multiprocessors: multiprocessors))
    }
    return try divided(
      values.values.address, Source.sourceFormat, scaling: scale == nil ? .computed : .given,
      largest: largest.address, given: scale, as: output, transposes: transposes, recipe: recipe,
      rounding, like: input)
  }
}
