// SPDX-License-Identifier: Apache-2.0

package import PTX

/// Where a quantized matrix and its transpose lie in the device's memory.
package struct BothWaysAddresses: Sendable, Hashable {
  package var matrix: BlockScaledAddresses
  package var transpose: BlockScaledAddresses

  package init(matrix: BlockScaledAddresses, transpose: BlockScaledAddresses) {
    self.matrix = matrix
    self.transpose = transpose
  }
}

extension SwiGLUForward {
  /// The launch that quantizes the product and its transpose.
  ///
  /// - Parameters:
  ///   - gate: The address of `rows × columns` BF16 values.
  ///   - up: The address of as many.
  /// - Throws: ``KernelError`` if the shape or an address does not fit this configuration.
  package func launch(
    in library: KernelLibrary, gate: UInt64, up: UInt64, into result: BothWaysAddresses,
    shape: MatrixShape
  ) throws(KernelError) -> KernelLaunch {
    try tiles.check(name, values: [gate, up], into: [result], shape: shape)
    var arguments = shape.arguments
    arguments["gate"] = .pointer(gate)
    arguments["up"] = .pointer(up)
    arguments["codes"] = .pointer(result.matrix.codes)
    arguments["scales"] = .pointer(result.matrix.scales)
    arguments["transposedCodes"] = .pointer(result.transpose.codes)
    arguments["transposedScales"] = .pointer(result.transpose.scales)
    return KernelLaunch(
      try library.tree(of: self), grid: try tiles.grid(shape), arguments: arguments)
  }
}

extension SwiGLUBackward {
  /// The launch that quantizes both gradients and their transposes.
  ///
  /// - Parameters:
  ///   - gradient: The address of `rows × columns` BF16 values.
  /// - Throws: ``KernelError`` if the shape or an address does not fit this configuration.
  package func launch(
    in library: KernelLibrary, gate: BlockScaledAddresses, up: BlockScaledAddresses,
    gradient: UInt64, intoGate gateGradient: BothWaysAddresses, up upGradient: BothWaysAddresses,
    shape: MatrixShape
  ) throws(KernelError) -> KernelLaunch {
    try tiles.check(
      name, values: [gate.codes, up.codes, gradient], into: [gateGradient, upGradient],
      shape: shape)
    var arguments = shape.arguments
    arguments["gradient"] = .pointer(gradient)
    for (name, matrix) in [
      ("gate", gate), ("up", up), ("gateGradient", gateGradient.matrix),
      ("gateGradientTransposed", gateGradient.transpose), ("upGradient", upGradient.matrix),
      ("upGradientTransposed", upGradient.transpose),
    ] {
      arguments["\(name)Codes"] = .pointer(matrix.codes)
      arguments["\(name)Scales"] = .pointer(matrix.scales)
    }
    return KernelLaunch(
      try library.tree(of: self), grid: try tiles.grid(shape), arguments: arguments)
  }
}

extension QuantizeTiles {
  /// Checks that a shape and addresses suit the configuration.
  func check(
    _ name: String, values: [UInt64], into results: [BothWaysAddresses], shape: MatrixShape
  ) throws(KernelError) {
    for result in results {
      for address in isAligned ? values : [] {
        try checkAlignment(name, shape, values: address, codes: result.matrix.codes)
      }
      try checkTransposeAlignment(name, shape, codes: result.transpose.codes)
    }
  }
}
