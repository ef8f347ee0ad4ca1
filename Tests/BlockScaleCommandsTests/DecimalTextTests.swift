// SPDX-License-Identifier: Apache-2.0

import BlockScaleCommands
import Testing

#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

@Suite struct DecimalTextTests {
  @Test(arguments: [
    (0.0, 2, "0.00"), (-0.0, 2, "0.00"), (1.005, 2, "1.00"), (2.5, 0, "2"), (3.5, 0, "4"),
    (0.5, 0, "0"), (0.51, 0, "1"), (9.995, 2, "9.99"), (9.996, 2, "10.00"), (999.95, 1, "1000.0"),
    (-0.004, 2, "0.00"), (-0.006, 2, "-0.01"), (-12.345, 1, "-12.3"), (0.06, 1, "0.1"),
    (0.04, 1, "0.0"), (0.125, 2, "0.12"), (0.375, 2, "0.38"),
    (1e22, 1, "10000000000000000000000.0"),
    (.leastNonzeroMagnitude, 3, "0.000"), (123, 0, "123"), (.nan, 2, "nan"), (.infinity, 2, "inf"),
    (-.infinity, 2, "-inf"),
  ])
  func fixed(_ value: Double, _ digits: Int, _ expected: String) {
    #expect(DecimalText.fixed(value, digits: digits) == expected)
  }

  @Test(arguments: [
    (0.0, "0.00e+00"), (0.00905, "9.05e-03"), (9.996, "1.00e+01"), (-1234, "-1.23e+03"),
    (.leastNonzeroMagnitude, "4.94e-324"), (.greatestFiniteMagnitude, "1.80e+308"),
    (1, "1.00e+00"), (.nan, "nan"), (-.infinity, "-inf"),
  ])
  func scientific(_ value: Double, _ expected: String) {
    #expect(DecimalText.scientific(value) == expected)
  }

  @Test func agreesWithTheCLibrary() {
    var state: UInt64 = 1
    for _ in 0..<4000 {
      // A linear congruential generator: the same numbers in every run.
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      let bits = Double(bitPattern: state)
      let plain = Double(Int64(bitPattern: state) >> 34) / 1024
      for value in [bits, plain, plain / 1000] where value.isFinite {
        for digits in [0, 1, 3] {
          let expected = printed("%.\(digits)f", value)
          // The one difference on purpose: no negative zero.
          let isZero = !expected.contains { ("1"..."9").contains($0) }
          #expect(
            DecimalText.fixed(value, digits: digits)
              == (isZero ? String(expected.drop { $0 == "-" }) : expected))
        }
        #expect(DecimalText.scientific(value, digits: 3) == printed("%.2e", value))
      }
    }
  }

  private func printed(_ format: String, _ value: Double) -> String {
    // The buffer holds the longest finite number, and its size is passed along.
    unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 400) { buffer in
      _ = unsafe withVaList([value]) {
        unsafe vsnprintf(buffer.baseAddress!, buffer.count, format, $0)
      }
      return unsafe String(cString: buffer.baseAddress!)
    }
  }
}
