// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import _BlockScaleShims

extension bs_e2m1_entry_t {
  /// Works out which 16-bit magnitudes lie beyond each threshold of a block.
  ///
  /// What a rule does with a value never decreases with its magnitude, so that each threshold is the
  /// largest magnitude which does not exceed it; it is found by trying those around a first guess.
  init(_ choice: BlockRule.Choice, rule: BlockRule, source: SourceFormat) {
    self.init()
    let element = rule.element
    let thresholds = element.ties.e2m1Thresholds
    let largest = source.infinityBits - 1

    /// The largest finite magnitude that is not beyond `threshold`, or one beyond all.
    func last(_ threshold: Float) -> UInt32 {
      func exceeds(_ magnitude: UInt32) -> Bool {
        let value = source.value(ofMagnitude: magnitude)
        let scaled = element.divides ? value / choice.factor : value * choice.factor
        return element.intermediate.rounded(scaled) > threshold
      }
      let guess = element.divides ? threshold * choice.factor : threshold / choice.factor
      var magnitude = min(source.magnitude(below: guess), largest)
      while magnitude > 0, exceeds(magnitude) { magnitude -= 1 }
      while magnitude < largest, !exceeds(magnitude + 1) { magnitude += 1 }
      return magnitude == largest ? 0x7FFF : magnitude
    }

    // Lanes, since arrays would cost more than all else here.
    var lasts = SIMD8<UInt32>()
    for index in 0..<7 { lasts[index] = last(thresholds[index]) }
    // Eight words of C are as many lanes.
    self.thresholds = unsafe unsafeBitCast(lasts &<< 16 | lasts, to: type(of: self.thresholds))
  }
}

extension bs_e2m1_cells_t {
  /// The steps of a block's codes by cells; see `bs_e2m1_cells_t`.
  ///
  /// - Returns: nil where two steps fall into one cell or sixteen cells do not reach the maximum.
  init?(_ entry: bs_e2m1_entry_t, scaleCode: UInt32, upTo maximum: UInt32) {
    self.init()
    // Eight words of C are as many lanes.
    let thresholds = unsafe unsafeBitCast(entry.thresholds, to: SIMD8<UInt32>.self)
    let second = thresholds[1] & 0xFFFF
    guard maximum <= second || (maximum - second) / 32 < 16 else { return nil }
    /// The distance from which on a code is one more.
    func step(_ index: Int) -> Int { Int((thresholds[index] & 0xFFFF) - second) + 1 }
    var bytes = SIMD16<UInt8>()
    var before = 0
    for cell in 0..<16 {
      var carry = 0
      if before < 6, thresholds[before + 1] & 0xFFFF < maximum, step(before + 1) < 32 * cell + 32 {
        before += 1
        carry = 32 - step(before) % 32
        guard before == 6 || step(before + 1) >= 32 * cell + 32 else { return nil }
      }
      bytes[cell] = UInt8(
        truncatingIfNeeded: (carry > 0 ? before - 1 : before) * 32 + carry - 32 * cell)
    }
    first = thresholds[0]
    self.second = thresholds[1]
    // Sixteen bytes of C are as many lanes.
    self.bytes = unsafe unsafeBitCast(bytes, to: type(of: self.bytes))
    scale = UInt8(truncatingIfNeeded: scaleCode)
    is_known = 1
  }
}

extension SourceFormat {
  /// The bits of a magnitude near `value` and not above it; those of infinity for NaN.
  fileprivate func magnitude(below value: Float) -> UInt32 {
    guard value.isFinite else { return infinityBits }
    switch self {
    case .float32: return value.bitPattern
    case .bfloat16: return value.bitPattern >> 16
    case .float16: return UInt32(Float16(value).bitPattern)
    }
  }
}
