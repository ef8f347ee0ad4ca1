// SPDX-License-Identifier: Apache-2.0

import BlockScale
import PTX

// The functions of `ActivationFunctions.swift` and `RangeExpansion.swift` with their bits: the same
// operations in the same order, but for those whose result is the same number.

extension KernelBuilder {
  /// σ of a value; NaN gives a number, and whoever multiplies by the value gets NaN.
  func sigmoid(_ value: Value<Float>) -> Value<Float> {
    // Beyond 87 σ is 1 as at it. Below −87.3 it is subnormal, of which the instruction makes the zero
    // that it is to be and the step leaves it; −88 has the same and a finite sum.
    let sum = exponential(-maximum(minimum(value, Value(87)), Value(-88))) + 1
    return sum.reciprocalOfNormal
  }

  /// σ of values.
  func sigmoids(_ values: [Value<Float>]) -> [Value<Float>] { values.map { sigmoid($0) } }

  /// x·σ(x) of values.
  func silus(_ values: [Value<Float>]) -> [Value<Float>] {
    zip(values, sigmoids(values)).map { $0 * $1 }
  }

  /// The derivatives of SiLU: σ + x·σ·(1 − σ).
  func siluDerivatives(_ values: [Value<Float>]) -> [Value<Float>] {
    zip(values, sigmoids(values)).map { $1 + $0 * $1 * (1 - $1) }
  }

  /// x·Φ(x).
  func gelu(_ x: Value<Float>) -> Value<Float> {
    let tail = exponential(series(NormalTailSeries.logarithm, clampedMagnitude(x)))
    let difference = (0.5 - tail).bits ^ (x.bits & 0x8000_0000)
    return x * (difference.floatFromBits + 0.5)
  }

  /// The derivative of GELU: Φ(x) + x·φ(x).
  func geluDerivative(_ x: Value<Float>) -> Value<Float> {
    let magnitude = clampedMagnitude(x)
    let tail = exponential(series(NormalTailSeries.logarithm, magnitude))
    let below = tail * series(NormalTailSeries.slope, magnitude)
    return (x .< 0).select(below, 1 - below)
  }

  /// NaN stays one, though the exponential makes a number of it.
  private func clampedMagnitude(_ x: Value<Float>) -> Value<Float> {
    minimumOrNaN(x.magnitude, Value(NormalTailSeries.limit))
  }

  private func series(_ coefficients: [Float], _ x: Value<Float>) -> Value<Float> {
    let last = coefficients.count - 1
    return coefficients[..<(last - 1)].reversed().reduce(
      x.multiplied(by: Value(coefficients[last]), adding: Value(coefficients[last - 1]))
    ) { $0.multiplied(by: x, adding: Value($1)) }
  }

  /// e^x for x from −87.33654 to 88.72283.
  func exponential(_ x: Value<Float>) -> Value<Float> {
    let shifted = x.multiplied(by: Value(1.442_695_04), adding: Value(12_582_912))
    let n = shifted - 12_582_912
    let z = n.multiplied(
      by: Value(2.121_944_40e-4 as Float),
      adding: n.multiplied(by: Value(-0.693_359_375 as Float), adding: x))
    let series = series(ExponentialSeries.coefficients, z)
    // The power of two is added to the exponent; what lies above it in the sum is shifted out.
    return (series.bits + (shifted.bits << 23)).floatFromBits
  }
}
