// SPDX-License-Identifier: Apache-2.0

package import BlockScale

extension Samples {
  /// Values that reach the corners of a source format: heavy tails, with zeros of both signs, and blocks
  /// of zeros, of subnormals, of huge values and of values that are not finite.
  ///
  /// The same for a shape in every run.
  package static func corners<Source: SourceValue>(
    _ type: Source.Type = Source.self, rows: Int, columns: Int, hasNonFinite: Bool = true
  ) throws(BlockScaleError) -> Matrix<Source> {
    var samples = Samples(seed: UInt64(1 + rows * 1000 + columns))
    var values: [Source] = []
    values.reserveCapacity(rows * columns)
    for row in 0..<rows {
      for column in 0..<columns {
        values.append(
          Source(rounding: samples.corner(row: row, column: column, hasNonFinite: hasNonFinite)))
      }
    }
    return try Matrix(values, rows: rows, columns: columns)
  }

  private mutating func corner(row: Int, column: Int, hasNonFinite: Bool) -> Float {
    let normal = normal()
    let uniform = Float.random(in: 0.05..<1, using: &self)
    let draw = next() % 64
    if draw == 0 { return 0 }
    if draw == 1 { return -0.0 }
    // A band of 16 rows and 16 columns of each kind.
    switch (row / 16 + 3 * (column / 16)) % 11 {
    case 1: return column % 2 == 0 ? 0 : -0.0
    case 2: return normal * 0x1p-24
    case 3: return normal * 0x1p-130
    case 4: return normal * 0x1p12
    case 5: return normal * 0x1p124
    case 6 where hasNonFinite && draw < 5:
      return [.nan, -.nan, .infinity, -.infinity][Int(draw % 4)]
    default: return normal * 0.02 / (uniform * uniform)
    }
  }
}
