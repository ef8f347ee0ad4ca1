// SPDX-License-Identifier: Apache-2.0

// Each operator appends one instruction. Constants are Swift's Int and Float.

extension Value {
  func unary(_ operation: UnaryOperation, _ k: KernelBuilder? = nil) -> Value {
    let k = Self.builder(k, builder)
    let result = k.register(Type.scalar.registerKind)
    k.append(.unary(operation, Type.scalar, result, operand))
    return Value(result, k, uniform: isUniform)
  }

  func binary(_ operation: BinaryOperation, _ other: Value) -> Value {
    let k = Self.builder(builder, other.builder)
    let result = k.register(Type.scalar.registerKind)
    k.append(.binary(operation, Type.scalar, result, operand, other.operand))
    return Value(result, k, uniform: isUniform && other.isUniform)
  }

  func ternary(_ operation: TernaryOperation, _ second: Value, _ third: Value) -> Value {
    let k = Self.builder(builder, second.builder, third.builder)
    let result = k.register(Type.scalar.registerKind)
    k.append(.ternary(operation, Type.scalar, result, operand, second.operand, third.operand))
    return Value(result, k, uniform: isUniform && second.isUniform && third.isUniform)
  }

  func compared(_ comparison: Comparison, _ other: Value) -> Value<Bool> {
    let k = Self.builder(builder, other.builder)
    let result = k.register(.predicate)
    k.append(.compare(comparison, Type.scalar, result, operand, other.operand))
    return Value<Bool>(result, k, uniform: isUniform && other.isUniform)
  }

  static func builder(_ candidates: KernelBuilder?...) -> KernelBuilder {
    for case let builder? in candidates { return builder }
    preconditionFailure("an operation of constants alone: compute it in Swift")
  }
}

// MARK: Integers

extension Value where Type: IntegerRegisterValue {
  package static func + (left: Value, right: Value) -> Value { left.binary(.add, right) }
  package static func + (left: Value, right: Int) -> Value {
    right == 0 ? left : left + Value(right)
  }
  package static func - (left: Value, right: Value) -> Value { left.binary(.subtract, right) }
  package static func - (left: Value, right: Int) -> Value {
    right == 0 ? left : left - Value(right)
  }
  package static func - (left: Int, right: Value) -> Value { Value(left) - right }
  package static func * (left: Value, right: Value) -> Value { left.binary(.multiply, right) }
  package static func * (left: Value, right: Int) -> Value {
    right == 1 ? left : left * Value(right)
  }
  package static func / (left: Value, right: Value) -> Value { left.binary(.divide, right) }
  /// Of unsigned numbers by a power of two it is a shift: `ptxas` divides by what it is told.
  package static func / (left: Value, right: Int) -> Value {
    if !Type.isSigned, right > 0, right & (right - 1) == 0 {
      return right == 1 ? left : left >> right.trailingZeroBitCount
    }
    return left / Value(right)
  }
  package static func % (left: Value, right: Value) -> Value { left.binary(.remainder, right) }
  package static func % (left: Value, right: Int) -> Value {
    !Type.isSigned && right > 0 && right & (right - 1) == 0
      ? left & (right - 1) : left % Value(right)
  }
  package static func & (left: Value, right: Value) -> Value { left.binary(.and, right) }
  package static func & (left: Value, right: Int) -> Value { left & Value(right) }
  package static func | (left: Value, right: Value) -> Value { left.binary(.or, right) }
  package static func | (left: Value, right: Int) -> Value { left | Value(right) }
  package static func ^ (left: Value, right: Value) -> Value { left.binary(.xor, right) }
  package static func ^ (left: Value, right: Int) -> Value { left ^ Value(right) }

  /// Bits shifted; counts beyond the width give zero (or the sign).
  package static func << (left: Value, right: Value<UInt32>) -> Value {
    left.shifted(.shiftLeft, right)
  }
  package static func << (left: Value, right: Int) -> Value { left << Value<UInt32>(right) }
  package static func >> (left: Value, right: Value<UInt32>) -> Value {
    left.shifted(.shiftRight, right)
  }
  package static func >> (left: Value, right: Int) -> Value { left >> Value<UInt32>(right) }

  private func shifted(_ operation: BinaryOperation, _ count: Value<UInt32>) -> Value {
    let k = Self.builder(builder, count.builder)
    let result = k.register(Type.scalar.registerKind)
    k.append(.binary(operation, Type.scalar, result, operand, count.operand))
    return Value(result, k, uniform: isUniform && count.isUniform)
  }

  package static func .== (left: Value, right: Value) -> Value<Bool> {
    left.compared(.equal, right)
  }
  package static func .== (left: Value, right: Int) -> Value<Bool> { left .== Value(right) }
  package static func .!= (left: Value, right: Value) -> Value<Bool> {
    left.compared(.notEqual, right)
  }
  package static func .!= (left: Value, right: Int) -> Value<Bool> { left .!= Value(right) }
  package static func .< (left: Value, right: Value) -> Value<Bool> { left.compared(.less, right) }
  package static func .< (left: Value, right: Int) -> Value<Bool> { left .< Value(right) }
  package static func .<= (left: Value, right: Value) -> Value<Bool> {
    left.compared(.lessOrEqual, right)
  }
  package static func .<= (left: Value, right: Int) -> Value<Bool> { left .<= Value(right) }
  package static func .> (left: Value, right: Value) -> Value<Bool> {
    left.compared(.greater, right)
  }
  package static func .> (left: Value, right: Int) -> Value<Bool> { left .> Value(right) }
  package static func .>= (left: Value, right: Value) -> Value<Bool> {
    left.compared(.greaterOrEqual, right)
  }
  package static func .>= (left: Value, right: Int) -> Value<Bool> { left .>= Value(right) }

  /// `self · factor + addend`.
  package func multiplied(by factor: Value, adding addend: Value) -> Value {
    ternary(.multiplyAdd, factor, addend)
  }

  /// The high half of the product.
  package func multipliedHigh(by factor: Value) -> Value { binary(.multiplyHigh, factor) }

  /// Every bit turned.
  package var inverted: Value { unary(.not) }
}

extension Value where Type == UInt32 {
  /// The product with another number of 32 bits, in 64.
  package func multipliedWide(by factor: Value) -> Value<UInt64> {
    let k = Self.builder(builder, factor.builder)
    let result = k.register(.bits64)
    k.append(.binary(.multiplyWide, .u32, result, operand, factor.operand))
    return Value<UInt64>(result, k, uniform: isUniform && factor.isUniform)
  }

  /// `self · factor + addend` in 64 bits.
  package func multipliedWide(by factor: Value, adding addend: Value<UInt64>) -> Value<UInt64> {
    let k = Self.builder(builder, factor.builder, addend.builder)
    let result = k.register(.bits64)
    k.append(.ternary(.multiplyAddWide, .u32, result, operand, factor.operand, addend.operand))
    return Value<UInt64>(result, k, uniform: isUniform && factor.isUniform && addend.isUniform)
  }

  /// Quotient, rounded up.
  package func dividedUp(by divisor: Int) -> Value { (self + (divisor - 1)) / divisor }

  /// The low 32 bits of a number of 64, of which this is the low half, shifted right by less than 32.
  package func shiftedRight(with high: Value, by count: Int) -> Value {
    ternary(.funnelShiftRight, high, Value(count))
  }

  /// How many bits are set.
  package var populationCount: Value { unary(.populationCount) }
  /// How many zeros come before the first set bit; 32 of zero.
  package var leadingZeros: Value { unary(.leadingZeros) }

  /// Four bytes out of eight, `self` holding the lower: nibbles of the selector choose.
  package func permuted(with other: Value, selector: Value) -> Value {
    let k = Self.builder(builder, other.builder, selector.builder)
    let result = k.register(.bits32)
    k.append(.permuteBytes(result, operand, other.operand, selector: selector.operand))
    return Value(result, k, uniform: isUniform && other.isUniform && selector.isUniform)
  }
}

// MARK: Floating point

extension Value where Type: FloatingRegisterValue {
  package static func + (left: Value, right: Value) -> Value { left.binary(.add, right) }
  package static func - (left: Value, right: Value) -> Value { left.binary(.subtract, right) }
  package static func * (left: Value, right: Value) -> Value { left.binary(.multiply, right) }
  /// Rounded to nearest even.
  package static func / (left: Value, right: Value) -> Value { left.binary(.divide, right) }
  package static prefix func - (value: Value) -> Value { value.unary(.negate) }

  package static func .== (left: Value, right: Value) -> Value<Bool> {
    left.compared(.equal, right)
  }
  package static func .< (left: Value, right: Value) -> Value<Bool> { left.compared(.less, right) }
  package static func .<= (left: Value, right: Value) -> Value<Bool> {
    left.compared(.lessOrEqual, right)
  }
  package static func .> (left: Value, right: Value) -> Value<Bool> {
    left.compared(.greater, right)
  }
  package static func .>= (left: Value, right: Value) -> Value<Bool> {
    left.compared(.greaterOrEqual, right)
  }
  /// Also true where either is NaN.
  package static func .!= (left: Value, right: Value) -> Value<Bool> {
    left.compared(.notEqualOrNaN, right)
  }

  /// `self · factor + addend`, rounded once.
  package func multiplied(by factor: Value, adding addend: Value) -> Value {
    ternary(.multiplyAdd, factor, addend)
  }

  package var magnitude: Value { unary(.absolute) }
  /// Whether it is NaN.
  package var isNaN: Value<Bool> { compared(.unordered, self) }
  /// Rounded to nearest even.
  package var squareRoot: Value { unary(.squareRoot) }
  /// Rounded to nearest even.
  package var reciprocal: Value { unary(.reciprocal) }
}

extension Value where Type == Float {
  package static func + (left: Value, right: Float) -> Value { left + Value(right) }
  package static func - (left: Value, right: Float) -> Value { left - Value(right) }
  package static func - (left: Float, right: Value) -> Value { Value(left) - right }
  package static func * (left: Value, right: Float) -> Value { left * Value(right) }
  package static func / (left: Value, right: Float) -> Value { left / Value(right) }
  package static func / (left: Float, right: Value) -> Value { Value(left) / right }
  package static func .== (left: Value, right: Float) -> Value<Bool> { left .== Value(right) }
  package static func .< (left: Value, right: Float) -> Value<Bool> { left .< Value(right) }
  package static func .<= (left: Value, right: Float) -> Value<Bool> { left .<= Value(right) }
  package static func .> (left: Value, right: Float) -> Value<Bool> { left .> Value(right) }
  package static func .>= (left: Value, right: Float) -> Value<Bool> { left .>= Value(right) }

  /// 2 to this power, within 2 units in the last place.
  package var approximateExponential2: Value { unary(.approximateExponential2) }
  /// Within 1 unit in the last place; zero for subnormal numbers, which count as zero.
  package var approximateReciprocal: Value { unary(.approximateReciprocal) }
  package var approximateReciprocalRoot: Value { unary(.approximateReciprocalRoot) }
  package var approximateTanh: Value { unary(.approximateTanh) }

  /// The sum without what lies beyond its last place.
  package func addingTowardZero(_ other: Value) -> Value { binary(.addTowardZero, other) }

  /// Its bits.
  package var bits: Value<UInt32> { reinterpreted(as: UInt32.self) }
}

// MARK: Both

/// The smaller; of a number and NaN, the number.
package func minimum<Type>(_ left: Value<Type>, _ right: Value<Type>) -> Value<Type> {
  left.binary(.minimum, right)
}
/// The larger; of a number and NaN, the number.
package func maximum<Type>(_ left: Value<Type>, _ right: Value<Type>) -> Value<Type> {
  left.binary(.maximum, right)
}
/// The smaller; of a number and NaN, NaN.
package func minimumOrNaN<Type>(_ left: Value<Type>, _ right: Value<Type>) -> Value<Type> {
  left.binary(.minimumNaN, right)
}
/// The larger; of a number and NaN, NaN.
package func maximumOrNaN<Type>(_ left: Value<Type>, _ right: Value<Type>) -> Value<Type> {
  left.binary(.maximumNaN, right)
}

/// The largest of several values, by a tree of comparisons.
package func reduced<Type>(
  _ values: [Value<Type>], _ combine: (Value<Type>, Value<Type>) -> Value<Type>
) -> Value<Type> {
  var level = values
  while level.count > 1 {
    level = stride(from: 0, to: level.count, by: 2).map {
      $0 + 1 < level.count ? combine(level[$0], level[$0 + 1]) : level[$0]
    }
  }
  return level[0]
}

// MARK: Predicates

extension Value where Type == Bool {
  package static func .& (left: Value, right: Value) -> Value { left.logic(.and, right) }
  package static func .| (left: Value, right: Value) -> Value { left.logic(.or, right) }
  package static func .^ (left: Value, right: Value) -> Value { left.logic(.xor, right) }
  package static prefix func .! (value: Value) -> Value {
    let k = builder(value.builder)
    let result = k.register(.predicate)
    k.append(.predicateLogic(.not, result, value.register, nil))
    return Value(result, k, uniform: value.isUniform)
  }

  private func logic(_ operation: PredicateOperation, _ other: Value) -> Value {
    let k = Self.builder(builder, other.builder)
    let result = k.register(.predicate)
    k.append(.predicateLogic(operation, result, register, other.register))
    return Value(result, k, uniform: isUniform && other.isUniform)
  }

  /// The first where it holds, else the second.
  package func select<Other>(_ first: Value<Other>, _ second: Value<Other>) -> Value<Other> {
    let k = Self.builder(builder)
    let result = k.register(Other.scalar.registerKind)
    k.append(.select(result, first.operand, second.operand, register))
    return Value<Other>(result, k, uniform: isUniform && first.isUniform && second.isUniform)
  }
}
