// SPDX-License-Identifier: Apache-2.0

package import BlockScale
package import PTX

extension KernelExecutor {
  /// The values of a matrix, row by row: code times scale times tensor scale in FP32 from the left,
  /// rounded once.
  ///
  /// - Throws: ``KernelError`` if the target lacks what the kernel asks for or the blocks do not suit
  ///   it, and what the executor throws.
  package func dequantized<Element, Scale, Value: SourceValue>(
    _ matrix: BlockScaledMatrix<Element, Scale>, as type: Value.Type = Value.self
  ) throws -> [Value] {
    let shape = try MatrixShape(rows: matrix.rows, columns: matrix.columns)
    let codes = try DeviceBuffer(matrix.codes, on: self)
    let scales = try DeviceBuffer(matrix.scales, on: self)
    let values = try DeviceBuffer(
      byteCount: matrix.rows * matrix.columns * Value.sourceFormat.byteCount, on: self)
    let kernel = Dequantize(
      Element.elementFormat, scale: Scale.scaleFormat, to: Value.sourceFormat,
      blocking: matrix.blocking,
      secondLevel: matrix.tensorScale.map { $0.isDivisor ? .divisor : .multiplier } ?? .none,
      isAligned: shape.isAligned)
    try launch(
      kernel.launch(
        in: KernelLibrary(for: target),
        matrix: BlockScaledAddresses(codes: codes.address, scales: scales.address),
        values: values.address, shape: shape, tensorScale: matrix.tensorScale?.value))
    return try values.elements(Value.self, count: matrix.rows * matrix.columns)
  }

  /// Scales of a grid of blocks from row-major order into another layout, or back, as bytes.
  ///
  /// - Parameter byteCount: The bytes of a scale: 1, 2 or 4.
  /// - Throws: ``KernelError`` if the grid is empty or too large or no kernel converts these layouts, and
  ///   what the executor throws.
  package func convertedScales(
    _ bytes: [UInt8], rows: Int, columns: Int, byteCount: Int, from source: ScaleLayout,
    to target: ScaleLayout
  ) throws -> [UInt8] {
    let shape = try MatrixShape(rows: rows, columns: columns)
    let library = KernelLibrary(for: self.target)
    let from = try DeviceBuffer(bytes, on: self)
    let to = try DeviceBuffer(
      byteCount: target.count(rows: rows, columns: columns) * byteCount, on: self)
    func turned<Scale: MemoryElement>(
      _ direction: ScaleTranspose<Scale>.Direction, _ scale: Scale.Type
    ) throws {
      try launch(
        ScaleTranspose<Scale>(direction).launch(
          in: library, from: from.address, to: to.address, grid: shape))
    }
    func swizzled(_ direction: ScaleSwizzle.Direction) throws {
      try launch(
        ScaleSwizzle(direction, isAligned: columns % 4 == 0).launch(
          in: library, from: from.address, to: to.address, grid: shape))
    }
    switch (source, target, byteCount) {
    case (.linear, .swizzled, 1): try swizzled(.intoTiles)
    case (.swizzled, .linear, 1): try swizzled(.outOfTiles)
    case (.linear, .blockMajor, 1): try turned(.intoBlockMajor, UInt8.self)
    case (.linear, .blockMajor, 2): try turned(.intoBlockMajor, UInt16.self)
    case (.linear, .blockMajor, 4): try turned(.intoBlockMajor, UInt32.self)
    case (.blockMajor, .linear, 1): try turned(.outOfBlockMajor, UInt8.self)
    case (.blockMajor, .linear, 2): try turned(.outOfBlockMajor, UInt16.self)
    case (.blockMajor, .linear, 4): try turned(.outOfBlockMajor, UInt32.self)
    default:
      throw KernelError(
        "No kernel brings scales of \(byteCount) bytes from \(source.rawValue) into "
          + "\(target.rawValue) order.")
    }
    return try to.bytes()
  }
}
