// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import Testing
import _BlockScaleTestSupport

/// What a recipe's rule makes of a matrix, written down one value at a time with the conversions of
/// Minifloat, without the vector code that it checks.
struct ScalarReference<Element: BlockElement> {
  var codes: [Element] = []
  var scales: [UInt8] = []
  var saturatedCount = 0
  var dequantized: [Float]

  init(_ values: [Float], rows: Int, columns: Int, blocking: Blocking, rule: BlockRule) {
    let grid = blocking.grid(rows: rows, columns: columns)
    codes = Array(repeating: Element(bitPattern: 0), count: values.count)
    dequantized = Array(repeating: 0, count: values.count)
    for blockRow in 0..<grid.rows {
      for blockColumn in 0..<grid.columns {
        var members: [Int] = []
        for row in 0..<min(blocking.rows, rows) {
          for column in 0..<min(blocking.columns, columns) {
            let place = (
              row: blockRow * min(blocking.rows, rows) + row,
              column: blockColumn * min(blocking.columns, columns) + column
            )
            if place.row < rows, place.column < columns {
              members.append(place.row * columns + place.column)
            }
          }
        }
        encode(values, members, rule, isWhole: blocking == .tensor)
      }
    }
  }

  private mutating func encode(
    _ values: [Float], _ members: [Int], _ rule: BlockRule, isWhole: Bool
  ) {
    let magnitudes = members.map { values[$0].magnitude }
    var choice =
      if rule.hidesNonFinite {
        rule.choose(magnitudes.filter { !$0.isNaN }.max() ?? 0)
      } else if magnitudes.allSatisfy(\.isFinite) {
        rule.choose(magnitudes.max()!)
      } else {
        rule.nonFiniteChoice
      }
    if let alternative = rule.alternative, !isWhole, let maximum = magnitudes.max(),
      magnitudes.allSatisfy(\.isFinite)
    {
      let second = alternative.choose(maximum)
      let errors = [choice, second].map { candidate in
        members.reduce(Float(0)) { sum, index in
          let scaled =
            rule.element.divides
            ? values[index] / candidate.factor : values[index] * candidate.factor
          let element = code(scaled, values[index], rule.element, isErased: candidate.isErased)
          let scale = rule.scaleFormat.value(ofCode: candidate.scaleCode)
          let decoded = Float(element) * scale * alternative.multiplier / alternative.divisor
          let difference = decoded - values[index]
          return sum
            + (alternative.measure == .squaredError ? difference * difference : abs(difference))
        }
      }
      if errors[1] < errors[0] { choice = second }
    }
    for byte in 0..<rule.scaleFormat.byteCount {
      scales.append(UInt8(truncatingIfNeeded: choice.scaleCode >> UInt32(8 * byte)))
    }
    let scale = rule.scaleFormat.value(ofCode: choice.scaleCode)
    let scaledGreatest = rule.element.format.greatestFiniteMagnitude * scale
    // A value may exceed the largest code by a millionth because the scale was rounded to FP32.
    let greatest = (rule.tensorScale?.applied(to: scaledGreatest) ?? scaledGreatest) * 0x1.00001p0
    for index in members {
      let value = values[index]
      let quotient = rule.element.divides ? value / choice.factor : value * choice.factor
      let scaled = rule.element.intermediate.rounded(quotient)
      if greatest > 0, value.magnitude > greatest { saturatedCount += 1 }
      codes[index] = code(scaled, value, rule.element, isErased: choice.isErased)
      let decoded = Float(codes[index]) * scale
      dequantized[index] = rule.tensorScale?.applied(to: decoded) ?? decoded
    }
  }

  private func code(
    _ scaled: Float, _ value: Float, _ rule: ElementRule, isErased: Bool
  ) -> Element {
    // A NaN that the scale made of a zero (0 * infinity) has no E2M1 code; the engine stores zero.
    let isLost = scaled.isNaN && rule.format == .e2m1
    let magnitude =
      isLost
      ? 0
      : Element(Double(scaled.magnitude), ties: rule.ties, overflow: .saturate).bitPattern
    let isNegative =
      switch rule.zeroSign {
      case .kept: value.sign == .minus && !isErased
      case .keptUnlessInputIsZero: value.sign == .minus && value != 0 && !isErased
      case .positive: value.sign == .minus && magnitude != 0
      case .negativeForZeroInput: value.sign == .minus || value == 0
      }
    let signBit: UInt8 = 1 << UInt8(rule.format.bitWidth - 1)
    return Element(bitPattern: (magnitude & ~signBit) | (isNegative ? signBit : 0))
  }
}

/// Random matrices that reach the corners of a source type.
enum TestData: String, Sendable, CaseIterable, CustomTestStringConvertible {
  case normal, heavyTailed, tiny, huge

  var testDescription: String { rawValue }

  func values(_ count: Int, seed: UInt64, as format: SourceFormat) -> [Float] {
    var generator = SplitMix(seed: seed)
    return (0..<count).map { index in
      let normal = generator.normal()
      let uniform = Float.random(in: 0.0001..<1, using: &generator)
      // Zeros of both signs among the others.
      if generator.next() % 16 == 0 { return generator.next() % 2 == 0 ? 0 : -0.0 }
      let value: Float =
        switch self {
        case .normal: normal * 0.02
        case .heavyTailed: normal * 0.02 / (uniform * uniform)
        // Around the smallest normal number and far into the subnormals.
        case .tiny: normal * (format == .float16 ? 0x1p-15 : 0x1p-127) * uniform * uniform * 8
        case .huge: normal * (format == .float16 ? 0x1p13 : 0x1p124)
        }
      let limit: Float = format == .float16 ? 65504 : .greatestFiniteMagnitude
      return format.rounded(min(max(value, -limit), limit))
    }
  }
}
