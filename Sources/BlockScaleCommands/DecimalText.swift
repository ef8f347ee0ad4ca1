// SPDX-License-Identifier: Apache-2.0

/// Writes numbers in decimal, correctly rounded.
///
/// Every finite `Double` is a finite decimal, so the digits are computed exactly and rounded once:
/// ties go to the even digit, as in C's `printf`.
package enum DecimalText {
  /// The number with a fixed count of digits behind the point: `-3.10`.
  ///
  /// A number that rounds to zero has no sign.
  package static func fixed(_ value: Double, digits: Int) -> String {
    guard value.isFinite else { return special(value) }
    var decimal = ExactDecimal(magnitude: value.magnitude)
    decimal.round(toCount: decimal.point + digits)
    let whole = decimal.text(from: 0, to: decimal.point)
    let sign = value < 0 && !decimal.digits.isEmpty ? "-" : ""
    let fraction = decimal.text(from: decimal.point, to: decimal.point + digits)
    return sign + (whole.isEmpty ? "0" : whole) + (digits > 0 ? "." + fraction : "")
  }

  /// The number with a fixed count of significant digits and an exponent: `9.05e-03`.
  package static func scientific(_ value: Double, digits: Int = 3) -> String {
    guard value.isFinite else { return special(value) }
    var decimal = ExactDecimal(magnitude: value.magnitude)
    decimal.round(toCount: digits)
    let exponent = decimal.digits.isEmpty ? 0 : decimal.point - 1
    let power = String(exponent.magnitude)
    return (value < 0 ? "-" : "") + decimal.text(from: 0, to: 1)
      + (digits > 1 ? "." + decimal.text(from: 1, to: digits) : "")
      + (exponent < 0 ? "e-" : "e+") + (power.count < 2 ? "0" : "") + power
  }

  private static func special(_ value: Double) -> String {
    value.isNaN ? "nan" : value < 0 ? "-inf" : "inf"
  }
}

/// A non-negative number as all of its decimal digits: 0.d₀d₁d₂… × 10^point.
private struct ExactDecimal {
  /// The digits, without leading zeros; empty for zero.
  var digits: [UInt8]
  /// How many of the digits stand before the decimal point; may be negative or beyond the last.
  var point: Int

  init(magnitude: Double) {
    guard magnitude > 0 else {
      digits = []
      point = 0
      return
    }
    // The number is odd × 2^power. A negative power is a power of five over a power of ten, so
    // that whole numbers do for both signs.
    let width = magnitude.significandWidth
    let odd = UInt64(magnitude.significand * Double(UInt64(1) << UInt64(width)))
    let power = Int(magnitude.exponent) - width
    var number = BigDecimal(odd)
    if power >= 0 {
      number.multiply(by: 2, times: power)
    } else {
      number.multiply(by: 5, times: -power)
    }
    digits = number.digits
    point = digits.count + min(power, 0)
  }

  /// Keeps `count` digits, which may be none or less; the point moves where a carry does.
  mutating func round(toCount count: Int) {
    guard count < digits.count else { return }
    guard count >= 0 else {
      digits = []
      return
    }
    let first = digits[count]
    let isOdd = count > 0 && !digits[count - 1].isMultiple(of: 2)
    let isTie = first == 5 && digits[(count + 1)...].allSatisfy { $0 == 0 }
    let roundsUp = isTie ? isOdd : first >= 5
    digits.removeSubrange(count...)
    guard roundsUp else { return }
    var index = count - 1
    while index >= 0, digits[index] == 9 {
      digits[index] = 0
      index -= 1
    }
    if index >= 0 {
      digits[index] += 1
    } else {
      digits.insert(1, at: 0)
      point += 1
    }
  }

  /// The digits of a range of places, counted from the first digit; zeros where there is none.
  func text(from start: Int, to end: Int) -> String {
    var text = ""
    var place = start
    while place < end {
      text.append(String(digits.indices.contains(place) ? digits[place] : 0))
      place += 1
    }
    return text
  }
}

/// A whole number of any size, in limbs of nine decimal digits, the lowest first.
private struct BigDecimal {
  private var limbs: [UInt64]

  private static let base: UInt64 = 1_000_000_000

  init(_ value: UInt64) {
    limbs = []
    var rest = value
    while rest > 0 {
      limbs.append(rest % Self.base)
      rest /= Self.base
    }
  }

  /// Multiplies by a power of a small number.
  mutating func multiply(by factor: UInt64, times: Int) {
    var left = times
    while left > 0 {
      // A limb times 5¹³, the greatest factor here, stays far below 2⁶⁴.
      let step = min(left, 13)
      var product: UInt64 = 1
      for _ in 0..<step { product *= factor }
      var carry: UInt64 = 0
      for index in limbs.indices {
        carry += limbs[index] * product
        limbs[index] = carry % Self.base
        carry /= Self.base
      }
      while carry > 0 {
        limbs.append(carry % Self.base)
        carry /= Self.base
      }
      left -= step
    }
  }

  /// The decimal digits, the highest first.
  var digits: [UInt8] {
    var digits: [UInt8] = []
    for limb in limbs.reversed() {
      let text = String(limb)
      if !digits.isEmpty { digits += repeatElement(0, count: 9 - text.utf8.count) }
      digits += text.utf8.map { $0 - UInt8(ascii: "0") }
    }
    return digits
  }
}
