// SPDX-License-Identifier: Apache-2.0

import PTX
import RealModule

/// How approximate instructions err.
package enum Approximations: Hashable, Sendable {
  /// Not at all: results are rounded to nearest.
  case exact
  /// Anywhere within the error that the PTX manual documents, by a seed: what a kernel proves with
  /// these holds for every GPU.
  case perturbed(seed: UInt64)

  func apply(_ operation: UnaryOperation, _ x: Float) -> Float {
    let exact = Approximations.value(operation, Double(x))
    guard case .perturbed(let seed) = self, exact.isFinite, exact != 0 else { return Float(exact) }
    var error = Approximations.error(operation, exact) * Approximations.noise(x.bitPattern, seed)
    // Results that FP32 holds exactly (powers of two mostly) come out exact on every GPU.
    if Double(Float(exact)) == exact, operation != .approximateTanh { error = 0 }
    return Float(exact + error)
  }

  private static func value(_ operation: UnaryOperation, _ x: Double) -> Double {
    switch operation {
    case .approximateReciprocal: flushed(1 / flushed(x))
    case .approximateReciprocalRoot: 1 / x.squareRoot()
    case .approximateExponential2: .exp2(x)
    case .approximateLogarithm2: .log2(x)
    case .approximateTanh: .tanh(x)
    default: preconditionFailure("\(operation) is exact")
    }
  }

  private static func flushed(_ x: Double) -> Double {
    x.magnitude < Double(Float.leastNormalMagnitude) ? Double(signOf: x, magnitudeOf: 0) : x
  }

  /// The largest error of a result, from the PTX ISA's tables: one unit in the last place for
  /// `rcp`, 2^-22.9 of the result for `rsqrt`, two units for `ex2`, 2^-22 absolute (and relative
  /// outside [0.5, 2]) for `lg2`, 2^-11 of the result for `tanh`.
  private static func error(_ operation: UnaryOperation, _ exact: Double) -> Double {
    let magnitude = exact.magnitude
    let unit = Double(Float(magnitude).ulp)
    return switch operation {
    case .approximateReciprocal: unit / 2
    case .approximateReciprocalRoot: magnitude * 0x1p-23
    case .approximateExponential2: unit * 1.5
    case .approximateLogarithm2: Swift.max(magnitude, 1) * 0x1p-23
    case .approximateTanh: magnitude * 0x1p-12
    default: 0
    }
  }

  /// A number of [-1, 1) that depends on all bits (SplitMix64's mixing).
  private static func noise(_ bits: UInt32, _ seed: UInt64) -> Double {
    var z = seed &+ UInt64(bits) &* 0x9E37_79B9_7F4A_7C15
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return Double(Int64(bitPattern: z ^ z >> 31)) * 0x1p-63
  }
}
