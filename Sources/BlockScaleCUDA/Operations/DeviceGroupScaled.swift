// SPDX-License-Identifier: Apache-2.0

package import BlockScale
package import Minifloat
package import PTX

/// A tensor on its way to one scale, between the two stages of COAT's flow.
package struct DeviceGroupScaled: ~Copyable {
  package let values: DeviceMatrix<BFloat16>
  package let groupScales: DeviceMatrix<BFloat16>
  /// The BF16 bits of the largest group scale, in a word.
  package let largest: DeviceBuffer

  package init(rows: Int, columns: Int, groupSize: Int, on executor: any KernelExecutor) throws {
    let values = try DeviceMatrix<BFloat16>(rows: rows, columns: columns, on: executor)
    let groupScales = try DeviceMatrix<BFloat16>(
      rows: rows, columns: columns.dividedUp(by: groupSize), on: executor)
    largest = try DeviceBuffer([UInt32(0)], on: executor)
    self.values = values
    self.groupScales = groupScales
  }

  /// Of the shape of a matrix.
  init(like matrix: some TensorContents, groupSize: Int, on executor: any KernelExecutor) throws {
    try self.init(
      rows: matrix.rows, columns: matrix.columns, groupSize: groupSize, on: executor)
  }

  /// The arguments of a first stage's parameters.
  func arguments(_ name: String) -> [String: KernelArgument] {
    [
      name: .pointer(values.values.address),
      "\(name)Scales": .pointer(groupScales.values.address),
      "\(name)Largest": .pointer(largest.address),
    ]
  }

  /// Copies values and scales back.
  func activation<Output: ActivationElement, Other>(
    as output: Output.Type = Output.self, like other: Tensor<Other>
  ) throws -> GroupScaledActivation<Output> {
    GroupScaledActivation(
      values: Tensor(try values.matrix(), like: other),
      groupScales: Tensor(try groupScales.matrix(), like: other))
  }
}

/// The arguments of several operands.
func merged(_ arguments: [String: KernelArgument]...) -> [String: KernelArgument] {
  arguments.reduce(into: [:]) { $0.merge($1) { $1 } }
}

extension KernelExecutor {
  /// Whether rows of so many columns take a kernel's way without tails.
  func isAligned(_ extents: Int...) -> Bool { extents.allSatisfy { $0 % RowRun.width == 0 } }

  /// The configuration of a kernel for a matrix.
  func settings(
    of matrix: some TensorContents, _ groupSize: Int, _ recipe: ActivationRecipe
  ) -> ActivationSettings {
    ActivationSettings(
      groupSize: groupSize, recipe: recipe, isAligned: isAligned(matrix.columns))
  }

  /// Launches a kernel on operands of the shape of a matrix.
  func launch(
    _ kernel: some ActivationKernel, like matrix: some TensorContents,
    _ arguments: [String: KernelArgument]
  ) throws {
    try launch(
      kernel.launch(rows: matrix.rows, columns: matrix.columns, arguments, for: target))
  }

  /// The second stage: codes of values under the largest of their group scales.
  package func launchTensorDivision<Output: ActivationElement>(
    _ input: borrowing DeviceGroupScaled, recipe: ActivationRecipe,
    into codes: borrowing DeviceCodes<Output, BFloat16>, transposed: UInt64?
  ) throws -> KernelLaunch {
    try TensorDivision<Output>(
      writesTranspose: transposed != nil, recipe: recipe,
      isAligned: isAligned(codes.rows, codes.columns)
    ).launch(
      values: input.values.values.address, largest: input.largest.address, into: codes,
      transposed: transposed, for: target)
  }

  /// The second stage: a tensor under one scale, and its transpose if asked for.
  func quantized<Output: ActivationElement, Other>(
    _ input: borrowing DeviceGroupScaled, as output: Output.Type, transposes: Bool,
    recipe: ActivationRecipe, _ rounding: ActivationRounding = .nearest, like other: Tensor<Other>
  ) throws -> PerTensorActivation<Output> {
    try divided(
      input.values.values.address, .bfloat16, largest: input.largest.address, as: output,
      transposes: transposes, recipe: recipe, rounding, like: other)
  }

  /// Values under one scale.
  ///
  /// - Parameters:
  ///   - largest: The address of the word that ``TensorDivision/Scaling`` speaks of.
  ///   - given: BF16 bits.
  func divided<Output: ActivationElement, Other>(
    _ values: UInt64, _ source: SourceFormat, scaling: TensorDivision<Output>.Scaling = .groups,
    largest: UInt64, given: BFloat16? = nil, as output: Output.Type, transposes: Bool,
    recipe: ActivationRecipe, _ rounding: ActivationRounding = .nearest, like other: Tensor<Other>
  ) throws -> PerTensorActivation<Output> {
    let (rows, columns) = (other.matrix.rows, other.matrix.columns)
    let codes = try DeviceCodes<Output, BFloat16>(
      rows: rows, columns: columns, blocking: .tensor, on: self)
    let transposed = try DeviceBuffer(byteCount: transposes ? rows * columns : 1, on: self)
    var seed: UInt64?
    if case .stochastic(let bits) = rounding { seed = bits }
    try launch(
      TensorDivision<Output>(
        source: source, scaling: scaling, writesTranspose: transposes, isStochastic: seed != nil,
        recipe: recipe, isAligned: isAligned(rows, columns)
      ).launch(
        values: values, largest: largest, given: given, seed: seed, into: codes,
        transposed: transposes ? transposed.address : nil, for: target))
    let matrix = try codes.matrix()
    return PerTensorActivation(
      tensor: Tensor(matrix, like: other),
      transposed: transposes
        ? try BlockScaledMatrix(
          rows: columns, columns: rows, blocking: .tensor,
          codes: transposed.elements(UInt8.self, count: rows * columns), scales: matrix.scales)
        : nil)
  }
}

extension TensorDivision {
  /// The launch that divides `codes.rows × codes.columns` values.
  ///
  /// - Parameters:
  ///   - largest: The address of the word that ``Scaling`` speaks of.
  ///   - given: The scale, for ``Scaling/given``.
  ///   - seed: For stochastic rounding.
  /// - Throws: ``KernelError`` if there are no values, or too many.
  package func launch(
    values: UInt64, largest: UInt64, given: BFloat16? = nil, seed: UInt64? = nil,
    into codes: borrowing DeviceCodes<Output, BFloat16>, transposed: UInt64?, for target: Target
  ) throws(KernelError) -> KernelLaunch {
    var arguments = try MatrixShape(rows: codes.rows, columns: codes.columns).arguments
    arguments["values"] = .pointer(values)
    arguments["codes"] = .pointer(codes.codes.address)
    arguments["scale"] = .pointer(codes.scales.address)
    arguments["largest"] = .pointer(largest)
    if let given { arguments["given"] = .uint32(UInt32(given.bitPattern)) }
    if let seed { arguments["mixedSeed"] = .uint64(PlaceGenerator.mixed(seed)) }
    if let transposed { arguments["transposed"] = .pointer(transposed) }
    return KernelLaunch(
      try tree(for: target), grid: CodeTile.grid(rows: codes.rows, columns: codes.columns),
      arguments: arguments)
  }
}
