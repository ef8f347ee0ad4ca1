// SPDX-License-Identifier: Apache-2.0

import Minifloat
import Testing

/// One of the formats, so that a test can take it as an argument.
enum AnyMinifloat: String, Sendable, CaseIterable, CustomTestStringConvertible {
  case float8E4M3 = "float8_e4m3fn"
  case float8E5M2 = "float8_e5m2"
  case float4E2M1 = "float4_e2m1fn"
  case float8E8M0 = "float8_e8m0fnu"
  case bfloat16

  static let signed: [Self] = [.float8E4M3, .float8E5M2, .float4E2M1, .bfloat16]
  static let small: [Self] = [.float8E4M3, .float8E5M2, .float4E2M1, .float8E8M0]

  var testDescription: String { rawValue }

  var bitWidth: Int {
    switch self {
    case .float8E4M3: Float8E4M3.bitWidth
    case .float8E5M2: Float8E5M2.bitWidth
    case .float4E2M1: Float4E2M1.bitWidth
    case .float8E8M0: Float8E8M0.bitWidth
    case .bfloat16: BFloat16.bitWidth
    }
  }

  /// Every code.
  var allCodes: ClosedRange<UInt16> { 0...UInt16((1 << bitWidth) - 1) }

  func decode(_ code: UInt16) -> Float {
    switch self {
    case .float8E4M3: Float(Float8E4M3(bitPattern: UInt8(code)))
    case .float8E5M2: Float(Float8E5M2(bitPattern: UInt8(code)))
    case .float4E2M1: Float(Float4E2M1(bitPattern: UInt8(code)))
    case .float8E8M0: Float(Float8E8M0(bitPattern: UInt8(code)))
    case .bfloat16: Float(BFloat16(bitPattern: code))
    }
  }

  func encode(
    _ value: Double, ties: TieRule = .even, overflow: OverflowRule = .ieee
  ) -> UInt16 {
    switch self {
    case .float8E4M3: UInt16(Float8E4M3(value, ties: ties, overflow: overflow).bitPattern)
    case .float8E5M2: UInt16(Float8E5M2(value, ties: ties, overflow: overflow).bitPattern)
    case .float4E2M1: UInt16(Float4E2M1(value, ties: ties, overflow: overflow).bitPattern)
    case .float8E8M0: UInt16(Float8E8M0(value, ties: ties, overflow: overflow).bitPattern)
    case .bfloat16: BFloat16(value, ties: ties, overflow: overflow).bitPattern
    }
  }

  func encode(_ value: Float) -> UInt16 {
    switch self {
    case .float8E4M3: UInt16(Float8E4M3(value).bitPattern)
    case .float8E5M2: UInt16(Float8E5M2(value).bitPattern)
    case .float4E2M1: UInt16(Float4E2M1(value).bitPattern)
    case .float8E8M0: UInt16(Float8E8M0(value).bitPattern)
    case .bfloat16: BFloat16(value).bitPattern
    }
  }

  func encode(_ value: Float16) -> UInt16 {
    switch self {
    case .float8E4M3: UInt16(Float8E4M3(value).bitPattern)
    case .float8E5M2: UInt16(Float8E5M2(value).bitPattern)
    case .float4E2M1: UInt16(Float4E2M1(value).bitPattern)
    case .float8E8M0: UInt16(Float8E8M0(value).bitPattern)
    case .bfloat16: BFloat16(value).bitPattern
    }
  }

  func encode(
    stochastic value: Double, overflow: OverflowRule = .saturate,
    using generator: inout some RandomNumberGenerator
  ) -> UInt16 {
    switch self {
    case .float8E4M3:
      UInt16(Float8E4M3(stochastic: value, overflow: overflow, using: &generator).bitPattern)
    case .float8E5M2:
      UInt16(Float8E5M2(stochastic: value, overflow: overflow, using: &generator).bitPattern)
    case .float4E2M1:
      UInt16(Float4E2M1(stochastic: value, overflow: overflow, using: &generator).bitPattern)
    case .float8E8M0: preconditionFailure("E8M0 has no stochastic rounding")
    case .bfloat16:
      BFloat16(stochastic: value, overflow: overflow, using: &generator).bitPattern
    }
  }

  var signBit: UInt16 { self == .float8E8M0 ? 0 : 1 << (UInt16(bitWidth) - 1) }

  /// The codes of the finite values from zero (or the least) upwards.
  var finiteMagnitudes: [UInt16] {
    (0..<(self == .float8E8M0 ? 0xFF : signBit)).filter { decode($0).isFinite }
  }
}

/// What a code and its neighbour above stand for, and the value half way between them: all exact
/// in a Double for every format here.
struct Gap: Sendable {
  var lower: UInt16
  var upper: UInt16
  var midpoint: Double

  static func all(in format: AnyMinifloat) -> [Gap] {
    let codes = format.finiteMagnitudes
    return zip(codes, codes.dropFirst()).map { lower, upper in
      Gap(
        lower: lower, upper: upper,
        midpoint: (Double(format.decode(lower)) + Double(format.decode(upper))) / 2)
    }
  }
}
