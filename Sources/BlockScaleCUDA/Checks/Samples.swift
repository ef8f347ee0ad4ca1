// SPDX-License-Identifier: Apache-2.0

package import BlockScale
package import Minifloat

/// Inputs that are the same in every run: random numbers, with what kernels get wrong among them.
package struct Samples: RandomNumberGenerator {
  private var state: UInt64

  package init(seed: UInt64) { state = seed }

  package mutating func next() -> UInt64 {
    // SplitMix64.
    state &+= 0x9E37_79B9_7F4A_7C15
    var bits = (state ^ state >> 30) &* 0xBF58_476D_1CE4_E5B9
    bits = (bits ^ bits >> 27) &* 0x94D0_49BB_1331_11EB
    return bits ^ bits >> 31
  }

  /// About normal, of variance one.
  package mutating func normal() -> Float {
    let bits = next()
    let sum = (0..<4).reduce(Float(0)) { $0 + Float((bits >> (16 * $1)) & 0xFFFF) / 65_536 }
    return (sum - 2) * 1.732_050_8
  }

  /// Normal values with heavy tails; some blocks hold zeros only, and some values are tiny.
  package mutating func matrix(rows: Int, columns: Int) throws(BlockScaleError) -> Matrix<BFloat16>
  {
    var values: [BFloat16] = []
    values.reserveCapacity(rows * columns)
    for _ in 0..<rows {
      var isEmpty = false
      for column in 0..<columns {
        if column % 16 == 0 { isEmpty = next() % 13 == 0 }
        let kind = next() % 64
        let value = normal()
        values.append(
          BFloat16(isEmpty ? 0 : kind == 0 ? value * 1e4 : kind == 1 ? value * 1e-30 : value))
      }
    }
    return try Matrix(values, rows: rows, columns: columns)
  }

  /// As `matrix`, with a NaN and infinities.
  package mutating func matrixWithoutLimits(
    rows: Int, columns: Int
  ) throws(BlockScaleError) -> Matrix<BFloat16> {
    var values = try matrix(rows: rows, columns: columns).values
    for special in [
      BFloat16.nan, BFloat16.infinity, BFloat16(bitPattern: 0xFF80), BFloat16(bitPattern: 0x8000),
    ] {
      values[Int(next() % UInt64(values.count))] = special
    }
    return try Matrix(values, rows: rows, columns: columns)
  }
}

/// Shapes with tails in every direction, and one without.
package let awkwardShapes: [KernelCheck.Shape] = [
  (1, 1), (1, 16), (3, 17), (5, 127), (64, 64), (65, 130), (33, 512), (130, 257),
]
