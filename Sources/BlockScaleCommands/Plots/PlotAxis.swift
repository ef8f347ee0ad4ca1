// SPDX-License-Identifier: Apache-2.0

/// A linear axis: a range of values, the places that they have in a picture, and its ticks.
package struct PlotAxis: Sendable {
  /// The values at the two ends.
  package let range: ClosedRange<Double>
  /// The places of the two ends; the second may be the smaller, as for an axis that points up.
  package let ends: (Double, Double)
  /// The distance between ticks: 1, 2 or 5 times a power of ten.
  package let step: Double

  /// An axis whose ends are on ticks, so that it holds every value with a little air.
  package static func rounded(
    _ values: ClosedRange<Double>, ends: (Double, Double), ticks: Int
  ) -> Self {
    // One value alone, or several that are all but equal, get two units to stand in.
    let isFlat = values.upperBound - values.lowerBound < 0.01
    let low = isFlat ? values.lowerBound - 1 : values.lowerBound
    let high = isFlat ? values.upperBound + 1 : values.upperBound
    let step = niceStep(atLeast: (high - low) / Double(ticks))
    // A tenth of a step keeps the marks of the extremes off the frame.
    let first = (low / step - 0.1).rounded(.down) * step
    let last = (high / step + 0.1).rounded(.up) * step
    return Self(range: first...max(last, first + step), ends: ends, step: step)
  }

  /// An axis from zero to the first tick that is not below a value.
  package static func fromZero(to value: Double, ends: (Double, Double), ticks: Int) -> Self {
    let step = niceStep(atLeast: value / Double(ticks))
    return Self(
      range: 0...(value / step * (1 - 1e-9)).rounded(.up) * step, ends: ends, step: step)
  }

  /// An axis of just this range, for whole numbers.
  package static func integers(
    _ values: ClosedRange<Double>, ends: (Double, Double), ticks: Int
  ) -> Self {
    let step = niceStep(atLeast: (values.upperBound - values.lowerBound) / Double(ticks))
    return Self(range: values, ends: ends, step: max(step, 1))
  }

  /// Where a value is in the picture.
  package func place(_ value: Double) -> Double {
    let span = range.upperBound - range.lowerBound
    let fraction = span > 0 ? (value - range.lowerBound) / span : 0.5
    return ends.0 + fraction * (ends.1 - ends.0)
  }

  /// The ticks, in ascending order.
  package var ticks: [Double] {
    // Counted in steps, so that sums of rounding errors do not lose the last one.
    let first = (range.lowerBound / step - 1e-6).rounded(.up)
    let last = (range.upperBound / step + 1e-6).rounded(.down)
    return stride(from: first, through: last, by: 1).map { $0 * step }
  }

  /// A tick's label, with as many digits as the step needs.
  package func label(_ tick: Double) -> String {
    DecimalText.fixed(tick, digits: step >= 1 ? 0 : step >= 0.1 ? 1 : 2)
  }

  /// The least of 1, 2 and 5 times a power of ten that is not below a distance.
  package static func niceStep(atLeast distance: Double) -> Double {
    var power = 0.01
    while power < 1e18 {
      for factor in [1.0, 2, 5] where factor * power >= distance * (1 - 1e-9) {
        return factor * power
      }
      power *= 10
    }
    return power
  }
}
