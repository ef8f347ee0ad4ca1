// SPDX-License-Identifier: Apache-2.0

import Minifloat
import Testing

@Suite struct MinifloatRoundingTests {
  /// Every tie goes where the rule says, and a little to either side of it no rule matters.
  ///
  /// Midpoints are exact in a Double, and so is the distance of 2⁻⁵⁰ beside them.
  @Test(arguments: AnyMinifloat.allCases, TieRule.allCases)
  func ties(_ format: AnyMinifloat, _ rule: TieRule) {
    for gap in Gap.all(in: format) {
      let expected: UInt16 =
        switch rule {
        case .towardZero: gap.lower
        case .awayFromZero: gap.upper
        // A scale has no bit that could be even: ties go up, as in ml_dtypes and PyTorch.
        case .even: format == .float8E8M0 || gap.upper & 1 == 0 ? gap.upper : gap.lower
        }
      for sign: (Double, UInt16) in [(1, 0), (-1, format.signBit)] {
        if sign.0 < 0, format == .float8E8M0 { continue }
        let tie = gap.midpoint * sign.0
        #expect(format.encode(tie, ties: rule) == expected | sign.1, "\(tie)")
        let below = tie * (1 - 0x1p-50)
        let above = tie * (1 + 0x1p-50)
        #expect(format.encode(below, ties: rule) == gap.lower | sign.1, "\(below)")
        #expect(format.encode(above, ties: rule) == gap.upper | sign.1, "\(above)")
      }
    }
  }

  /// The limits of rounding: half a unit beyond the largest value a tie would go to a code that does
  /// not exist.
  @Test(arguments: [
    (AnyMinifloat.float8E4M3, 448.0, 464.0, UInt16(0x7E), UInt16(0x7F)),
    (.float8E5M2, 57344, 61440, 0x7B, 0x7C),
    (.float4E2M1, 6, 7, 0x7, 0x7),
    (.bfloat16, 0x1.FEp127, 0x1.FFp127, 0x7F7F, 0x7F80),
    (.float8E8M0, 0x1p127, 0x1.8p127, 0xFE, 0xFF),
  ])
  func overflow(
    _ format: AnyMinifloat, greatest: Double, limit: Double, greatestCode: UInt16,
    overflowCode: UInt16
  ) {
    #expect(Double(format.decode(greatestCode)) == greatest)
    for rule in OverflowRule.allCases {
      let beyond = rule == .saturate ? greatestCode : overflowCode
      #expect(format.encode(greatest, overflow: rule) == greatestCode)
      #expect(format.encode(limit.nextDown, overflow: rule) == greatestCode)
      #expect(format.encode(limit, ties: .towardZero, overflow: rule) == greatestCode)
      #expect(format.encode(limit, ties: .awayFromZero, overflow: rule) == beyond)
      // In E4M3 the largest significand is even, so a tie stays below.
      #expect(
        format.encode(limit, overflow: rule) == (format == .float8E4M3 ? greatestCode : beyond))
      for value in [limit.nextUp, 1e39, 0x1p1000, .greatestFiniteMagnitude, .infinity] {
        #expect(format.encode(value, overflow: rule) == beyond, "\(value)")
        guard format != .float8E8M0 else { continue }
        #expect(format.encode(-value, overflow: rule) == beyond | format.signBit, "\(-value)")
      }
    }
  }

  @Test(arguments: AnyMinifloat.signed)
  func underflowKeepsTheSign(_ format: AnyMinifloat) {
    let least = Double(format.decode(1))
    for value in [0, least / 2, (least / 2).nextDown, 1e-300, .leastNonzeroMagnitude] {
      #expect(format.encode(value) == 0)
      #expect(format.encode(-value) == format.signBit)
    }
    #expect(format.encode((least / 2).nextUp) == 1)
    #expect(format.encode(-(least / 2).nextUp) == format.signBit | 1)
    #expect(format.encode(.leastNonzeroMagnitude, ties: .awayFromZero) == 0, "It is no tie")
    #expect(format.encode(least / 2, ties: .awayFromZero) == 1)
  }

  @Test func nan() {
    for rule in OverflowRule.allCases {
      for sign in [Double.nan, -Double.nan] {
        let bit: UInt16 = sign.sign == .minus ? 0x80 : 0
        #expect(AnyMinifloat.float8E4M3.encode(sign, overflow: rule) == 0x7F | bit)
        #expect(AnyMinifloat.float8E5M2.encode(sign, overflow: rule) == 0x7E | bit)
        #expect(AnyMinifloat.float4E2M1.encode(sign, overflow: rule) == 0x7)
        #expect(AnyMinifloat.float8E8M0.encode(sign, overflow: rule) == 0xFF)
        #expect(AnyMinifloat.bfloat16.encode(sign, overflow: rule) == 0x7FC0 | bit << 8)
      }
    }
    // A payload in the low half alone must not turn into an infinity.
    #expect(BFloat16(Float(bitPattern: 0x7F80_0001)).bitPattern == 0x7FC0)
    #expect(BFloat16(Float(bitPattern: 0xFFA5_1234)).bitPattern == 0xFFE5)
  }

  //MARK: Powers of two

  /// Against the exact exponent of every power of two, and of the floats beside it.
  @Test func e8m0Directions() {
    for code in 0...UInt8(0xFE) {
      let power = Float(Float8E8M0(bitPattern: code))
      let next = min(code + 1, 0xFE)
      #expect(Float8E8M0(roundingUp: power).bitPattern == code)
      #expect(Float8E8M0(roundingDown: power).bitPattern == code)
      #expect(Float8E8M0(roundingUp: power.nextUp).bitPattern == next)
      #expect(Float8E8M0(roundingDown: power.nextUp).bitPattern == code)
      #expect(Float8E8M0(roundingUp: power.nextDown).bitPattern == code)
      #expect(Float8E8M0(roundingDown: power.nextDown).bitPattern == max(code, 1) - 1)
    }
    #expect(Float8E8M0(roundingUp: .leastNonzeroMagnitude).bitPattern == 0)
    #expect(Float8E8M0(roundingDown: .leastNonzeroMagnitude).bitPattern == 0)
  }

  @Test func e8m0OutsideItsRange() {
    let above = Float(0x1p127).nextUp
    #expect(Float8E8M0(roundingUp: above).bitPattern == 0xFE)
    #expect(Float8E8M0(roundingUp: above, overflow: .ieee).isNaN)
    #expect(Float8E8M0(roundingDown: .greatestFiniteMagnitude, overflow: .ieee).bitPattern == 0xFE)
    for value: Float in [0, -0.0, -1, -.infinity, .nan] {
      #expect(Float8E8M0(value).isNaN)
      #expect(Float8E8M0(Double(value), ties: .even, overflow: .saturate).isNaN)
      #expect(Float8E8M0(roundingUp: value).isNaN)
      #expect(Float8E8M0(roundingDown: value).isNaN)
    }
    for value in [Float.infinity] {
      #expect(Float8E8M0(value).isNaN)
      #expect(Float8E8M0(roundingUp: value).bitPattern == 0xFE)
      #expect(Float8E8M0(roundingDown: value, overflow: .ieee).isNaN)
    }
  }
}
