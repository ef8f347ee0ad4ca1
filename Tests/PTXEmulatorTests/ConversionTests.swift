// SPDX-License-Identifier: Apache-2.0

import Minifloat
import PTX
import PTXEmulator
import Testing

@Suite struct ConversionTests {
  static let floats = awkwardBits(4096, width: 32, seed: 30)

  private func float(_ bits: UInt64) -> Float { Float(bitPattern: UInt32(bits)) }

  @Test func floatsToIntegers() throws {
    let rules: [(Rounding, FloatingPointRoundingRule)] = [
      (.nearestEvenInteger, .toNearestOrEven), (.towardZeroInteger, .towardZero),
      (.downInteger, .down), (.upInteger, .up),
    ]
    let values =
      Self.floats + (-300..<300).map { UInt64((Float($0) * 0.25).bitPattern) }
      + [2_147_483_648, -2_147_483_648, 4_294_967_296].map { UInt64(Float($0).bitPattern) }
    for (rounding, rule) in rules {
      let signed = try runInstruction([.bits32], result: .bits32, [values]) {
        .convert(
          $0, to: .s32, .register($1[0]), from: .f32, rounding: rounding, saturating: false)
      }
      let unsigned = try runInstruction([.bits32], result: .bits32, [values]) {
        .convert(
          $0, to: .u32, .register($1[0]), from: .f32, rounding: rounding, saturating: false)
      }
      for (index, bits) in values.enumerated() {
        let value = float(bits).rounded(rule)
        let (low, high) = (Float(Int32.min), Float(UInt32.max))
        let expected: Int32 =
          value.isNaN ? 0 : value >= 0x1p31 ? .max : value <= low ? .min : Int32(value)
        #expect(signed[index] == UInt64(UInt32(bitPattern: expected)), "\(float(bits)) \(rounding)")
        let other: UInt32 = value.isNaN || value <= 0 ? 0 : value >= high ? .max : UInt32(value)
        #expect(unsigned[index] == UInt64(other), "\(float(bits)) \(rounding)")
      }
    }
    // NaN is the middle of the range for 64 bits.
    let wide = try runInstruction([.bits32], result: .bits64, [[0x7FC0_0000]]) {
      .convert(
        $0, to: .s64, .register($1[0]), from: .f32, rounding: .towardZeroInteger, saturating: false)
    }
    #expect(wide == [1 << 63])
  }

  @Test func integersToFloats() throws {
    let values = awkwardBits(4096, width: 64, seed: 31)
    let nearest = try runInstruction([.bits64], result: .bits32, [values]) {
      .convert(
        $0, to: .f32, .register($1[0]), from: .s64, rounding: .nearestEven, saturating: false)
    }
    #expect(nearest == values.map { UInt64(Float(Int64(bitPattern: $0)).bitPattern) })
    let down = try runInstruction([.bits64], result: .bits32, [values]) {
      .convert($0, to: .f32, .register($1[0]), from: .u64, rounding: .down, saturating: false)
    }
    let expected = values.map { value in
      let rounded = Float(value)
      // The nearest may be above; 2^64 itself is.
      let isAbove = rounded >= 0x1p64 || UInt64(rounded) > value
      return UInt64((isAbove ? rounded.nextDown : rounded).bitPattern)
    }
    #expect(down == expected)
    let bytes = try runInstruction([.bits32], result: .bits16, [values.map { $0 & 0xFFFF_FFFF }]) {
      .convert($0, to: .u8, .register($1[0]), from: .u32, rounding: .none, saturating: true)
    }
    #expect(bytes == values.map { Swift.min($0 & 0xFFFF_FFFF, 255) })
  }

  @Test func bfloat16() throws {
    let rounded = try runInstruction([.bits32], result: .bits16, [Self.floats]) {
      .convert(
        $0, to: .bf16, .register($1[0]), from: .f32, rounding: .nearestEven, saturating: false)
    }
    for (bits, result) in zip(Self.floats, rounded) {
      let value = float(bits)
      #expect(result == (value.isNaN ? 0x7FFF : UInt64(BFloat16(value).bitPattern)), "\(value)")
    }
    let cut = try runInstruction([.bits32], result: .bits16, [Self.floats]) {
      .convert(
        $0, to: .bf16, .register($1[0]), from: .f32, rounding: .towardZero, saturating: false)
    }
    #expect(
      zip(Self.floats, cut).allSatisfy { bits, result in
        float(bits).isNaN ? result == 0x7FFF : result == bits >> 16
      })
    let back = try runInstruction([.bits16], result: .bits32, [(0..<65536).map { UInt64($0) }]) {
      .convert($0, to: .f32, .register($1[0]), from: .bf16, rounding: .none, saturating: false)
    }
    // NaNs keep their bits.
    #expect(back.enumerated().allSatisfy { code, bits in bits == UInt64(code) << 16 })
  }

  #if !(os(macOS) && arch(x86_64))
    @Test func float16() throws {
      let rounded = try runInstruction([.bits32], result: .bits16, [Self.floats]) {
        .convert(
          $0, to: .f16, .register($1[0]), from: .f32, rounding: .nearestEven, saturating: false)
      }
      for (bits, result) in zip(Self.floats, rounded) {
        let value = float(bits)
        #expect(result == (value.isNaN ? 0x7FFF : UInt64(Float16(value).bitPattern)), "\(value)")
      }
      let back = try runInstruction([.bits16], result: .bits32, [(0..<65536).map { UInt64($0) }]) {
        .convert($0, to: .f32, .register($1[0]), from: .f16, rounding: .none, saturating: false)
      }
      for (code, bits) in back.enumerated() {
        let value = Float(Float16(bitPattern: UInt16(code)))
        #expect(bits == (value.isNaN ? 0x7FFF_FFFF : UInt64(value.bitPattern)))
      }
    }
  #endif

  /// Pairs of codes: the first source goes to the high half, and values saturate.
  @Test(arguments: [PairFormat.e4m3x2, .e5m2x2, .e2m1x2, .ue8m0x2, .bf16x2])
  func pairs(_ format: PairFormat) throws {
    let high = Self.floats + (0..<1000).map { UInt64((Float($0) * 0.0625 - 20).bitPattern) }
    let low = Array(high.reversed())
    let result = try runInstruction(
      [.bits32, .bits32], result: format.registerKind, [high, low]
    ) {
      .packPair($0, format, high: .register($1[0]), low: .register($1[1]))
    }
    func code(_ value: Float) -> UInt64 {
      switch format {
      case .e4m3x2: value.isNaN ? 0x7F : UInt64(Float8E4M3(value, overflow: .saturate).bitPattern)
      case .e5m2x2: value.isNaN ? 0x7F : UInt64(Float8E5M2(value, overflow: .saturate).bitPattern)
      case .e2m1x2: value.isNaN ? 7 : UInt64(Float4E2M1(value, overflow: .saturate).bitPattern)
      case .ue8m0x2:
        value.isNaN
          ? 0xFF : UInt64(Float8E8M0(roundingUp: value.magnitude, overflow: .saturate).bitPattern)
      case .bf16x2, .f16x2: value.isNaN ? 0x7FFF : UInt64(BFloat16(value).bitPattern)
      }
    }
    let width: UInt64 = format == .e2m1x2 ? 4 : format == .bf16x2 ? 16 : 8
    for index in high.indices {
      #expect(
        result[index] == code(float(high[index])) << width | code(float(low[index])),
        "\(float(high[index])) \(float(low[index]))")
    }
  }

  #if !(os(macOS) && arch(x86_64))
    @Test(arguments: [PairFormat.e4m3x2, .e5m2x2, .e2m1x2])
    func unpacksPairs(_ format: PairFormat) throws {
      let width: UInt64 = format == .e2m1x2 ? 4 : 8
      let codes = (0..<1 << width).map { UInt64($0) }
      let pairs = codes.map { $0 << width | (codes.count > 16 ? $0 ^ 0x55 : $0 ^ 0x5) }
      let result = try runInstruction([.bits16], result: .bits32, [pairs]) {
        .unpackPair($0, $1[0], from: format)
      }
      func half(_ code: UInt64) -> UInt64 {
        let value: Float =
          switch format {
          case .e4m3x2: Float8E4M3(bitPattern: UInt8(code)).floatValue
          case .e5m2x2: Float8E5M2(bitPattern: UInt8(code)).floatValue
          default: Float4E2M1(bitPattern: UInt8(code)).floatValue
          }
        return value.isNaN ? 0x7FFF : UInt64(Float16(value).bitPattern)
      }
      let mask: UInt64 = 1 << width - 1
      #expect(result == pairs.map { half($0 >> width) << 16 | half($0 & mask) })
    }
  #endif

  /// The mean of many stochastic roundings is the value.
  @Test func stochasticRoundingIsUnbiased() throws {
    let values: [Float] = [1.03, -1.4, 0.01, 200]
    let draws = 8192
    var random = Random(seed: 5)
    let operands =
      values.map { value in (0..<draws).map { _ in UInt64(value.bitPattern) } }
      + [(0..<draws).map { _ in random.next() & 0xFFFF_FFFF }]
    let result = try runInstruction(
      Array(repeating: .bits32, count: 5), result: .bits32, operands
    ) {
      .packQuadStochastic(
        $0, .e4m3x2, $1.prefix(4).map { .register($0) }, random: .register($1[4]))
    }
    for (index, value) in values.enumerated() {
      let codes = result.map {
        Float8E4M3(bitPattern: UInt8(truncatingIfNeeded: $0 >> UInt64(24 - 8 * index)))
      }
      let mean = codes.map { Double($0.floatValue) }.reduce(0, +) / Double(draws)
      let step = Double(codes.map(\.floatValue).max()! - codes.map(\.floatValue).min()!)
      #expect((mean - Double(value)).magnitude <= step * 0.03, "\(value) \(mean)")
      #expect(Set(codes.map(\.bitPattern)).count <= 2)
    }
  }
}
