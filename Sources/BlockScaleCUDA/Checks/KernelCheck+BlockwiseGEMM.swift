// SPDX-License-Identifier: Apache-2.0

package import BlockScale
package import Minifloat
import PTX

extension KernelCheck {
  /// FP8 products in every configuration.
  static var blockwiseProducts: [KernelCheck] {
    let shapes: [(BlockwiseGEMM.Configuration, [(m: Int, n: Int, k: Int)])] = [
      (.small, [(1, 8, 1), (65, 136, 130)]),
      (.large, [(1, 1, 129), (257, 40, 128)]),
      (.largePair, [(3, 300, 270), (200, 129, 130)]),
    ]
    return shapes.flatMap { configuration, shapes in
      shapes.map { product($0, configuration, needsGPU: nil) } + [
        product((1037, 1093, 1031), configuration, needsGPU: takesMinutes),
        product((1024, 1280, 1024), configuration, needsGPU: takesMinutes),
      ]
    }
  }

  private static func product(
    _ shape: (m: Int, n: Int, k: Int), _ configuration: BlockwiseGEMM.Configuration,
    needsGPU: String?
  ) -> KernelCheck {
    KernelCheck(
      "\(BlockwiseGEMM(configuration).name) \(shape.m)x\(shape.n)x\(shape.k)", needsGPU: needsGPU,
      targets: BlockwiseGEMM.targets
    ) { executor in
      var samples = Samples(seed: 11)
      let left = try samples.float8(shape.m, shape.k, Blocking(rows: 1, columns: 128))
      let right = try samples.float8(shape.n, shape.k, Blocking(rows: 128, columns: 128))
      let result = try executor.multiply(left, right, configuration: configuration)
      try BlockwiseGEMM.expectProduct(result, of: left, right, sums: .truncated)
    }
  }
}

extension Samples {
  /// Normal values in E4M3.
  package mutating func float8(
    _ rows: Int, _ columns: Int, _ blocking: Blocking
  ) throws(BlockScaleError) -> Float8Matrix {
    var values: [Float] = []
    values.reserveCapacity(rows * columns)
    for _ in 0..<rows * columns { values.append(normal()) }
    return try Float8Matrix.quantized(
      values, rows: rows, columns: columns, recipe: .torchao, blocking: blocking
    ).matrix
  }
}

extension BlockwiseGEMM {
  /// How products of 128 of K are summed before they are added in FP32.
  package enum Sums {
    /// In FP32.
    case exact
    /// As tensor cores of Hopper do: products of one instruction and the sum so far are aligned to the
    /// largest and cut to 14 bits.
    case truncated
  }

  /// Compares a product with the reference, which sums in another order.
  ///
  /// What may differ, with S the sum of the magnitudes of an element's K products: FP32 sums lose at most
  /// 2⁻²⁴·S at each of the K additions (and those of the reference as much), so 2·K·2⁻²⁴·S. Of four
  /// instructions for each 128 of K, truncated sums lose less than 2⁻¹³ of their largest term for each of
  /// 33 terms, whose signs differ and whose largest is a fraction of S: 2⁻¹⁰·S, whatever K is, since sums
  /// of 128 are added in FP32. The result is rounded to BF16, at most 2⁻⁸ of it. A product of K that is
  /// left out is S/K, of which only those of K > 1000 could hide.
  ///
  /// - Throws: ``KernelMismatch`` with the first element beyond that.
  package static func expectProduct(
    _ result: Matrix<BFloat16>, of left: Float8Matrix, _ right: Float8Matrix, sums: Sums
  ) throws {
    let reference = ReferenceBackend()
    let expected = try reference.multiply(Operand(left), Operand(right), as: Float.self)
    let magnitudes = try reference.multiply(
      Operand(left.magnitudes), Operand(right.magnitudes), as: Float.self)
    guard result.rows == left.rows, result.columns == right.rows else {
      throw KernelMismatch(
        description: "the product is \(result.rows)x\(result.columns) instead of "
          + "\(left.rows)x\(right.rows)")
    }
    let summing = Float(left.columns) * 0x1p-23 + (sums == .truncated ? 0x1p-10 : 0)
    for row in 0..<result.rows {
      for column in 0..<result.columns {
        let (value, wanted) = (Float(result[row, column]), expected[row, column])
        let sum = magnitudes[row, column] * summing
        // What differs before rounding is rounded too; the smallest BF16 number is 2⁻¹³³.
        let allowed = sum + (wanted.magnitude + sum) * 0x1p-8 + 0x1p-133
        if !((value - wanted).magnitude <= allowed) {
          throw KernelMismatch(
            description: "the product in row \(row), column \(column) is \(value) instead of "
              + "\(wanted), of which it may differ by \(allowed)")
        }
      }
    }
  }
}

extension BlockScaledMatrix where Element == Float8E4M3, Scale == Float {
  /// The matrix of magnitudes.
  fileprivate var magnitudes: Self {
    var result = self
    for index in result.codes.indices { result.codes[index] &= 0x7F }
    return result
  }
}
