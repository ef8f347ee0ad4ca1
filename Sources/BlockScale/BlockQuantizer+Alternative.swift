// SPDX-License-Identifier: Apache-2.0

import Minifloat

extension BlockQuantizer {
  /// Takes the rule's alternative for a block if its error is strictly smaller.
  ///
  /// Errors are summed one value after the other in FP32, as the producers' kernels do, so that near
  /// ties fall the same way.
  ///
  /// - Complexity: Two encodings of the block.
  @inline(__always)
  func preferred<Source: SourceValue, Encoder: ElementEncoder>(
    _ first: BlockRule.Choice, or alternative: BlockRule.Alternative, maximum: Float,
    _ panel: Panel, as type: Source.Type, encoder: Encoder, rows: Range<Int>, columns: Range<Int>
  ) -> BlockRule.Choice {
    let second = alternative.choose(maximum)

    func errors(_ choice: BlockRule.Choice, _ values: SIMD16<Float>) -> SIMD16<Float> {
      let scaled = rule.element.divides ? values / choice.factor : values * choice.factor
      let scale = rule.scaleFormat.value(ofCode: choice.scaleCode)
      let decoded =
        encoder.encode(scaled, source: values).values * scale * alternative.multiplier
        / alternative.divisor
      let difference = decoded - values
      return switch alternative.measure {
      case .absoluteError: SIMD16<Float>(bits: difference.magnitudeBits)
      case .squaredError: difference * difference
      }
    }

    var sums = SIMD2<Float>()
    for row in rows {
      for column in stride(from: columns.lowerBound, to: columns.upperBound, by: 16) {
        // Inside the panel, whose extents were checked. Lanes past the block are zero and add none.
        let values = unsafe Source.load(
          panel.address(row, column, source), count: columns.upperBound - column)
        let (firstErrors, secondErrors) = (errors(first, values), errors(second, values))
        for lane in 0..<16 { sums += SIMD2(firstErrors[lane], secondErrors[lane]) }
      }
    }
    return sums.y < sums.x ? second : first
  }
}
