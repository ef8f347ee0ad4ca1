// SPDX-License-Identifier: Apache-2.0

package import BlockScale
package import Minifloat
package import PTX

extension KernelExecutor {
  /// The product `left · rightᵀ` of E4M3 codes, rounded once to BF16.
  ///
  /// It differs from ``ReferenceBackend/multiply(_:_:bias:as:)`` in the order of its FP32 sums alone. Rows
  /// that are no multiple of 16 bytes travel padded, in both directions.
  ///
  /// - Parameters:
  ///   - left: M×K in blocks of 1x128.
  ///   - right: N×K in blocks of 128x128.
  ///   - configuration: By default the one that suits the shape.
  /// - Returns: M×N.
  /// - Throws: ``BlockScaleError`` if shapes or blocks do not fit, ``KernelError`` if the executor's target
  ///   lacks what the kernel asks for, and what the executor throws.
  package func multiply(
    _ left: Float8Matrix, _ right: Float8Matrix,
    configuration: BlockwiseGEMM.Configuration? = nil
  ) throws -> Matrix<BFloat16> {
    try Self.check(left, right)
    let (m, n, k) = (left.rows, right.rows, left.columns)
    let codeRowBytes = k.rounded(upTo: 16)
    let resultRowBytes = (2 * n).rounded(upTo: 16)
    let a = try DeviceBuffer(padded(left.codes, rowBytes: k, to: codeRowBytes), on: self)
    let b = try DeviceBuffer(padded(right.codes, rowBytes: k, to: codeRowBytes), on: self)
    let leftScales = left.depthMajorScales
    let aScales = try DeviceBuffer(leftScales.values, on: self)
    let bScales = try DeviceBuffer(right.scales, on: self)
    // The kernel writes N columns and leaves what pads a row alone.
    let y =
      resultRowBytes == 2 * n
      ? try DeviceBuffer(byteCount: m * resultRowBytes, on: self)
      : try DeviceBuffer([UInt8](repeating: 0, count: m * resultRowBytes), on: self)

    let kernel = BlockwiseGEMM(
      configuration ?? .chosen(rows: m, columns: n, multiprocessors: multiprocessors))
    try launch(
      try kernel.launch(
        BlockwiseGEMM.Product(
          rows: m, columns: n, depth: k, a: DeviceRows(address: a.address, rowBytes: codeRowBytes),
          aScales: DeviceRows(address: aScales.address, rowBytes: 4 * leftScales.rowLength),
          b: DeviceRows(address: b.address, rowBytes: codeRowBytes), bScales: bScales.address,
          y: DeviceRows(address: y.address, rowBytes: resultRowBytes)),
        target: target, multiprocessors: multiprocessors))

    let resultRow = resultRowBytes / 2
    let rows = try y.elements(BFloat16.self, count: m * resultRow)
    let values = (0..<m).flatMap { rows[$0 * resultRow..<$0 * resultRow + n] }
    return Matrix(unchecked: values, rows: m, columns: n)
  }

  private static func check(
    _ left: Float8Matrix, _ right: Float8Matrix
  ) throws(BlockScaleError) {
    guard left.columns == right.columns else {
      throw BlockScaleError(
        .wrongShape,
        "The left operand has \(left.columns) columns and the right one \(right.columns); "
          + "a product sums along both.")
    }
    for (name, matrix, blocking) in [
      ("left", left, Blocking(rows: 1, columns: 128)),
      ("right", right, Blocking(rows: 128, columns: 128)),
    ] {
      guard matrix.blocking == blocking else {
        throw BlockScaleError(
          .wrongShape,
          "The \(name) operand has blocks of \(matrix.blocking); this product takes \(blocking).")
      }
      guard matrix.tensorScale == nil else {
        throw BlockScaleError(
          .wrongShape, "The \(name) operand has a tensor scale, which this product does not take.")
      }
    }
  }
}

extension BlockScaledMatrix where Scale == Float {
  /// The scales of blocks of one row, a row of them for each block column, as a GEMM's tensor copies read
  /// them; rows are padded with zeros to multiples of 16 bytes.
  package var depthMajorScales: (values: [Float], rowLength: Int) {
    precondition(blocking.rows == 1, "blocks of one row have a scale for each row")
    let columnBlocks = scales.count / rows
    let rowLength = rows.rounded(upTo: 4)
    var result = [Float](repeating: 0, count: columnBlocks * rowLength)
    for row in 0..<rows {
      for block in 0..<columnBlocks {
        result[block * rowLength + row] = scales[row * columnBlocks + block]
      }
    }
    return (result, rowLength)
  }
}

/// Rows of bytes further apart, with zeros in the gaps.
private func padded(_ bytes: [UInt8], rowBytes: Int, to paddedRowBytes: Int) -> [UInt8] {
  if paddedRowBytes == rowBytes { return bytes }
  var result: [UInt8] = []
  result.reserveCapacity(bytes.count / rowBytes * paddedRowBytes)
  for start in stride(from: 0, to: bytes.count, by: rowBytes) {
    result += bytes[start..<start + rowBytes]
    result += repeatElement(0, count: paddedRowBytes - rowBytes)
  }
  return result
}
