// SPDX-License-Identifier: Apache-2.0

import Minifloat
import Testing
import _BlockScaleTestSupport

@Suite struct MinifloatStochasticTests {
  private static let draws = 40_000

  /// Values between two codes, normal and subnormal, as a fraction of their gap.
  @Test(arguments: AnyMinifloat.signed, [0.01, 0.25, 0.5, 0.9])
  func meanIsTheValue(_ format: AnyMinifloat, fraction: Double) {
    let codes = format.finiteMagnitudes
    var generator = SplitMix(seed: 41)
    // The first subnormal gap, one at the end of the subnormals, two of normal numbers, the last.
    let normal = format == .float4E2M1 ? 2 : format == .float8E5M2 ? 4 : 8
    for index in [0, normal - 1, normal, codes.count / 2, codes.count - 2] {
      let lower = Double(format.decode(codes[index]))
      let gap = Double(format.decode(codes[index + 1])) - lower
      for sign in [1.0, -1] {
        let value = sign * (lower + fraction * gap)
        var ups = 0
        var strays = 0
        for _ in 0..<Self.draws {
          let code = format.encode(stochastic: value, using: &generator)
          let sign = sign < 0 ? format.signBit : 0
          if code == codes[index + 1] | sign {
            ups += 1
          } else if code != codes[index] | sign {
            strays += 1
          }
        }
        #expect(strays == 0, "Only the two neighbours come into question")
        let deviation = (fraction * (1 - fraction) / Double(Self.draws)).squareRoot()
        let share = Double(ups) / Double(Self.draws)
        #expect(abs(share - fraction) < 5 * deviation, "\(value): \(share)")
      }
    }
  }

  /// A value below the smallest code still survives on average.
  @Test(arguments: AnyMinifloat.signed)
  func tinyValuesSurvive(_ format: AnyMinifloat) {
    let least = Double(format.decode(1))
    var generator = SplitMix(seed: 42)
    let ups = (0..<Self.draws).count { _ in
      format.encode(stochastic: least / 64, using: &generator) == 1
    }
    let deviation = (1.0 / 64 * 63 / 64 / Double(Self.draws)).squareRoot()
    #expect(abs(Double(ups) / Double(Self.draws) - 1.0 / 64) < 5 * deviation)
  }

  @Test(arguments: AnyMinifloat.signed)
  func exactValuesStay(_ format: AnyMinifloat) {
    var generator = SplitMix(seed: 43)
    for code in format.allCodes {
      let value = format.decode(code)
      guard value.isFinite else { continue }
      for _ in 0..<(format == .bfloat16 ? 1 : 50) {
        #expect(format.encode(stochastic: Double(value), using: &generator) == code)
      }
    }
  }

  @Test(arguments: AnyMinifloat.signed)
  func seededRunsRepeat(_ format: AnyMinifloat) {
    func run(seed: UInt64) -> [UInt16] {
      var generator = SplitMix(seed: seed)
      return (0..<1000).map {
        format.encode(stochastic: Double($0) * 0.00371 - 1.9, using: &generator)
      }
    }
    #expect(run(seed: 1) == run(seed: 1))
    #expect(run(seed: 1) != run(seed: 2))
  }

  @Test(arguments: AnyMinifloat.signed)
  func nonFiniteAndOverflow(_ format: AnyMinifloat) {
    var generator = SplitMix(seed: 44)
    let greatest = format.finiteMagnitudes.last!
    #expect(format.encode(stochastic: .infinity, using: &generator) == greatest)
    #expect(format.encode(stochastic: -1e300, using: &generator) == greatest | format.signBit)
    let beyond = format.encode(Double.infinity)
    #expect(format.encode(stochastic: .infinity, overflow: .ieee, using: &generator) == beyond)
    #expect(format.encode(stochastic: .nan, using: &generator) == format.encode(Double.nan))
    // Nothing is drawn for what needs no rounding.
    var untouched = SplitMix(seed: 44)
    var used = SplitMix(seed: 44)
    for value in [0, -0.0, .nan, .infinity] {
      _ = format.encode(stochastic: value, using: &used)
    }
    #expect(untouched.next() == used.next())
  }
}
