// SPDX-License-Identifier: Apache-2.0

import PTX

extension Warp {
  @inline(__always)
  func binaryInteger<Word: FixedWidthInteger & BitwiseCopyable>(
    _: Word.Type, _ operation: BinaryOperation, _ d: Place, _ a: Place, _ b: Place, _ mask: UInt32
  ) {
    switch operation {
    case .add: map(d, a, b, mask) { (x: Word, y: Word) in x &+ y }
    case .subtract: map(d, a, b, mask) { (x: Word, y: Word) in x &- y }
    case .multiply: map(d, a, b, mask) { (x: Word, y: Word) in x &* y }
    case .multiplyHigh:
      map(d, a, b, mask) { (x: Word, y: Word) in x.multipliedFullWidth(by: y).high }
    // The hardware's results for a division by zero have all bits set.
    case .divide:
      map(d, a, b, mask) { (x: Word, y: Word) in
        y == 0 ? ~0 : x.dividedReportingOverflow(by: y).partialValue
      }
    case .remainder:
      map(d, a, b, mask) { (x: Word, y: Word) in
        y == 0 ? ~0 : x.remainderReportingOverflow(dividingBy: y).partialValue
      }
    case .minimum, .minimumNaN: map(d, a, b, mask) { (x: Word, y: Word) in x < y ? x : y }
    case .maximum, .maximumNaN: map(d, a, b, mask) { (x: Word, y: Word) in x > y ? x : y }
    case .and: map(d, a, b, mask) { (x: Word, y: Word) in x & y }
    case .or: map(d, a, b, mask) { (x: Word, y: Word) in x | y }
    case .xor: map(d, a, b, mask) { (x: Word, y: Word) in x ^ y }
    // Shifts by more than the width give what a shift by the width gives, as Swift's do.
    case .shiftLeft: map(d, a, b, mask) { (x: Word, y: UInt32) in x << y }
    case .shiftRight: map(d, a, b, mask) { (x: Word, y: UInt32) in x >> y }
    case .multiplyWide: preconditionFailure("wide products are decoded apart")
    case .addTowardZero: preconditionFailure("decoding refuses \(operation) of integers")
    }
  }

  func compareIntegers<Word: FixedWidthInteger & BitwiseCopyable>(
    _: Word.Type, _ comparison: Comparison, _ a: Place, _ b: Place, _ mask: UInt32
  ) -> UInt32 {
    switch comparison {
    case .equal: test(a, b, mask) { (x: Word, y: Word) in x == y }
    case .notEqual, .notEqualOrNaN: test(a, b, mask) { (x: Word, y: Word) in x != y }
    case .less: test(a, b, mask) { (x: Word, y: Word) in x < y }
    case .lessOrEqual: test(a, b, mask) { (x: Word, y: Word) in x <= y }
    case .greater: test(a, b, mask) { (x: Word, y: Word) in x > y }
    case .greaterOrEqual: test(a, b, mask) { (x: Word, y: Word) in x >= y }
    case .unordered: 0
    }
  }

  func compareFloats<Word: BinaryFloatingPoint & BitwiseCopyable>(
    _: Word.Type, _ comparison: Comparison, _ a: Place, _ b: Place, _ mask: UInt32
  ) -> UInt32 {
    test(a, b, mask) { (x: Word, y: Word) in comparison.holds(x, y) }
  }

  func binaryFloat(
    _ operation: BinaryOperation, _ d: Place, _ a: Place, _ b: Place, _ mask: UInt32
  ) {
    switch operation {
    case .add: map(d, a, b, mask) { (x: Float, y: Float) in canonical(x + y) }
    case .addTowardZero:
      map(d, a, b, mask) { (x: Float, y: Float) in
        canonical(towardZero(sumToOdd(Double(x), Double(y))))
      }
    case .subtract: map(d, a, b, mask) { (x: Float, y: Float) in canonical(x - y) }
    case .multiply: map(d, a, b, mask) { (x: Float, y: Float) in canonical(x * y) }
    case .divide: map(d, a, b, mask) { (x: Float, y: Float) in canonical(x / y) }
    case .minimum: map(d, a, b, mask) { (x: Float, y: Float) in canonical(smaller(x, y)) }
    case .maximum: map(d, a, b, mask) { (x: Float, y: Float) in canonical(larger(x, y)) }
    case .minimumNaN:
      map(d, a, b, mask) { (x: Float, y: Float) in
        canonical(x.isNaN || y.isNaN ? .nan : smaller(x, y))
      }
    case .maximumNaN:
      map(d, a, b, mask) { (x: Float, y: Float) in
        canonical(x.isNaN || y.isNaN ? .nan : larger(x, y))
      }
    default: preconditionFailure("decoding refuses \(operation) of f32")
    }
  }

  func binaryDouble(
    _ operation: BinaryOperation, _ d: Place, _ a: Place, _ b: Place, _ mask: UInt32
  ) {
    switch operation {
    case .add: map(d, a, b, mask) { (x: Double, y: Double) in x + y }
    case .subtract: map(d, a, b, mask) { (x: Double, y: Double) in x - y }
    case .multiply: map(d, a, b, mask) { (x: Double, y: Double) in x * y }
    case .divide: map(d, a, b, mask) { (x: Double, y: Double) in x / y }
    case .minimum: map(d, a, b, mask) { (x: Double, y: Double) in smaller(x, y) }
    case .maximum: map(d, a, b, mask) { (x: Double, y: Double) in larger(x, y) }
    default: preconditionFailure("decoding refuses \(operation) of f64")
    }
  }

  func unaryFloat(_ operation: UnaryOperation, _ d: Place, _ a: Place, _ mask: UInt32) {
    switch operation {
    case .negate: map(d, a, mask) { (x: Float) in canonical(-x) }
    case .absolute: map(d, a, mask) { (x: Float) in canonical(x.magnitude) }
    case .reciprocal: map(d, a, mask) { (x: Float) in canonical(1 / x) }
    case .squareRoot: map(d, a, mask) { (x: Float) in canonical(x.squareRoot()) }
    case .approximateReciprocal, .approximateReciprocalRoot, .approximateExponential2,
      .approximateLogarithm2, .approximateTanh:
      let approximations = block.launch.options.approximations
      map(d, a, mask) { (x: Float) in canonical(approximations.apply(operation, x)) }
    case .not, .populationCount, .leadingZeros, .reverseBits:
      preconditionFailure("decoding refuses \(operation) of f32")
    }
  }

  func unaryDouble(_ operation: UnaryOperation, _ d: Place, _ a: Place, _ mask: UInt32) {
    switch operation {
    case .negate: map(d, a, mask) { (x: Double) in -x }
    case .absolute: map(d, a, mask) { (x: Double) in x.magnitude }
    case .reciprocal: map(d, a, mask) { (x: Double) in 1 / x }
    case .squareRoot: map(d, a, mask) { (x: Double) in x.squareRoot() }
    default: preconditionFailure("decoding refuses \(operation) of f64")
    }
  }
}

extension BinaryOperation {
  var isOfFloatingPoint: Bool {
    switch self {
    case .add, .addTowardZero, .subtract, .multiply, .divide, .minimum, .maximum, .minimumNaN,
      .maximumNaN:
      true
    case .multiplyHigh, .multiplyWide, .remainder, .and, .or, .xor, .shiftLeft, .shiftRight: false
    }
  }
}

extension UnaryOperation {
  var isApproximate: Bool {
    switch self {
    case .approximateReciprocal, .approximateReciprocalRoot, .approximateExponential2,
      .approximateLogarithm2, .approximateTanh:
      true
    default: false
    }
  }
}

extension Comparison {
  @inline(__always)
  func holds<Word: BinaryFloatingPoint>(_ x: Word, _ y: Word) -> Bool {
    switch self {
    case .equal: x == y
    case .notEqual: x < y || x > y
    case .less: x < y
    case .lessOrEqual: x <= y
    case .greater: x > y
    case .greaterOrEqual: x >= y
    case .notEqualOrNaN: !(x == y)
    case .unordered: x.isNaN || y.isNaN
    }
  }
}

/// Its bits in the reverse order.
func reversed<Word: FixedWidthInteger>(_ x: Word) -> Word {
  var result: Word = 0
  for bit in 0..<Word.bitWidth where x >> bit & 1 != 0 {
    result |= 1 << (Word.bitWidth - 1 - bit)
  }
  return result
}

/// Replaces every NaN by the one that the hardware writes.
@inline(__always)
func canonical(_ x: Float) -> Float { x == x ? x : Float(bitPattern: 0x7FFF_FFFF) }

/// The smaller number, −0 below +0; NaN only if both are.
@inline(__always)
func smaller<Word: BinaryFloatingPoint>(_ x: Word, _ y: Word) -> Word {
  if x == y { return x.sign == .minus ? x : y }
  return x < y || y.isNaN ? x : y
}

/// The larger number, +0 above −0; NaN only if both are.
@inline(__always)
func larger<Word: BinaryFloatingPoint>(_ x: Word, _ y: Word) -> Word {
  if x == y { return x.sign == .minus ? y : x }
  return x > y || y.isNaN ? x : y
}

/// A sum whose rounding to fewer bits is that of the exact sum: where it is inexact, its last bit
/// is set ("rounding to odd"), so that it lies on the same side of every midpoint.
@inline(__always)
func sumToOdd(_ x: Double, _ y: Double) -> Double {
  let sum = x + y
  let back = sum - x
  // What the sum lost, exactly (Knuth); NaN where it is infinite.
  let lost = (x - (sum - back)) + (y - back)
  let isInexact = lost > 0 || lost < 0
  guard isInexact, sum.bitPattern & 1 == 0 else { return sum }
  // The neighbour towards the exact sum is the odd one.
  return Double(bitPattern: (lost > 0) == (sum > 0) ? sum.bitPattern + 1 : sum.bitPattern - 1)
}

/// A sum cut off after the last place of FP32; one that is finite stays so.
@inline(__always)
func towardZero(_ sum: Double) -> Float {
  let nearest = Float(sum)
  guard Double(nearest.magnitude) > sum.magnitude else { return nearest }
  return Float(bitPattern: nearest.bitPattern - 1)
}
