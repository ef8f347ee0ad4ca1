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

  /// Scales of a grid of blocks in another layout, as bytes.
  ///
  /// - Throws: ``KernelError`` if the grid is empty or too large, and what the executor throws.
  package func convertedScales(
    _ bytes: [UInt8], rows: Int, columns: Int, byteCount: Int, from source: ScaleLayout,
    to target: ScaleLayout
  ) throws -> [UInt8] {
    let from = try DeviceBuffer(bytes, on: self)
    let to = try DeviceBuffer(
      byteCount: target.count(rows: rows, columns: columns) * byteCount, on: self)
    try launch(
      ScaleConversion(from: source, to: target, byteCount: byteCount).launch(
        in: KernelLibrary(for: self.target), from: from.address, to: to.address,
        grid: try MatrixShape(rows: rows, columns: columns)))
    return try to.bytes()
  }
}
