// SPDX-License-Identifier: Apache-2.0

import BlockScale
package import PTX

/// Where NVFP4's second level lies in the device's memory.
package struct TensorLevelAddresses: Sendable, Hashable {
  /// The largest finite magnitude, FP32.
  package var maximum: UInt64
  /// Receives the tensor scale, FP32.
  package var scale: UInt64

  package init(maximum: UInt64, scale: UInt64) {
    self.maximum = maximum
    self.scale = scale
  }

  var arguments: [String: KernelArgument] {
    ["tensorMaximum": .pointer(maximum), "tensorScale": .pointer(scale)]
  }
}

extension QuantizeRows {
  /// The launch that quantizes a matrix.
  ///
  /// - Parameters:
  ///   - values: The address of `rows × columns` values of the rule's source format.
  ///   - codes: Receives the codes, row by row.
  ///   - scales: Receives the scales in the kernel's layout.
  ///   - tensor: For rules with a tensor scale.
  ///   - seed: For stochastic rounding; every step has another.
  /// - Throws: ``KernelError`` if the shape or an address does not fit this configuration.
  package func launch(
    in library: KernelLibrary, values: UInt64, codes: UInt64, scales: UInt64, shape: MatrixShape,
    tensor: TensorLevelAddresses? = nil, seed: UInt64? = nil
  ) throws(KernelError) -> KernelLaunch {
    if isAligned { try checkAlignment(name, shape, values: values, codes: codes) }
    guard !isRotated || shape.columns % RandomHadamard.groupSize == 0 else {
      throw KernelError(
        "\(name) rotates groups of 16 columns, and \(shape.columns) do not divide into them.")
    }
    guard scaleLayout != .swizzled || rule.scale.byteCount == 1 else {
      throw KernelError("\(name): only scales of one byte are swizzled.")
    }
    var arguments = shape.arguments
    arguments["values"] = .pointer(values)
    arguments["codes"] = .pointer(codes)
    arguments["scales"] = .pointer(scales)
    if let tensor { arguments.merge(tensor.arguments) { $1 } }
    if let seed { arguments["mixedSeed"] = .uint64(PlaceGenerator.mixed(seed)) }
    // Padding of the scales' layout is written too.
    let grid = scaleLayout.padded(
      rows: shape.rows.dividedUp(by: blockRows),
      columns: shape.columns.dividedUp(by: blockColumns))
    return KernelLaunch(
      try library.tree(of: self),
      grid: try GridShape(
        tileRows: (grid.rows * blockRows).dividedUp(by: rowsPerBlock),
        tileColumns: (grid.columns * blockColumns).dividedUp(by: Self.columnsPerWarp)),
      arguments: arguments)
  }
}

/// Checks what kernels that read 16 bytes at a time ask for.
func checkAlignment(
  _ name: String, _ shape: MatrixShape, values: UInt64, codes: UInt64
) throws(KernelError) {
  guard shape.isAligned, values % 16 == 0, codes % 16 == 0 else {
    throw KernelError(
      "\(name) reads 16 bytes at a time: columns come in multiples of eight and matrices begin at "
        + "multiples of 16 bytes, not \(shape.columns) columns at \(values) and \(codes).")
  }
}
