// SPDX-License-Identifier: Apache-2.0

import BlockScale
import PTX

// The functions of `ActivationFunctions.swift` and `RangeExpansion.swift` with their bits: the same
// operations in the same order, but for those whose result is the same number.

extension KernelBuilder {
  /// σ of values, several at a time, so that what few of them need costs one test.
  ///
  /// NaN gives 1: whoever multiplies by the value gets NaN.
  func sigmoids(_ values: [Value<Float>]) -> [Value<Float>] {
    let lowest: Float = -87
    let results = values.map { value in
      // Beyond 87 σ is 1 as at it. The sum lies between 1 and 2^126, where a step from the
      // instruction's reciprocal gives the one that is rounded to nearest.
      let sum = exponential(-minimum(value, Value(-lowest))) + 1
      let guess = sum.approximateReciprocal
      let error = (-sum).multiplied(by: guess, adding: Value(1))
      return variable(guess.multiplied(by: error, adding: guess))
    }
    when(reduced(values) { minimum($0, $1) } .< lowest) {
      for (result, value) in zip(results, values) {
        // Larger ones become infinite.
        let limit: Float = 88.72283
        let sigma = (exponential(minimum(-value, Value(limit))) + 1).reciprocal
        let flushed = (-value .> limit).select(Value<Float>(0), sigma)
        result.set(flushed, if: value .< lowest)
      }
    }
    return results.map { $0.value }
  }

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
    let shifted = x * 1.442_695_04 + 12_582_912
    let n = shifted - 12_582_912
    // The product with the short part of ln 2 is exact, so one rounding is as good as two.
    let z =
      n.multiplied(by: Value(-0.693_359_375 as Float), adding: x) - n * (-2.121_944_40e-4 as Float)
    var series = z * (1 / 5040 as Float) + (1 / 720 as Float)
    for coefficient in [1 / 120 as Float, 1 / 24 as Float, 1 / 6 as Float, 0.5, 1, 1] {
      series = series * z + coefficient
    }
    // The power of two is added to the exponent; what lies above it in the sum is shifted out.
    return (series.bits + (shifted.bits << 23)).floatFromBits
  }
}
