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

    func pair(_ magnitude: UInt32) -> UInt32 { magnitude << 16 | magnitude }
    let t = (0..<7).map { pair(last(thresholds[$0])) }
    self.thresholds = (t[0], t[1], t[2], t[3], t[4], t[5], t[6], pair(last(6)))

    let scale = rule.scaleFormat.value(ofCode: choice.scaleCode)
    let v = (0..<8).map { code in
      let value = Float(Float4E2M1(bitPattern: UInt8(code))) * scale
      return rule.tensorScale?.applied(to: value) ?? value
    }
    values = (v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7])
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
