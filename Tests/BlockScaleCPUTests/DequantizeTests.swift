// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
import Minifloat
import Testing
import _BlockScaleTestSupport

/// Every tier against the reference's decoding, rounded to each format.
@Suite struct DequantizeTests {
  static let shapes = [(1, 1), (3, 17), (130, 257), (129, 1), (16, 64)]
  static let tensorScales = [nil, TensorScale(0.3), TensorScale(7.1, isDivisor: true)]

  @Test(arguments: shapes)
  func equalsReference(_ rows: Int, _ columns: Int) throws {
    for tensorScale in Self.tensorScales {
      for blocking in QuantizeTests.blockings {
        func check<E: BlockElement, S: BlockScaleValue>(
          _ type: BlockScaledMatrix<E, S>.Type, _ scale: (UInt64) -> S
        ) throws {
          var generator = SplitMix(seed: UInt64(rows * columns))
          let grid = blocking.grid(rows: rows, columns: columns)
          let matrix = try type.init(
            rows: rows, columns: columns, blocking: blocking,
            codes: (0..<rows * ((columns * E.elementFormat.bitWidth + 7) / 8)).map { _ in
              UInt8(truncatingIfNeeded: generator.next())
            },
            scales: (0..<grid.rows * grid.columns).map { _ in scale(generator.next()) },
            tensorScale: tensorScale)
          compare(matrix)
        }
        // All bit patterns, NaN, infinity and subnormals among them.
        try check(NVFP4Matrix.self) { Float8E4M3(bitPattern: UInt8(truncatingIfNeeded: $0)) }
        try check(MXFP4Matrix.self) { Float8E8M0(bitPattern: UInt8(truncatingIfNeeded: $0)) }
        try check(MXFP8Matrix.self) { Float8E8M0(bitPattern: UInt8(truncatingIfNeeded: $0)) }
        try check(BlockScaledMatrix<Float8E4M3, Float8E4M3>.self) {
          Float8E4M3(bitPattern: UInt8(truncatingIfNeeded: $0))
        }
        try check(Float8Matrix.self) { Float(bitPattern: UInt32(truncatingIfNeeded: $0)) }
        try check(Float8Matrix.self) { Float($0 % 1000) * 1e-5 }
        try check(BlockScaledMatrix<Float8E5M2, BFloat16>.self) {
          BFloat16(bitPattern: UInt16(truncatingIfNeeded: $0))
        }
        try check(BlockScaledMatrix<Float8E5M2, Float16>.self) {
          Float16(bitPattern: UInt16(truncatingIfNeeded: $0))
        }
      }
    }
  }

  private func compare<E, S>(_ matrix: BlockScaledMatrix<E, S>) {
    let expected = matrix.dequantized()
    for tier in CPUTier.available {
      for threads in [1, 3] {
        guard let cpu = try? CPUBackend(tier: tier, threads: threads) else { continue }
        let name = "\(tier) \(type(of: matrix)) \(matrix.rows)x\(matrix.columns) \(matrix.blocking)"
        let floats = cpu.dequantized(matrix, as: Float.self)
        #expect(
          zip(floats, expected).allSatisfy {
            $0.bitPattern == $1.bitPattern || ($0.isNaN && $1.isNaN)
          }, "\(name) FP32")
        let bfloats = cpu.dequantized(matrix, as: BFloat16.self)
        #expect(
          zip(bfloats, expected).allSatisfy {
            $0.bitPattern == BFloat16($1).bitPattern || ($0.isNaN && $1.isNaN)
          }, "\(name) BF16")
        var halves = [Float16](repeating: 1, count: expected.count)
        try? cpu.dequantize(matrix, into: &halves)
        #expect(
          zip(halves, expected).allSatisfy {
            $0.bitPattern == Float16($1).bitPattern || ($0.isNaN && $1.isNaN)
          }, "\(name) FP16")
      }
    }
  }

  @Test func wrongCountsAreErrors() throws {
    let matrix = try MXFP8Matrix.quantized(
      [Float](repeating: 1, count: 6), rows: 2, columns: 3,
      recipe: .rceil
    ).matrix
    var values = [Float](repeating: 0, count: 5)
    #expect(throws: BlockScaleError.self) {
      try CPUBackend().dequantize(matrix, into: &values)
    }
  }
}
