// SPDX-License-Identifier: Apache-2.0

/// Error sums of sixteen lanes, gathered while values are at hand and merged later.
///
/// Squares are summed in FP32 over runs of at most 128 values, which rounds by less than a millionth, and in
/// Double from run to run. A run whose sums come near the ends of FP32's range is summed in Double too.
struct BlockErrors {
  /// The values after which a run ends in any case.
  static let run = 128

  private var sums = Squares<Double>()
  private var runInFloat = Squares<Float>()
  private var runInDouble = Squares<Double>()
  private var maximum = SIMD16<Int32>()
  private var saturated = SIMD16<Int32>()
  private var underflowed = SIMD16<Int32>()
  private var nonFinite = SIMD16<Int32>()
  private var count = 0

  private struct Squares<Scalar: SIMDScalar & BinaryFloatingPoint> {
    var signal = SIMD16<Scalar>()
    var error = SIMD16<Scalar>()
  }

  /// Adds up to sixteen values of a run.
  ///
  /// - Parameter greatest: What a value beyond the largest code of the block exceeds.
  @inline(__always)
  mutating func add(
    reference: SIMD16<Float>, candidate: SIMD16<Float>, greatest: Float, count newCount: Int
  ) {
    // Lanes beyond the last value hold zero, which a NaN scale decodes to NaN.
    var candidate = candidate
    if newCount < 16 {
      for lane in newCount..<16 { candidate[lane] = 0 }
    }
    // A NaN or an infinity minus itself is NaN.
    let nonFiniteLanes = ((reference - reference) + (candidate - candidate)).nanLanes
    let x = SIMD16<Float>(bits: reference.bits & ~nonFiniteLanes)
    let y = SIMD16<Float>(bits: candidate.bits & ~nonFiniteLanes)
    let difference = y - x
    runInFloat.signal += x * x
    runInFloat.error += difference * difference
    let (wideX, wideDifference) = (SIMD16<Double>(x), SIMD16<Double>(difference))
    runInDouble.signal += wideX * wideX
    runInDouble.error += wideDifference * wideDifference
    maximum = maximum.maximum(difference.magnitudeBits)
    // With a scale of zero nothing is clipped.
    if greatest > 0 {
      saturated &+= SIMD16<Float>(bits: x.magnitudeBits).lanes(above: greatest)
    }
    underflowed &+= y.zeroLanes & ~x.zeroLanes
    nonFinite &+= nonFiniteLanes
    count += newCount
  }

  /// Ends a run.
  mutating func endRun() {
    let largest = max(runInFloat.signal.max(), runInFloat.error.max())
    if largest <= 0x1p100, runInFloat.signal.max() >= 0x1p-60 {
      sums.signal += SIMD16<Double>(runInFloat.signal)
      sums.error += SIMD16<Double>(runInFloat.error)
    } else {
      sums.signal += runInDouble.signal
      sums.error += runInDouble.error
    }
    runInFloat = Squares()
    runInDouble = Squares()
  }

  /// Ends a run and moves the sums into `metrics`.
  mutating func flush(into metrics: inout ErrorMetrics) {
    endRun()
    var part = ErrorMetrics()
    part.nonFiniteCount = -Int(nonFinite.wrappedSum())
    part.count = count - part.nonFiniteCount
    part.signalPower = sums.signal.lowHalf.sum() + sums.signal.highHalf.sum()
    part.errorPower = sums.error.lowHalf.sum() + sums.error.highHalf.sum()
    part.maximumError = Float(bitPattern: UInt32(maximum.max()))
    part.saturatedCount = -Int(saturated.wrappedSum())
    part.underflowedCount = -Int(underflowed.wrappedSum())
    metrics.merge(part)
    self = BlockErrors()
  }
}
