// SPDX-License-Identifier: Apache-2.0

public import Minifloat

/// One operand of a product, whatever its format: rows that are summed along.
///
/// A product `Y = X·Wᵀ` takes X as M×K and W as N×K; both are read along K. For `dX = dY·W` the
/// operands are dY and the transpose of W, for `dW = dYᵀ·X` the transposes of both.
public struct Operand: Sendable {
  /// What the codes are.
  package enum Codes: Sendable {
    case bfloat16([BFloat16])
    case element(ElementFormat, [UInt8])
  }

  /// How the scales of blocks take part in a sum along a row.
  package enum Scaling: Sendable {
    /// There are none.
    case none
    /// Each value takes its scale before it is multiplied, which is exact in BF16. The bytes are
    /// E4M3 or E8M0 over the grid of `blocking`.
    case folded(codes: [UInt8], format: ScaleFormat, blocking: Blocking)
    /// Sums over `depth` columns take the scale of their block in FP32; scales are row-major over
    /// the grid of `blocking`.
    case parts(depth: Int, scales: [Float], blocking: Blocking)
    /// A whole row has one scale; they are row-major over groups of `rows`.
    case rows(scales: [Float], rows: Int)
  }

  /// The number of rows.
  public let rows: Int
  /// The number of columns, along which products are summed.
  public let columns: Int
  package let codes: Codes
  package let scaling: Scaling
  /// What every sum is multiplied by.
  package let factor: Float

  /// Values as they are.
  public init(_ matrix: Matrix<BFloat16>) {
    rows = matrix.rows
    columns = matrix.columns
    codes = .bfloat16(matrix.values)
    scaling = .none
    factor = 1
  }

  /// Codes in blocks.
  ///
  /// - Throws: ``BlockScaleError`` if the blocks cannot be summed along rows: scales of one byte need
  ///   16 or 32 columns (or one, for the transpose of such a matrix), others a multiple of 32 or the
  ///   whole row.
  public init<Element: BlockElement, Scale: BlockScaleValue>(
    _ matrix: BlockScaledMatrix<Element, Scale>
  ) throws(BlockScaleError) {
    rows = matrix.rows
    columns = matrix.columns
    codes = .element(Element.elementFormat, matrix.codes)
    factor = matrix.tensorScale?.multiplier ?? 1
    let blocking = matrix.blocking
    let format = Scale.scaleFormat
    let isSmall = blocking.columns == 1 || blocking.columns == 16 || blocking.columns == 32
    if format.byteCount == 1, isSmall, matrix.columns > 1 || blocking.columns > 1 {
      // Scales of one byte are plain bits; the buffer is alive during the call.
      let bytes = unsafe matrix.scales.withUnsafeBytes { unsafe [UInt8]($0) }
      scaling = .folded(codes: bytes, format: format, blocking: blocking)
    } else if blocking.columns >= matrix.columns {
      scaling = .rows(
        scales: matrix.scaleValues, rows: min(blocking.rows, matrix.rows))
    } else if blocking.columns % 32 == 0 {
      scaling = .parts(depth: blocking.columns, scales: matrix.scaleValues, blocking: blocking)
    } else {
      throw BlockScaleError(
        .wrongShape,
        "Blocks of \(blocking) with \(format.rawValue) scales cannot be summed along rows; "
          + "the columns of a block must be a multiple of 32 or the whole row.")
    }
  }

  /// The columns of the sums that are formed before scales are applied in FP32; nil if rows are
  /// summed as a whole.
  package var partDepth: Int? {
    if case .parts(let depth, _, _) = scaling { depth } else { nil }
  }

  /// The scale of one part of a row, where a product forms parts of `depth` columns.
  package func partScale(row: Int, part: Int, depth: Int) -> Float {
    guard case .parts(_, let scales, let blocking) = scaling else { return 1 }
    let grid = blocking.grid(rows: rows, columns: columns)
    return scales[row / min(blocking.rows, rows) * grid.columns + part * depth / blocking.columns]
  }

  /// The scale of one whole row.
  package func rowScale(_ row: Int) -> Float {
    guard case .rows(let scales, let groupRows) = scaling else { return 1 }
    return scales[row / groupRows]
  }
}

extension BlockScaledMatrix {
  /// The stored bits of the scales.
  package var scaleCodes: [UInt32] {
    // Scale types are plain bits of the format's width; the buffer is alive during the call.
    unsafe scales.withUnsafeBytes { bytes in
      let width = Scale.scaleFormat.byteCount
      return (0..<scales.count).map { index in
        switch width {
        case 4: unsafe bytes.loadUnaligned(fromByteOffset: index * 4, as: UInt32.self)
        case 2: unsafe UInt32(bytes.loadUnaligned(fromByteOffset: index * 2, as: UInt16.self))
        default: unsafe UInt32(bytes[index])
        }
      }
    }
  }

  /// The scales as numbers.
  package var scaleValues: [Float] {
    if Scale.self == Float.self {
      // The array is of this type already; a conditional cast would look at every element.
      return unsafe unsafeBitCast(scales, to: [Float].self)
    }
    return scaleCodes.map { Scale.scaleFormat.value(ofCode: $0) }
  }
}

extension Operand {
  /// Checks that the operand can stand on the left of a product.
  ///
  /// - Throws: ``BlockScaleError`` if a scale serves one column of several rows: such blocks are those
  ///   of a transpose, which is multiplied from the right.
  package func checkLeft() throws(BlockScaleError) {
    if case .folded(_, _, let blocking) = scaling, blocking.columns == 1 {
      throw BlockScaleError(
        .wrongShape, "Blocks of \(blocking) cannot be multiplied from the left.")
    }
  }
}

/// The depth of the partial sums of a product: that of the operand whose blocks are smaller.
///
/// - Throws: ``BlockScaleError`` if neither depth divides the other.
package func commonPartDepth(_ left: Int?, _ right: Int?) throws(BlockScaleError) -> Int? {
  switch (left, right) {
  case (nil, let depth), (let depth, nil): return depth
  case (let first?, let second?):
    guard max(first, second) % min(first, second) == 0 else {
      throw BlockScaleError(
        .wrongShape,
        "Blocks of \(first) and \(second) columns cannot be summed together; "
          + "one must divide the other.")
    }
    return min(first, second)
  }
}
