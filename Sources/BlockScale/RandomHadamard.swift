// SPDX-License-Identifier: Apache-2.0

public import Minifloat

/// The 16×16 random Hadamard transform of NVFP4 training (arXiv 2509.25149).
///
/// Each group of 16 neighbours is multiplied by fixed signs and by Sylvester's Hadamard matrix over
/// four, which is orthogonal: products along the rotated dimension of two rotated operands are those
/// of the operands themselves. It spreads an outlier over its group.
public enum RandomHadamard {
  /// The values of a group.
  public static let groupSize = 16

  /// The signs that values are multiplied with first, those of TransformerEngine.
  public static let signs: [Float] = [1, 1, 1, -1, 1, -1, -1, -1, -1, -1, -1, 1, -1, 1, -1, -1]

  /// Rotates one group: FP32 sums of neighbours at distances 1, 2, 4 and 8 in this order, a quarter of
  /// them, rounded to BF16.
  static func rotated(_ group: some Collection<Float>) -> [BFloat16] {
    var values = zip(group, signs).map { $0 * $1 }
    for distance in [1, 2, 4, 8] {
      for index in 0..<groupSize where index & distance == 0 {
        let (left, right) = (values[index], values[index + distance])
        values[index] = left + right
        values[index + distance] = left - right
      }
    }
    return values.map { BFloat16($0 * 0.25) }
  }
}

extension Matrix {
  /// The matrix with every group of 16 neighbours of a row rotated (``RandomHadamard``), in BF16.
  ///
  /// - Throws: ``BlockScaleError`` if the columns do not divide into groups.
  /// - Complexity: O(rows × columns).
  public func rotated() throws(BlockScaleError) -> Matrix<BFloat16> {
    guard columns % RandomHadamard.groupSize == 0 else {
      throw BlockScaleError(
        .wrongShape,
        "A matrix of \(columns) columns does not divide into groups of 16, which are rotated.")
    }
    let values = widened()
    let result = stride(from: 0, to: values.count, by: RandomHadamard.groupSize).flatMap { first in
      RandomHadamard.rotated(values[first..<first + RandomHadamard.groupSize])
    }
    return Matrix<BFloat16>(unchecked: result, rows: rows, columns: columns)
  }
}
