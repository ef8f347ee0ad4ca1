// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
import Minifloat
import Testing
import _BlockScaleTestSupport

/// A few rows with FP4 weights as they are stored, which kernels may multiply as whole numbers.
@Suite struct FewRowsTests {
  static let tiers = CPUTier.available

  /// How far apart the values of a row lie.
  enum Spread: String, CaseIterable {
    /// Whole multiples of one power of two.
    case near
    /// Every second value 2^40 times the others.
    case twoRanges
    /// Each of sixteen values 2^16 times the one before.
    case all
    /// Below the normal numbers of BF16, or just above.
    case subnormal
    case zero

    func values(_ count: Int, seed: UInt64) -> [BFloat16] {
      heavyTailed(count, seed: seed).enumerated().map { index, value in
        let exponent =
          switch self {
          case .near: 0
          case .twoRanges: index % 2 == 0 ? 20 : -20
          case .all: index % 16 * 15 - 120
          case .subnormal: -126 - index % 7
          case .zero: -1000
          }
        return BFloat16(Float(sign: .plus, exponent: exponent, significand: 1) * value)
      }
    }
  }

  /// Weights of which each output has some that are zero, so that large values do not cover small ones.
  private func weights(_ outputs: Int, _ depth: Int) -> [Float] {
    heavyTailed(outputs * depth, seed: 2).enumerated().map { index, value in
      let (output, k) = (index / depth, index % depth)
      switch output % 3 {
      case 0: return k % 2 == 0 ? 0 : value
      case 1: return k % 16 < 11 ? value : 0
      default: return value
      }
    }
  }

  private func operands(_ outputs: Int, _ depth: Int) throws -> [Operand] {
    let weights = weights(outputs, depth)
    return try [
      Operand(
        NVFP4Matrix.quantized(weights, rows: outputs, columns: depth, recipe: .modelopt).matrix),
      Operand(
        MXFP4Matrix.quantized(weights, rows: outputs, columns: depth, recipe: .ocp).matrix),
    ]
  }

  @Test(arguments: tiers, Spread.allCases)
  func everyValueCounts(_ tier: CPUTier, _ spread: Spread) throws {
    let cpu = try CPUBackend(tier: tier, threads: 2)
    // Four groups of outputs and more, the last of them partial; depths that end in a block and beyond one.
    for (outputs, depth) in [(100, 304), (5, 21)] {
      for right in try operands(outputs, depth) {
        let packed = try cpu.pack(right)
        for rows in [1, 2, 3, 4, 6, 23] {
          let values = try Matrix(
            spread.values(rows * depth, seed: UInt64(rows)), rows: rows, columns: depth)
          let left = Operand(values)
          let result = try cpu.multiply(left, packed, as: Float.self)
          let (x, w) = (left.exactValues().map(Double.init), right.scaledValues())
          for row in 0..<rows {
            for output in 0..<outputs {
              var (sum, magnitudes) = (0.0, 0.0)
              for k in 0..<depth {
                let product = x[row * depth + k] * w[output * depth + k]
                sum += product
                magnitudes += abs(product)
              }
              // Tiles of BF16 take subnormal values and sums as zero.
              let flushed = spread == .subnormal ? 0x1p-120 : 0x1p-149
              let difference = abs(Double(result[row, output]) - sum)
              #expect(
                difference <= magnitudes * Double(depth + 8) * 0x1p-23 + flushed,
                "\(rows) rows, \(spread), [\(row), \(output)]: \(result[row, output]) for \(sum)")
              if !(difference <= magnitudes * Double(depth + 8) * 0x1p-23 + flushed) { return }
            }
          }
        }
      }
    }
  }

  @Test(arguments: tiers)
  func whatIsNotFiniteIsNotHidden(_ tier: CPUTier) throws {
    let cpu = try CPUBackend(tier: tier, threads: 2)
    for right in try operands(20, 64) {
      let packed = try cpu.pack(right)
      for rows in [1, 3, 6] {
        for special in [Float.nan, .infinity, -.infinity] {
          var values = Spread.near.values(rows * 64, seed: 5)
          values[(rows - 1) * 64 + 17] = BFloat16(special)
          let left = Operand(try Matrix(values, rows: rows, columns: 64))
          let expected = try ReferenceBackend().multiply(left, right, as: Float.self)
          let result = try cpu.multiply(left, packed, as: Float.self)
          for place in expected.values.indices {
            let (value, wanted) = (result.values[place], expected.values[place])
            #expect(value.isNaN == wanted.isNaN && value.isInfinite == wanted.isInfinite)
            if wanted.isInfinite { #expect(value == wanted) }
          }
        }
      }
    }
  }
}

extension Operand {
  /// The values with all their scales, as Float64.
  fileprivate func scaledValues() -> [Double] {
    exactValues().enumerated().map { Double($1) * Double(rowScale($0 / columns)) * Double(factor) }
  }
}
