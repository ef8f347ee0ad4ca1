// SPDX-License-Identifier: Apache-2.0

/// Error sums of sixteen lanes, gathered while values are at hand and merged later.
///
/// Squares are summed in FP32 over runs of at most 128 values, which rounds by less than a millionth, and in
/// Double from run to run. A run whose sums come near the ends of FP32's range is summed in Double instead.
struct BlockErrors {
  /// The most values of a run: eight times sixteen.
  static let run = 128

  private var sums = DoubleSquares()
  private var signal = SIMD16<Float>()
  private var error = SIMD16<Float>()
  /// The run's values and differences, and how many of them there are.
  private var values = InlineArray<8, SIMD16<Float>>(repeating: SIMD16())
  private var differences = InlineArray<8, SIMD16<Float>>(repeating: SIMD16())
  private var length = 0
  private var maximum = SIMD16<Int32>()
  private var saturated = SIMD16<Int32>()
  private var underflowed = SIMD16<Int32>()
  private var nonFinite = SIMD16<Int32>()
  private var count = 0

  private struct DoubleSquares {
    var signalLow = SIMD8<Double>()
    var signalHigh = SIMD8<Double>()
    var errorLow = SIMD8<Double>()
    var errorHigh = SIMD8<Double>()

    static func += (sums: inout DoubleSquares, run: DoubleSquares) {
      sums.signalLow += run.signalLow
      sums.signalHigh += run.signalHigh
      sums.errorLow += run.errorLow
      sums.errorHigh += run.errorHigh
    }
  }

  /// Adds up to sixteen values of a run.
  ///
  /// - Parameter greatest: What a value beyond the largest code of the block exceeds.
  @inline(__always)
  mutating func add(
    reference: SIMD16<Float>, candidate: SIMD16<Float>, greatest: Float, count newCount: Int
  ) {
    if length == values.count { endRun() }
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
    signal += x * x
    error += difference * difference
    values[length] = x
    differences[length] = difference
    length += 1
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
    guard length > 0 else { return }
    let most = SIMD16<Float>(repeating: 0x1p100)
    // A lane of ones is the least number.
    let areAllSmall = ((signal .<= most).lanes & (error .<= most).lanes).max() != 0
    let isOneLarge = (signal .>= SIMD16(repeating: 0x1p-60)).lanes.min() != 0
    if areAllSmall, isOneLarge {
      sums += DoubleSquares(
        signalLow: SIMD8(signal.lowHalf), signalHigh: SIMD8(signal.highHalf),
        errorLow: SIMD8(error.lowHalf), errorHigh: SIMD8(error.highHalf))
    } else {
      sums += runInDouble
    }
    signal = SIMD16()
    error = SIMD16()
    length = 0
  }

  private var runInDouble: DoubleSquares {
    var run = DoubleSquares()
    for index in 0..<length {
      let (x, difference) = (values[index], differences[index])
      let (xLow, xHigh) = (SIMD8<Double>(x.lowHalf), SIMD8<Double>(x.highHalf))
      let dLow = SIMD8<Double>(difference.lowHalf)
      let dHigh = SIMD8<Double>(difference.highHalf)
      run.signalLow += xLow * xLow
      run.signalHigh += xHigh * xHigh
      run.errorLow += dLow * dLow
      run.errorHigh += dHigh * dHigh
    }
    return run
  }

  /// Ends a run and moves the sums into `metrics`.
  mutating func flush(into metrics: inout ErrorMetrics) {
    endRun()
    var part = ErrorMetrics()
    part.nonFiniteCount = -Int(nonFinite.wrappedSum())
    part.count = count - part.nonFiniteCount
    part.signalPower = sums.signalLow.sum() + sums.signalHigh.sum()
    part.errorPower = sums.errorLow.sum() + sums.errorHigh.sum()
    part.maximumError = Float(bitPattern: UInt32(maximum.max()))
    part.saturatedCount = -Int(saturated.wrappedSum())
    part.underflowedCount = -Int(underflowed.wrappedSum())
    metrics.merge(part)
    self = BlockErrors()
  }
}
