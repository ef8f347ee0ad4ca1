// SPDX-License-Identifier: Apache-2.0

import BlockScale
package import PTX

/// Where the codes and scales of a matrix lie in the device's memory.
package struct BlockScaledAddresses: Sendable, Hashable {
  package var codes: UInt64
  package var scales: UInt64

  package init(codes: UInt64, scales: UInt64) {
    self.codes = codes
    self.scales = scales
  }
}

extension QuantizeTiles {
  /// The launch that quantizes a matrix and its transpose.
  ///
  /// - Parameters:
  ///   - values: The address of `rows × columns` values of the rule's source format.
  ///   - matrix: Receives the matrix; needed unless `output` is the transpose alone.
  ///   - transpose: Receives the transpose; needed unless `output` is the matrix alone.
  ///   - tensor: For rules with a tensor scale.
  ///   - seed: For stochastic rounding; every step has another.
  /// - Throws: ``KernelError`` if the shape or an address does not fit this configuration.
  package func launch(
    in library: KernelLibrary, values: UInt64, matrix: BlockScaledAddresses?,
    transpose: BlockScaledAddresses?, shape: MatrixShape, tensor: TensorLevelAddresses? = nil,
    seed: UInt64? = nil
  ) throws(KernelError) -> KernelLaunch {
    if isAligned { try checkAlignment(name, shape, values: values, codes: matrix?.codes ?? 0) }
    if output != .matrix { try checkTransposeAlignment(name, shape, codes: transpose?.codes ?? 0) }
    guard !isRotated || shape.columns % 16 == 0 && shape.rows % 16 == 0 else {
      throw KernelError(
        "\(name) rotates groups of 16 values, and a matrix of \(shape.rows)x\(shape.columns) does "
          + "not divide into them.")
    }
    var arguments = shape.arguments
    arguments["values"] = .pointer(values)
    if let matrix {
      arguments["codes"] = .pointer(matrix.codes)
      arguments["scales"] = .pointer(matrix.scales)
    }
    if let transpose {
      arguments["transposedCodes"] = .pointer(transpose.codes)
      arguments["transposedScales"] = .pointer(transpose.scales)
    }
    if let tensor { arguments.merge(tensor.arguments) { $1 } }
    if let seed { arguments["mixedSeed"] = .uint64(PlaceGenerator.mixed(seed)) }
    return KernelLaunch(try library.tree(of: self), grid: try grid(shape), arguments: arguments)
  }

  /// Checks that the transpose can be written 16 bytes at a time, if this configuration does.
  func checkTransposeAlignment(
    _ name: String, _ shape: MatrixShape, codes: UInt64
  ) throws(KernelError) {
    guard !isTransposeAligned || shape.rows % 16 == 0 && codes % 16 == 0 else {
      throw KernelError(
        "\(name) writes 16 bytes at a time: rows come in multiples of 16 and the transpose begins "
          + "at a multiple of 16 bytes, not \(shape.rows) rows.")
    }
  }

  /// A block for each tile.
  func grid(_ shape: MatrixShape) throws(KernelError) -> GridShape {
    let (rows, columns) = extents(shape)
    return try GridShape(
      tileRows: (rows + Self.extent - 1) / Self.extent,
      tileColumns: (columns + Self.extent - 1) / Self.extent)
  }

  /// The rows and columns that tiles cover: those of the matrix, and what the layouts of scales pad.
  private func extents(_ shape: MatrixShape) -> (rows: Int, columns: Int) {
    let across = isSquare ? blockLength : 1
    func blocks(_ extent: Int, _ block: Int) -> Int { (extent + block - 1) / block }
    var (rows, columns) = (shape.rows, shape.columns)
    if output != .transpose {
      let grid = scaleLayout.padded(
        rows: blocks(shape.rows, across), columns: blocks(shape.columns, blockLength))
      (rows, columns) = (max(rows, grid.rows * across), max(columns, grid.columns * blockLength))
    }
    if output != .matrix {
      let grid = scaleLayout.padded(
        rows: blocks(shape.columns, across), columns: blocks(shape.rows, blockLength))
      (rows, columns) = (max(rows, grid.columns * blockLength), max(columns, grid.rows * across))
    }
    return (rows, columns)
  }
}
