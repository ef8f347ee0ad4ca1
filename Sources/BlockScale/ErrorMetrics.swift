// SPDX-License-Identifier: Apache-2.0

import RealModule

/// How far quantized values lie from the values that they stand for.
///
/// Sums are kept in `Double`, but for those of up to 128 values that are being quantized, which FP32 rounds by less
/// than a millionth; metrics of parts of a tensor merge into those of the whole.
public struct ErrorMetrics: Sendable, Hashable {
  /// The number of finite values compared.
  public var count = 0
  /// The sum of the squares of the reference values.
  public var signalPower = 0.0
  /// The sum of the squares of the differences.
  public var errorPower = 0.0
  /// The largest absolute difference.
  public var maximumError: Float = 0
  /// The values that exceed what the largest code of their block decodes to by more than a millionth.
  public var saturatedCount = 0
  /// The nonzero values that became zero.
  public var underflowedCount = 0
  /// The values that were NaN or infinite, in the reference or in what is compared to it.
  public var nonFiniteCount = 0

  /// Creates the metrics of nothing.
  public init() {}

  /// The signal-to-quantization-noise ratio in decibels; infinite where nothing differs.
  ///
  /// 10·log₁₀(Σx² / Σ(x − y)²), the measure of torchao's tests.
  public var sqnr: Double {
    errorPower == 0 ? .infinity : 10 * Double.log10(signalPower / errorPower)
  }

  /// The normalized mean squared error Σ(x − y)² / Σx²; zero where nothing differs.
  public var nmse: Double { errorPower == 0 ? 0 : errorPower / signalPower }

  /// Adds the metrics of another part of the same tensor.
  public mutating func merge(_ other: ErrorMetrics) {
    count += other.count
    signalPower += other.signalPower
    errorPower += other.errorPower
    maximumError = max(maximumError, other.maximumError)
    saturatedCount += other.saturatedCount
    underflowedCount += other.underflowedCount
    nonFiniteCount += other.nonFiniteCount
  }

  /// Compares two runs of values of the same length.
  ///
  /// - Precondition: Both have the same length.
  /// - Complexity: O(*n*).
  public init(reference: [Float], candidate: [Float]) {
    precondition(reference.count == candidate.count, "Only tensors of one shape can be compared")
    for (x, y) in zip(reference, candidate) { add(reference: x, candidate: y) }
  }

  /// Compares one value.
  package mutating func add(reference x: Float, candidate y: Float) {
    guard x.isFinite, y.isFinite else {
      nonFiniteCount += 1
      return
    }
    count += 1
    let difference = Double(x) - Double(y)
    signalPower += Double(x) * Double(x)
    errorPower += difference * difference
    maximumError = max(maximumError, Float(difference.magnitude))
    if y == 0, x != 0 { underflowedCount += 1 }
  }
}
