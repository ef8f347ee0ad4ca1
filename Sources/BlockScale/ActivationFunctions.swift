// SPDX-License-Identifier: Apache-2.0

// The scalar functions of activations, in FP32 and in this order of operations.
//
// All back ends agree to the bit: they call these, or have the same operations. σ and SiLU are right
// within two units in the last place, and zero below −87.3, where σ is no longer a normal number. Φ is
// `(1 + erf) / 2`, as COAT has it, whose absolute error is 1e-7; far below zero, where Φ is smaller than
// that, GELU keeps fewer digits.

/// 1 / (1 + e^−x), zero where that is subnormal: GPUs take the reciprocal so.
package func sigmoid(_ x: Float) -> Float {
  let sigma = 1 / (1 + exponential(-x))
  return sigma < .leastNormalMagnitude ? 0 : sigma
}

/// x·σ(x).
package func silu(_ x: Float) -> Float {
  x * sigmoid(x)
}

/// The derivative of SiLU: σ + x·σ·(1 − σ).
package func siluDerivative(_ x: Float) -> Float {
  let sigma = sigmoid(x)
  return sigma + x * sigma * (1 - sigma)
}

/// (1 + erf(x / √2)) / 2, the distribution function of the standard normal distribution.
package func normalDistribution(_ x: Float) -> Float {
  (1 + errorFunction(x / 1.414_213_6)) / 2
}

/// GELU by the error function.
package func gelu(_ x: Float) -> Float {
  x * normalDistribution(x)
}

/// The derivative of GELU: Φ(x) + x·e^(−x²/2) / √(2π).
package func geluDerivative(_ x: Float) -> Float {
  // √(2π)
  normalDistribution(x) + x * exponential(-(x * x) / 2) / 2.506_628_3
}

/// The coefficients of ``errorFunction(_:)``, from the constant on.
package enum ErrorFunctionSeries {
  /// Of erf(x)/x − 1 by x² up to 1: minimax, within 1.2e-9.
  package static let inside: [Float] = [
    0.128379166, -0.37612626, 0.112836033, -0.026854444, 0.0051895352, -0.0008020841,
    0.0000788911930,
  ]
  /// Of the logarithm of 1 − erf(x) from 1 to 4: minimax, within 1.1e-9 of erf.
  package static let outside: [Float] = [
    -0.00035370892, -1.12704003, -0.638225615, -0.103037432, 0.0218053516, -0.0029396156,
    0.00018557490,
  ]
}

/// The error function in FP32 arithmetic whose every operation is written down, within two units in
/// the last place.
package func errorFunction(_ x: Float) -> Float {
  func series(_ coefficients: [Float], _ x: Float) -> Float {
    coefficients.dropLast().reversed().reduce(coefficients[coefficients.count - 1]) { $0 * x + $1 }
  }
  if x.isNaN { return x }
  let magnitude = x.magnitude
  if magnitude < 1 { return x + x * series(ErrorFunctionSeries.inside, x * x) }
  // From 3.9 on the result is one.
  let clamped = min(magnitude, 4)
  let result = 1 - exponential(series(ErrorFunctionSeries.outside, clamped))
  return x < 0 ? -result : result
}
