// SPDX-License-Identifier: Apache-2.0

import BlockScale
package import PTX

extension QuantizeColumns {
  /// The launch that quantizes a matrix.
  ///
  /// - Parameters:
  ///   - values: The address of `rows × columns` values of the rule's source format.
  ///   - tensor: For rules with a tensor scale.
  /// - Throws: ``KernelError`` if the shape or an address does not fit this configuration.
  package func launch(
    in library: KernelLibrary, values: UInt64, matrix: BlockScaledAddresses, shape: MatrixShape,
    tensor: TensorLevelAddresses? = nil
  ) throws(KernelError) -> KernelLaunch {
    if isAligned { try checkAlignment(name, shape, values: values, codes: matrix.codes) }
    var arguments = shape.arguments
    arguments["values"] = .pointer(values)
    arguments["codes"] = .pointer(matrix.codes)
    arguments["scales"] = .pointer(matrix.scales)
    if let tensor { arguments.merge(tensor.arguments) { $1 } }
    let grid = scaleLayout.padded(
      rows: shape.rows.dividedUp(by: Self.extent), columns: shape.columns)
    return KernelLaunch(
      try library.tree(of: self),
      grid: try GridShape(
        tileRows: grid.rows, tileColumns: grid.columns.dividedUp(by: Self.extent)),
      arguments: arguments)
  }
}

extension ScaleMaximum {
  /// The launch that raises `maximum`, which holds zero, to the largest magnitude.
  ///
  /// - Throws: ``KernelError`` if the shape or the address does not fit this configuration.
  package func launch(
    in library: KernelLibrary, values: UInt64, maximum: UInt64, shape: MatrixShape,
    multiprocessors: Int
  ) throws(KernelError) -> KernelLaunch {
    try checkRuns(name, shape, isAligned: isAligned, addresses: [values])
    var arguments = shape.arguments
    arguments["values"] = .pointer(values)
    arguments["maximum"] = .pointer(maximum)
    let perBlock = Self.threads * SourceRun.count * Self.runsPerThread
    let blocks = (shape.rows * shape.columns).dividedUp(by: perBlock)
    return KernelLaunch(
      try library.tree(of: self), grid: GridShape(min(blocks, 8 * multiprocessors)),
      arguments: arguments)
  }
}

extension QuantizeTensor {
  /// The launch that quantizes a tensor whose largest magnitude is known.
  ///
  /// - Parameters:
  ///   - maximum: The address of what `ScaleMaximum` of `maximumKind` found.
  ///   - matrix: Receives the codes and the one scale.
  ///   - seed: For stochastic rounding; every step has another.
  /// - Throws: ``KernelError`` if the shape or an address does not fit this configuration.
  package func launch(
    in library: KernelLibrary, values: UInt64, maximum: UInt64, matrix: BlockScaledAddresses,
    shape: MatrixShape, seed: UInt64? = nil
  ) throws(KernelError) -> KernelLaunch {
    try checkRuns(name, shape, isAligned: isAligned, addresses: [values, matrix.codes])
    var arguments = shape.arguments
    arguments["values"] = .pointer(values)
    arguments["maximum"] = .pointer(maximum)
    arguments["codes"] = .pointer(matrix.codes)
    arguments["scales"] = .pointer(matrix.scales)
    if let seed { arguments["mixedSeed"] = .uint64(PlaceGenerator.mixed(seed)) }
    let perBlock = Self.threads * SourceRun.count * Self.runsPerThread
    return KernelLaunch(
      try library.tree(of: self),
      grid: GridShape((shape.rows * shape.columns).dividedUp(by: perBlock)),
      arguments: arguments)
  }
}

/// Checks what kernels that take a tensor as one row ask for.
private func checkRuns(
  _ name: String, _ shape: MatrixShape, isAligned: Bool, addresses: [UInt64]
) throws(KernelError) {
  let count = shape.rows * shape.columns
  guard !isAligned || count % SourceRun.count == 0 && addresses.allSatisfy({ $0 % 16 == 0 }) else {
    throw KernelError(
      "\(name) reads 16 bytes at a time: values come in multiples of eight and begin at a multiple of "
        + "16 bytes, not \(count) of them.")
  }
}
