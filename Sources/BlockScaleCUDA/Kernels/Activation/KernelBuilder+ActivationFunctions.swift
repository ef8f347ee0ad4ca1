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

  /// (1 + erf(x / √2)) / 2; of NaN a number, which whoever multiplies by the value turns into NaN.
  func normalDistribution(_ x: Value<Float>) -> Value<Float> {
    (errorFunction(x / 1.414_213_6) + 1) * 0.5
  }

  /// x·Φ(x).
  func gelu(_ x: Value<Float>) -> Value<Float> { x * normalDistribution(x) }

  /// The derivative of GELU: Φ(x) + x·e^(−x²/2) / √(2π).
  func geluDerivative(_ x: Value<Float>) -> Value<Float> {
    let lowest: Float = -87.33654
    let half = -(x * x) * 0.5
    let power = (half .< lowest).select(
      Value<Float>(0), exponential(maximum(half, Value(lowest))))
    return normalDistribution(x) + x * power / 2.506_628_3
  }

  private func errorFunction(_ x: Value<Float>) -> Value<Float> {
    func series(_ coefficients: [Float], _ x: Value<Float>) -> Value<Float> {
      let last = coefficients.count - 1
      return coefficients[..<(last - 1)].reversed().reduce(
        x * coefficients[last] + coefficients[last - 1]
      ) { $0 * x + $1 }
    }
    let magnitude = x.magnitude
    let inside = x + x * series(ErrorFunctionSeries.inside, x * x)
    // Inside, this is not used; the exponential needs no more than its range.
    let clamped = maximum(minimum(magnitude, Value(4)), Value(1))
    let outside = 1 - exponential(series(ErrorFunctionSeries.outside, clamped))
    let signed = (outside.bits | (x.bits & 0x8000_0000)).floatFromBits
    return (magnitude .< 1).select(inside, signed)
  }

  /// e^x for x from −87.33654 to 88.72283.
  func exponential(_ x: Value<Float>) -> Value<Float> {
    let shifted = x.multiplied(by: Value(1.442_695_04), adding: Value(12_582_912))
    let n = shifted - 12_582_912
    let z = n.multiplied(
      by: Value(2.121_944_40e-4 as Float),
      adding: n.multiplied(by: Value(-0.693_359_375 as Float), adding: x))
    let coefficients = ExponentialSeries.coefficients
    let series = coefficients[..<5].reversed().reduce(
      z.multiplied(by: Value(coefficients[6]), adding: Value(coefficients[5]))
    ) { $0.multiplied(by: z, adding: Value($1)) }
    // The power of two is added to the exponent; what lies above it in the sum is shifted out.
    return (series.bits + (shifted.bits << 23)).floatFromBits
  }
}
