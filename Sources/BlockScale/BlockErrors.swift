// SPDX-License-Identifier: Apache-2.0

/// Error sums of sixteen lanes, gathered while values are at hand and merged later.
struct BlockErrors {
  private var signalLow = SIMD8<Double>()
  private var signalHigh = SIMD8<Double>()
  private var errorLow = SIMD8<Double>()
  private var errorHigh = SIMD8<Double>()
  private var maximum = SIMD16<Int32>()
  private var saturated = SIMD16<Int32>()
  private var underflowed = SIMD16<Int32>()
  private var nonFinite = SIMD16<Int32>()
  private var count = 0

  @inline(__always)
  mutating func add(
    reference: SIMD16<Float>, candidate: SIMD16<Float>, saturated clipped: SIMD16<Int32>,
    count newCount: Int
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
    // Sums in Double: squares of floats overflow and underflow a Float.
    let xLow = SIMD8<Double>(x.lowHalf)
    let xHigh = SIMD8<Double>(x.highHalf)
    let dLow = SIMD8<Double>(difference.lowHalf)
    let dHigh = SIMD8<Double>(difference.highHalf)
    signalLow += xLow * xLow
    signalHigh += xHigh * xHigh
    errorLow += dLow * dLow
    errorHigh += dHigh * dHigh
    maximum = maximum.maximum(difference.magnitudeBits)
    saturated &+= clipped & ~nonFiniteLanes
    underflowed &+= y.zeroLanes & ~x.zeroLanes
    nonFinite &+= nonFiniteLanes
    count += newCount
  }

  /// Moves the sums into `metrics`.
  mutating func flush(into metrics: inout ErrorMetrics) {
    var part = ErrorMetrics()
    part.nonFiniteCount = -Int(nonFinite.wrappedSum())
    part.count = count - part.nonFiniteCount
    part.signalPower = signalLow.sum() + signalHigh.sum()
    part.errorPower = errorLow.sum() + errorHigh.sum()
    part.maximumError = Float(bitPattern: UInt32(maximum.max()))
    part.saturatedCount = -Int(saturated.wrappedSum())
    part.underflowedCount = -Int(underflowed.wrappedSum())
    metrics.merge(part)
    self = BlockErrors()
  }
}
