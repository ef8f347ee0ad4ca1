// SPDX-License-Identifier: Apache-2.0

import Minifloat
import Testing

/// What the formats share with the floating-point types of the standard library.
@Suite struct MinifloatTests {
  private static func everyValue<M: BinaryMinifloat>(_ type: M.Type) -> [M] {
    (0..<1 << M.bitWidth).map { M(bitPattern: M.BitPattern($0)) }
  }

  private func forEachFormat(_ body: (any BinaryMinifloat.Type) throws -> Void) rethrows {
    for type: any BinaryMinifloat.Type in [
      Float8E4M3.self, Float8E5M2.self, Float4E2M1.self, Float8E8M0.self,
    ] { try body(type) }
  }

  /// All pairs of codes: trichotomy, agreement with `Float`, equal values hash alike.
  @Test func comparison() {
    func check<M: BinaryMinifloat>(_ type: M.Type) {
      let values = Self.everyValue(type)
      for x in values {
        for y in values {
          let relations = [x < y, x == y, y < x].count { $0 }
          #expect(relations == (x.isNaN || y.isNaN ? 0 : 1), "\(x) \(y)")
          #expect((x < y) == (x.floatValue < y.floatValue))
          // A negated `<` would be true where either is NaN.
          #expect((x <= y) == (x.floatValue <= y.floatValue))
          #expect((x >= y) == (x.floatValue >= y.floatValue))
          #expect((x > y) == (x.floatValue > y.floatValue))
          #expect((x != y) == (x.floatValue != y.floatValue))
          if x == y { #expect(x.hashValue == y.hashValue) }
        }
      }
      let ordered = values.filter { !$0.isNaN }.sorted()
      #expect(zip(ordered, ordered.dropFirst()).allSatisfy { $0 <= $1 })
    }
    forEachFormat { check($0) }
  }

  /// Order is transitive: sixteen of the values, all triples.
  @Test func transitivity() {
    func check<M: BinaryMinifloat>(_ type: M.Type) {
      let values = Self.everyValue(type)
      let some = stride(from: 0, to: values.count, by: max(1, values.count / 16)).map { values[$0] }
      for x in some {
        for y in some {
          for z in some where x < y && y < z { #expect(x < z) }
        }
      }
    }
    forEachFormat { check($0) }
  }

  @Test func signedZeros() {
    func check<M: BinaryMinifloat>(_ type: M.Type) {
      let positive = M(0.0)
      let negative = M(-0.0)
      #expect(positive.bitPattern != negative.bitPattern)
      #expect(positive == negative && positive.hashValue == negative.hashValue)
      #expect(positive.isZero && negative.isZero && !negative.isSubnormal && negative.isFinite)
      #expect(positive.sign == .plus && negative.sign == .minus)
      #expect(Set([positive, negative]).count == 1)
    }
    check(Float8E4M3.self)
    check(Float8E5M2.self)
    check(Float4E2M1.self)
    check(BFloat16.self)
    // A scale has no zero.
    #expect(Float8E8M0(0.0).isNaN)
  }

  @Test func classification() {
    func check<M: BinaryMinifloat>(
      _ type: M.Type, finite: Int, infinite: Int, nan: Int, subnormal: Int
    ) {
      let values = Self.everyValue(type)
      #expect(values.count { $0.isFinite } == finite)
      #expect(values.count { $0.isInfinite } == infinite)
      #expect(values.count { $0.isNaN } == nan)
      #expect(values.count { $0.isSubnormal } == subnormal)
      #expect(values.filter { $0.isFinite }.max() == M.greatestFiniteMagnitude)
      #expect(values.filter { $0.floatValue > 0 }.min() == M.leastNonzeroMagnitude)
      #expect(
        values.filter { $0.floatValue > 0 && !$0.isSubnormal }.min() == M.leastNormalMagnitude)
    }
    check(Float8E4M3.self, finite: 254, infinite: 0, nan: 2, subnormal: 14)
    check(Float8E5M2.self, finite: 248, infinite: 2, nan: 6, subnormal: 6)
    check(Float4E2M1.self, finite: 16, infinite: 0, nan: 0, subnormal: 2)
    check(Float8E8M0.self, finite: 255, infinite: 0, nan: 1, subnormal: 0)
    check(BFloat16.self, finite: 65280, infinite: 2, nan: 254, subnormal: 254)
  }

  @Test func constants() {
    #expect(Float(Float8E4M3.greatestFiniteMagnitude) == 448)
    #expect(Float(Float8E4M3.leastNormalMagnitude) == 0x1p-6)
    #expect(Float(Float8E4M3.leastNonzeroMagnitude) == 0x1p-9)
    #expect(Float(Float8E5M2.greatestFiniteMagnitude) == 57344)
    #expect(Float(Float8E5M2.leastNormalMagnitude) == 0x1p-14)
    #expect(Float(Float8E5M2.leastNonzeroMagnitude) == 0x1p-16)
    #expect(Float(Float4E2M1.greatestFiniteMagnitude) == 6)
    #expect(Float(BFloat16.greatestFiniteMagnitude) == 0x1.FEp127)
    #expect(Float(BFloat16.leastNonzeroMagnitude) == 0x1p-133)
    #expect(Float(Float8E8M0.one) == 1)
    #expect(Float8E8M0.nan.isNaN && Float8E4M3.nan.isNaN && Float8E5M2.nan.isNaN)
    #expect(BFloat16.nan.isNaN && BFloat16.infinity.isInfinite && Float8E5M2.infinity.isInfinite)
  }

  //MARK: Text

  @Test func descriptionsReadBack() {
    func check<M: BinaryMinifloat>(_ type: M.Type) {
      for value in Self.everyValue(type) {
        let read = M(value.description)
        if value.isNaN {
          #expect(read?.isNaN == true)
        } else {
          #expect(read?.bitPattern == value.bitPattern, "\(value.description)")
        }
      }
    }
    forEachFormat { check($0) }
    check(BFloat16.self)
  }

  @Test func textIsRoundedOnce() {
    #expect(Float8E4M3("0x1.1p0")?.bitPattern == 0x38, "A tie, to even")
    #expect(Float8E4M3("0x1.1000000000001p0")?.bitPattern == 0x39)
    #expect(Float8E4M3("-448")?.bitPattern == 0xFE)
    #expect(Float8E5M2("inf")?.isInfinite == true)
    #expect(Float4E2M1("") == nil)
    #expect(Float4E2M1("six") == nil)
    #expect(Float8E4M3("1,5") == nil)
  }

  @Test func debugDescriptions() {
    #expect(Float8E4M3(1.5).debugDescription == "Float8E4M3(1.5, bitPattern: 0x3C)")
    #expect(Float4E2M1(-6.0).debugDescription == "Float4E2M1(-6.0, bitPattern: 0xF)")
    #expect(BFloat16(Float(1)).debugDescription == "BFloat16(1.0, bitPattern: 0x3F80)")
    #expect(Float8E5M2(bitPattern: 1).debugDescription.hasSuffix("bitPattern: 0x01)"))
  }

  //MARK: Preconditions

  /// A code of more than four bits would not fit its half of a byte.
  @Test func fiveBitsAreTooMany() async {
    await #expect(processExitsWith: .failure) {
      _ = Float4E2M1(bitPattern: 16)
    }
    await #expect(processExitsWith: .success) {
      _ = Float4E2M1(bitPattern: 15)
    }
  }

  @Test func conversionsAgree() {
    for value in Self.everyValue(Float8E5M2.self) where !value.isNaN {
      #expect(Double(value) == Double(Float(value)))
      #expect(Float(Float16(value)) == Float(value), "E5M2 is the upper half of Float16")
      #expect(Float16(value).bitPattern == UInt16(value.bitPattern) << 8)
    }
  }
}
