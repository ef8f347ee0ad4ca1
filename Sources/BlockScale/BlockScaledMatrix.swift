// SPDX-License-Identifier: Apache-2.0

public import Minifloat

/// A matrix of codes in blocks that each share a scale.
///
/// The value at a row and column is `code × scale`, or `code × scale × tensorScale` where there is a
/// tensor scale, evaluated in FP32 from left to right. Rows and columns may have any extent;
/// blocks at the right and lower edges may be partial.
///
///     let (weights, error) = try NVFP4Matrix.quantized(
///       values, rows: 4096, columns: 14336, recipe: .modelopt)
///     print(error.sqnr)
///
/// - `Element`: The format of the codes.
/// - `Scale`: The format of the block scales.
public struct BlockScaledMatrix<Element: BlockElement, Scale: BlockScaleValue>: Sendable, Hashable {
  /// The number of rows.
  public let rows: Int
  /// The number of columns.
  public let columns: Int
  /// The shape of the blocks.
  public let blocking: Blocking
  /// The codes, row by row.
  ///
  /// Two 4-bit codes share a byte, the one of the even column in its low half; every row begins on
  /// a new byte.
  public package(set) var codes: [UInt8]
  /// The scales, row-major over the grid of blocks.
  public package(set) var scales: [Scale]
  /// The scale of the whole tensor, if the scheme has one.
  public package(set) var tensorScale: TensorScale?

  /// Creates a matrix from stored codes and scales.
  ///
  /// - Throws: ``BlockScaleError`` if a count does not fit the shape.
  public init(
    rows: Int, columns: Int, blocking: Blocking, codes: [UInt8], scales: [Scale],
    tensorScale: TensorScale? = nil
  ) throws(BlockScaleError) {
    guard rows > 0, columns > 0 else {
      throw BlockScaleError(.emptyMatrix, "A matrix of \(rows)x\(columns) holds nothing.")
    }
    let codeBytes = rows * Element.elementFormat.byteCount(columns)
    guard codes.count == codeBytes else {
      throw BlockScaleError(
        .wrongCount,
        "The codes of a \(rows)x\(columns) matrix take \(codeBytes) bytes, not \(codes.count).")
    }
    let grid = blocking.grid(rows: rows, columns: columns)
    guard scales.count == grid.rows * grid.columns else {
      throw BlockScaleError(
        .wrongCount,
        "A \(rows)x\(columns) matrix in blocks of \(blocking) has \(grid.rows * grid.columns) "
          + "scales, not \(scales.count).")
    }
    self.rows = rows
    self.columns = columns
    self.blocking = blocking
    self.codes = codes
    self.scales = scales
    self.tensorScale = tensorScale
  }

  /// The code at a row and column.
  ///
  /// - Precondition: The place lies inside the matrix.
  /// - Complexity: O(1).
  public subscript(row: Int, column: Int) -> Element {
    precondition(
      (0..<rows).contains(row) && (0..<columns).contains(column),
      "Row \(row), column \(column) lies outside a \(rows)x\(columns) matrix")
    let rowStart = row * Element.elementFormat.byteCount(columns)
    if Element.elementFormat.bitWidth == 8 {
      return Element(bitPattern: codes[rowStart + column])
    }
    let byte = codes[rowStart + column / 2]
    return Element(bitPattern: column & 1 == 0 ? byte & 0x0F : byte >> 4)
  }
}

/// NVFP4: E2M1 codes, an E4M3 scale for every 16, and usually a tensor scale.
public typealias NVFP4Matrix = BlockScaledMatrix<Float4E2M1, Float8E4M3>
/// MXFP4: E2M1 codes, a power of two for every 32.
public typealias MXFP4Matrix = BlockScaledMatrix<Float4E2M1, Float8E8M0>
/// MXFP8: E4M3 codes, a power of two for every 32.
public typealias MXFP8Matrix = BlockScaledMatrix<Float8E4M3, Float8E8M0>
/// FP8: E4M3 codes with FP32 scales.
public typealias Float8Matrix = BlockScaledMatrix<Float8E4M3, Float>
