// SPDX-License-Identifier: Apache-2.0

import Minifloat

extension BlockQuantizer {
  /// How many E4M3 codes below and above the recipe's own are tried.
  ///
  /// On normal and heavy-tailed weights no optimum was seen outside −3…+6: a smaller scale clips the
  /// block's maximum, and a larger one beyond that wastes the format's range.
  static var searchedCodes: ClosedRange<Int> { -3...6 }

  /// Picks the scale of one block of at most sixteen values by least squared error.
  ///
  /// The recipe's own scale wins ties, so a search never does worse in squared error.
  ///
  /// - Complexity: Ten encodings of the block.
  @inline(__always)
  func searchScale<Encoder: ElementEncoder>(
    around choice: BlockRule.Choice, values: SIMD16<Float>, encoder: Encoder
  ) -> BlockRule.Choice {
    guard let factor = rule.factor else { return choice }
    // Errors are compared in units of the tensor scale, where their squares stay in range.
    let multiplier = rule.tensorScale?.multiplier ?? 1
    let target = values / multiplier

    func squaredError(_ candidate: BlockRule.Choice) -> Float {
      let scaled =
        rule.element.divides ? values / candidate.factor : values * candidate.factor
      let scale = rule.scaleFormat.value(ofCode: candidate.scaleCode)
      let difference = encoder.encode(scaled, source: values).values * scale - target
      return (difference * difference).sum()
    }

    var best = choice
    var leastError = squaredError(choice)
    for delta in Self.searchedCodes where delta != 0 {
      let code = Int(choice.scaleCode) + delta
      // A code of zero would erase the block, and 0x7F is NaN.
      guard code >= 1, code <= 0x7E else { continue }
      let candidate = BlockRule.Choice(scaleCode: UInt32(code), factor: factor(UInt32(code)))
      let error = squaredError(candidate)
      if error < leastError { (best, leastError) = (candidate, error) }
    }
    return best
  }
}
