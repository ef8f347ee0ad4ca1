// SPDX-License-Identifier: Apache-2.0

// The scalar functions of activations, in FP32 and in this order of operations.
//
// All back ends agree to the bit: they call these, or have the same operations. σ and SiLU are right
// within two units in the last place, and zero below −87.3, where σ is no longer a normal number. Φ, of
// which COAT has `(1 + erf) / 2`, has an absolute error of 1e-7; far below zero, where Φ is smaller than
// that, GELU keeps fewer digits. Products and sums of polynomials are fused.

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

/// Φ(x), the distribution function of the standard normal distribution.
package func normalDistribution(_ x: Float) -> Float {
  let difference = 0.5 - normalTail(x)
  return 0.5 + (x.sign == .minus ? -difference : difference)
}

/// GELU by the error function: x·Φ(x).
package func gelu(_ x: Float) -> Float {
  x * normalDistribution(x)
}

/// The derivative of GELU: Φ(x) + x·φ(x), with φ the density of the standard normal distribution.
///
/// Below zero that is the tail beyond |x| times 1 − |x|·φ(x)/tail, and both sides add up to one. From
/// −9 on down it is −6e-22 instead of zero.
package func geluDerivative(_ x: Float) -> Float {
  let below = normalTail(x) * series(NormalTailSeries.slope, NormalTailSeries.clamped(x))
  return x < 0 ? below : 1 - below
}

/// Polynomials of the normal distribution by the magnitude of x up to ``limit``, from the constant on:
/// minimax of the tail 1 − Φ, or of what is to be multiplied with it, up to 6.25.
package enum NormalTailSeries {
  /// Where the tail is below 1e-24.
  package static let limit: Float = 9
  /// Of the tail's logarithm, within 7.6e-9 of the tail.
  package static let logarithm: [Float] = [
    -0.693147182, -0.797885716, -0.318296582, -0.0363937132, 0.00490434188, -0.00010110825,
    -0.000126532846, 2.67699652e-05, -1.92144671e-06,
  ]
  /// Of 1 − |x|·φ(x)/tail, for the tail that the other polynomial gives: the slope below zero is within
  /// 1e-8 and, up to 6, within 1 %.
  package static let slope: [Float] = [
    1, -0.797881484, -0.636662841, -0.10877312, 0.0184911545, 0.00117401197, -0.00220623217,
    0.000923989457, -0.000232615392, 3.41194755e-05, -2.19606727e-06,
  ]

  static func clamped(_ x: Float) -> Float { x.isNaN ? x : min(x.magnitude, limit) }
}

/// 1 − Φ(|x|).
private func normalTail(_ x: Float) -> Float {
  exponential(series(NormalTailSeries.logarithm, NormalTailSeries.clamped(x)))
}

private func series(_ coefficients: [Float], _ x: Float) -> Float {
  coefficients.dropLast().reversed().reduce(coefficients[coefficients.count - 1]) {
    $1.addingProduct($0, x)
  }
}
