// SPDX-License-Identifier: Apache-2.0

import Minifloat

/// The definition of every operation in plain Swift, one element at a time.
///
/// What other back ends compute is compared with this.
public struct ReferenceBackend: Sendable, Hashable {
  /// Creates the back end, which has no state.
  public init() {}
}

extension ReferenceBackend {
  /// The product `left · rightᵀ` before it is rounded.
  func sums(
    _ left: Operand, _ right: Operand, bias: [Float]?
  ) throws(BlockScaleError) -> [Float] {
    guard left.columns == right.columns else {
      throw BlockScaleError(
        .wrongShape,
        "The left operand has \(left.columns) columns and the right one \(right.columns); "
          + "a product sums along both.")
    }
    try left.checkLeft()
    let partDepth = try commonPartDepth(left.partDepth, right.partDepth) ?? left.columns
    if let bias, bias.count != right.rows {
      throw BlockScaleError(
        .wrongShape, "The bias has \(bias.count) values for \(right.rows) outputs.")
    }
    let leftValues = left.exactValues()
    let rightValues = right.exactValues()
    let depth = left.columns
    var result = [Float](repeating: 0, count: left.rows * right.rows)
    for m in 0..<left.rows {
      for n in 0..<right.rows {
        var total: Float = 0
        for (part, first) in stride(from: 0, to: depth, by: partDepth).enumerated() {
          var sum: Float = 0
          for k in first..<min(depth, first + partDepth) {
            sum += leftValues[m * depth + k] * rightValues[n * depth + k]
          }
          total +=
            sum
            * (left.partScale(row: m, part: part, depth: partDepth)
              * right.partScale(row: n, part: part, depth: partDepth))
        }
        let row = left.factor * right.factor * left.rowScale(m)
        total = total * row * right.rowScale(n)
        result[m * right.rows + n] = total + (bias?[n] ?? 0)
      }
    }
    return result
  }
}

extension Operand {
  /// The values that enter the products: codes with the scales that are folded into them.
  package func exactValues() -> [Float] {
    (0..<rows * columns).map { index in
      let (row, column) = (index / columns, index % columns)
      let value: Float
      switch codes {
      case .bfloat16(let values): value = Float(values[index])
      case .element(.e4m3, let bytes): value = Float(Float8E4M3(bitPattern: bytes[index]))
      case .element(.e5m2, let bytes): value = Float(Float8E5M2(bitPattern: bytes[index]))
      case .element(.e2m1, let bytes):
        let byte = bytes[row * ((columns + 1) / 2) + column / 2]
        value = Float(Float4E2M1(bitPattern: column % 2 == 0 ? byte & 0x0F : byte >> 4))
      }
      guard case .folded(let scales, let format, let blocking) = scaling else { return value }
      let grid = blocking.grid(rows: rows, columns: columns)
      let code = scales[
        row / min(blocking.rows, rows) * grid.columns + column / blocking.columns]
      return value * format.value(ofCode: UInt32(code))
    }
  }
}
