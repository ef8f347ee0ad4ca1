// SPDX-License-Identifier: Apache-2.0

import Minifloat
import Testing
import _BlockScaleTestSupport

/// The conversions of ml_dtypes, exhaustively; see `Tools/minifloat_vectors.py`.
@Suite struct MinifloatVectorTests {
  private let vectors: Vectors

  init() throws { vectors = try Vectors("minifloat.safetensors") }

  /// The codes that ml_dtypes gave, put right where this package differs on
  /// purpose.
  private func codes(_ name: String, of inputs: [Double], _ format: AnyMinifloat) throws -> [UInt16]
  {
    var codes =
      format == .bfloat16
      ? try vectors.integers(name, as: UInt16.self)
      : try vectors.bytes(name).map { UInt16($0) }
    try #require(codes.count == inputs.count)
    for (index, input) in inputs.enumerated() where input.isNaN {
      switch format {
      case .float4E2M1:
        // There is no NaN code. ml_dtypes stores zero, with the sign reversed; NVIDIA's conversion,
        // which this package follows, the largest value.
        #expect(codes[index] == (input.sign == .minus ? 0 : 8))
        codes[index] = 7
      case .bfloat16:
        // ml_dtypes drops the payload. Here the upper bits stay and the NaN becomes quiet, as a
        // conversion between floating-point types does.
        #expect(codes[index] & 0x7FFF == 0x7FC0)
        codes[index] = UInt16(truncatingIfNeeded: Float(input).bitPattern >> 16) | 0x40
      default: break
      }
    }
    guard format == .float8E8M0 else { return codes }
    for (index, input) in inputs.enumerated() where 0x1p-127 < input && input < 0x1.8p-127 {
      // Between its two smallest values, which are subnormal floats or border on them, ml_dtypes
      // always goes up. The nearest is the lower one.
      #expect(codes[index] == 1)
      codes[index] = 0
    }
    return codes
  }

  private func differences(
    _ inputs: [Double], _ expected: [UInt16], encode: (Int) -> UInt16
  ) -> [String] {
    inputs.indices.filter { encode($0) != expected[$0] }.prefix(5).map {
      "\(inputs[$0]): \(encode($0)) instead of \(expected[$0])"
    }
  }

  @Test(arguments: AnyMinifloat.small)
  func everyCodeDecodes(_ format: AnyMinifloat) throws {
    let values = try vectors.floats("\(format.rawValue).decode_f32")
    try #require(values.count == 1 << format.bitWidth)
    for (code, value) in values.enumerated() {
      let decoded = format.decode(UInt16(code))
      if value.isNaN {
        #expect(decoded.isNaN && decoded.sign == (format == .float8E8M0 ? .plus : value.sign))
      } else {
        #expect(decoded.bitPattern == value.bitPattern, "\(code)")
      }
    }
  }

  /// Decoding and encoding again is the identity on numbers; NaN codes collapse to one.
  @Test(arguments: AnyMinifloat.allCases)
  func everyCodeEncodesBack(_ format: AnyMinifloat) {
    for code in format.allCodes {
      let value = format.decode(code)
      if value.isNaN, format == .float8E5M2 {
        #expect(format.encode(value) == 0x7E | code & 0x80)
      } else if value.isNaN, format == .bfloat16 {
        #expect(format.encode(value) == code | 0x40)
      } else {
        #expect(format.encode(value) == code)
        #expect(format.encode(Double(value), overflow: .saturate) == code || value.isInfinite)
      }
    }
  }

  @Test(arguments: AnyMinifloat.small)
  func everyBFloat16(_ format: AnyMinifloat) throws {
    let inputs = (0...UInt16.max).map { Float(bitPattern: UInt32($0) << 16) }
    let doubles = inputs.map { Double($0) }
    let expected = try codes("\(format.rawValue).from_bf16", of: doubles, format)
    #expect(differences(doubles, expected) { format.encode(inputs[$0]) } == [])
    #expect(differences(doubles, expected) { format.encode(doubles[$0]) } == [])
  }

  @Test(arguments: AnyMinifloat.allCases)
  func everyFloat16(_ format: AnyMinifloat) throws {
    let inputs = (0...UInt16.max).map { Float16(bitPattern: $0) }
    let doubles = inputs.map { Double($0) }
    let expected = try codes("\(format.rawValue).from_f16", of: doubles, format)
    #expect(differences(doubles, expected) { format.encode(inputs[$0]) } == [])
  }

  /// Every midpoint and the floats beside it, to the point of overflow.
  @Test(arguments: AnyMinifloat.small)
  func everyMidpoint(_ format: AnyMinifloat) throws {
    let inputs = try vectors.floats("\(format.rawValue).midpoints_f32")
    let doubles = inputs.map { Double($0) }
    let expected = try codes("\(format.rawValue).midpoints_codes", of: doubles, format)
    #expect(inputs.count >= 3 * (format.finiteMagnitudes.count - 1))
    #expect(differences(doubles, expected) { format.encode(inputs[$0]) } == [])
  }

  /// Doubles so close to a midpoint that `Float` takes them for it: half of them would go wrong if
  /// a conversion went through `Float`.
  @Test(arguments: AnyMinifloat.allCases)
  func doublesRoundOnce(_ format: AnyMinifloat) throws {
    let inputs = try vectors.doubles("\(format.rawValue).from_f64_in")
    let expected = try codes("\(format.rawValue).from_f64_codes", of: inputs, format)
    #expect(differences(inputs, expected) { format.encode(inputs[$0]) } == [])
    let throughFloat = inputs.indices.count { format.encode(Float(inputs[$0])) != expected[$0] }
    #expect(throughFloat > inputs.count / 4, "The data should be able to tell")
  }

  @Test func bfloat16FromFloat() throws {
    let inputs = try vectors.floats("bfloat16.from_f32_in")
    try #require(inputs.count > 20000)
    let doubles = inputs.map { Double($0) }
    let expected = try vectors.integers("bfloat16.from_f32_codes", as: UInt16.self)
    for (input, code) in zip(inputs, expected) {
      let ours = BFloat16(input)
      if input.isNaN {
        let upper = UInt16(truncatingIfNeeded: input.bitPattern >> 16)
        #expect(code & 0x7FFF == 0x7FC0, "ml_dtypes drops the payload")
        #expect(ours.isNaN && ours.bitPattern == upper | 0x40)
      } else {
        #expect(ours.bitPattern == code, "\(input)")
      }
    }
    #expect(doubles.count { $0.isNaN } > 2000)
  }
}
