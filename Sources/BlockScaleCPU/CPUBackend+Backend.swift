// SPDX-License-Identifier: Apache-2.0

public import BlockScale
public import Minifloat
import _BlockScaleShims

extension CPUBackend: Backend {
  /// Quantizes a matrix.
  public func quantized<Element, Scale, Source: SourceValue>(
    _ matrix: Matrix<Source>,
    as type: BlockScaledMatrix<Element, Scale>.Type = BlockScaledMatrix<Element, Scale>.self,
    recipe: Recipe, blocking: Blocking? = nil
  ) throws(BlockScaleError) -> BlockScaledMatrix<Element, Scale> {
    let blocking = try type.checkedBlocking(
      count: matrix.values.count, rows: matrix.rows, columns: matrix.columns, blocking: blocking)
    var result = type.blank(rows: matrix.rows, columns: matrix.columns, blocking: blocking)
    try quantize(matrix.values, into: &result, recipe: recipe)
    return result
  }

  /// Quantizes a matrix and its transpose, each in its own blocks, from one read of the values.
  public func quantizedBothWays<Element, Scale, Source: SourceValue>(
    _ matrix: Matrix<Source>,
    as type: BlockScaledMatrix<Element, Scale>.Type = BlockScaledMatrix<Element, Scale>.self,
    recipe: Recipe, blocking: Blocking? = nil
  ) throws(BlockScaleError) -> (
    matrix: BlockScaledMatrix<Element, Scale>, transposed: BlockScaledMatrix<Element, Scale>
  ) {
    try quantizedBothWays(
      matrix.values, rows: matrix.rows, columns: matrix.columns, as: type, recipe: recipe,
      blocking: blocking)
  }

  /// The transpose of a matrix.
  ///
  /// - Complexity: O(rows × columns).
  public func transpose(_ matrix: Matrix<BFloat16>) -> Matrix<BFloat16> {
    let (rows, columns) = (matrix.rows, matrix.columns)
    let values: [BFloat16] = filled(rows * columns) { result in
      let band = 64
      parallelFor((columns + band - 1) / band, threads: threads) { index in
        let first = index * band
        let width = min(band, columns - first)
        // The array is alive during the call; bands of columns do not overlap.
        unsafe matrix.values.withUnsafeBytes { source in
          let from = unsafe source.baseAddress.unsafelyUnwrapped.assumingMemoryBound(
            to: UInt16.self)
          let to = unsafe UnsafeMutableRawPointer(
            result.pointer(first * rows, count: width * rows)
          ).assumingMemoryBound(to: UInt16.self)
          // Some rows at a time, whose values of the band stay in the cache.
          for row in stride(from: 0, to: rows, by: band) {
            unsafe bs_transpose_16_bit(
              from + row * columns + first, columns, min(band, rows - row), width, to + row, rows)
          }
        }
      }
    }
    return Matrix(unchecked: values, rows: columns, columns: rows)
  }

  /// Adds the sum of each column, in FP32 from the first row on, to what is there.
  public func addColumnSums(of matrix: Matrix<BFloat16>, to sums: inout [Float]) {
    precondition(sums.count == matrix.columns, "There is one sum for each column")
    let (rows, columns) = (matrix.rows, matrix.columns)
    sums.withOutput { sums in
      // Some vectors at a time: a row's part is whole cache lines, and the sums stay in the cache.
      let band = 256
      parallelFor((columns + band - 1) / band, threads: threads) { index in
        let first = index * band
        let count = min(band, columns - first)
        let whole = count / 16 * 16
        // The array is alive during the call; bands of columns do not overlap.
        unsafe matrix.values.withUnsafeBytes { source in
          let to = unsafe sums.pointer(first, count: count)
          for row in 0..<rows {
            let values =
              unsafe source.baseAddress.unsafelyUnwrapped + (row * columns + first) * 2
            for column in stride(from: 0, to: whole, by: 16) {
              let place = unsafe UnsafeMutableRawPointer(to + column)
              let sum =
                unsafe Float.loadSixteen(place) + BFloat16.loadSixteen(values + 2 * column)
              unsafe place.storeBytes(of: sum, as: SIMD16<Float>.self)
            }
            for column in whole..<count {
              unsafe to[column] += BFloat16.load(values + 2 * column)
            }
          }
        }
      }
    }
  }

  /// The largest magnitude, infinity or NaN if there is such a value.
  public func maximumMagnitude<Value: SourceValue>(of matrix: Matrix<Value>) -> Float {
    // The array is alive during the call.
    unsafe matrix.values.withUnsafeBytes {
      Float(bitPattern: unsafe maximumMagnitudeBits($0, of: Value.sourceFormat))
    }
  }
}
