// SPDX-License-Identifier: Apache-2.0

import BlockScale
package import PTX

extension Dequantize {
  /// The launch that decodes a matrix.
  ///
  /// - Parameters:
  ///   - values: Receives `rows × columns` values.
  ///   - tensorScale: The stored second level, for kernels that have one.
  /// - Throws: ``KernelError`` if the shape or an address does not fit this configuration.
  package func launch(
    in library: KernelLibrary, matrix: BlockScaledAddresses, values: UInt64, shape: MatrixShape,
    tensorScale: Float? = nil
  ) throws(KernelError) -> KernelLaunch {
    if isAligned { try checkAlignment(name, shape, values: values, codes: matrix.codes) }
    let width = blocking.columns
    guard width == .max || width & (width - 1) == 0 else {
      throw KernelError("\(name): blocks have a power of two columns, or all.")
    }
    var arguments = shape.arguments
    arguments["values"] = .pointer(values)
    arguments["codes"] = .pointer(matrix.codes)
    arguments["scales"] = .pointer(matrix.scales)
    if let tensorScale { arguments["tensorScale"] = .float(tensorScale) }
    return KernelLaunch(
      try library.tree(of: self),
      grid: try GridShape(
        tileRows: shape.rows.dividedUp(by: Self.rowsPerBlock),
        tileColumns: shape.columns.dividedUp(by: Self.columnsPerWarp)),
      arguments: arguments)
  }
}
