// SPDX-License-Identifier: Apache-2.0

package import Minifloat

// Conversions. Fallbacks for targets without an instruction are in Value+ConversionFallback.swift.

extension Value {
  private func converted<Other: RegisterValue>(
    _ other: Other.Type, _ rounding: Rounding = .none, saturating: Bool = false
  ) -> Value<Other> {
    let k = Self.builder(builder)
    let result = k.register(Other.scalar.registerKind)
    k.append(
      .convert(
        result, to: Other.scalar, operand, from: Type.scalar, rounding: rounding,
        saturating: saturating))
    return Value<Other>(result, k, uniform: isUniform)
  }
}

extension Value where Type == UInt32 {
  /// The number in 64 bits.
  package var widened: Value<UInt64> { converted(UInt64.self) }
  /// The nearest FP32 value.
  package var float: Value<Float> { converted(Float.self, .nearestEven) }
  /// The low 16 bits.
  package var low16: Value<UInt16> { converted(UInt16.self) }
  /// FP32 with these bits.
  package var floatFromBits: Value<Float> { reinterpreted(as: Float.self) }
}

extension Value where Type == UInt64 {
  /// The low 32 bits.
  package var low32: Value<UInt32> { converted(UInt32.self) }
  /// Both halves.
  package var halves: (low: Value<UInt32>, high: Value<UInt32>) {
    let k = Self.builder(builder)
    let halves = [k.register(.bits32), k.register(.bits32)]
    k.append(.unpack(halves, register))
    return (
      Value<UInt32>(halves[0], k, uniform: isUniform),
      Value<UInt32>(halves[1], k, uniform: isUniform)
    )
  }
}

extension Value where Type == UInt16 {
  /// The number in 32 bits.
  package var widened: Value<UInt32> { converted(UInt32.self) }
}

extension Value where Type == Float {
  /// The number without its fraction; NaN gives 0, and what does not fit the nearest end.
  package var truncated: Value<UInt32> { converted(UInt32.self, .towardZeroInteger) }
  /// The number in FP64.
  package var double: Value<Double> { converted(Double.self) }
  /// The nearest BF16 value.
  package var bfloat16: Value<BFloat16> { converted(BFloat16.self, .nearestEven) }
  /// The nearest FP16 value.
  package var half: Value<Half> { converted(Half.self, .nearestEven) }
  /// Rounded to the nearest integer, ties to even.
  package var roundedToEven: Value {
    let k = Self.builder(builder)
    let result = k.register(.bits32)
    k.append(
      .convert(
        result, to: .f32, operand, from: .f32, rounding: .nearestEvenInteger, saturating: false))
    return Value(result, k, uniform: isUniform)
  }
}

extension Value where Type == Double {
  /// The nearest FP32 value.
  package var float: Value<Float> { converted(Float.self, .nearestEven) }
}

extension Value where Type == Half {
  /// The same number in FP32.
  package var float: Value<Float> { converted(Float.self) }
}

extension Value where Type == BFloat16 {
  /// The same number in FP32.
  package var float: Value<Float> {
    (reinterpreted(as: UInt16.self).widened << 16).floatFromBits
  }
}

extension Value where Type == Pair<BFloat16> {
  /// Both values in FP32.
  package var floats: (low: Value<Float>, high: Value<Float>) {
    let bits = reinterpreted(as: UInt32.self)
    return ((bits << 16).floatFromBits, (bits & 0xFFFF_0000).floatFromBits)
  }
}

extension Value where Type == Pair<Half> {
  /// Both values in FP32.
  package var floats: (low: Value<Float>, high: Value<Float>) {
    let k = Self.builder(builder)
    let halves = [k.register(.bits16), k.register(.bits16)]
    k.append(.unpack(halves, register))
    return (Value<Half>(halves[0], k).float, Value<Half>(halves[1], k).float)
  }
}

extension KernelBuilder {
  /// The nearest values of a format, packed; those too large for an eight- or four-bit format become its largest.
  package func pair<Element: PairElement>(
    low: Value<Float>, high: Value<Float>, as element: Element.Type
  ) -> Value<Pair<Element>> {
    let result = register(Element.pairFormat.registerKind)
    append(.packPair(result, Element.pairFormat, high: high.operand, low: low.operand))
    return Value(result, self)
  }

  /// Two registers of 16 bits in one of 32, the first in the low half.
  package func joined<Element>(
    _ low: Value<Pair<Element>>, _ high: Value<Pair<Element>>
  ) -> Value<UInt32> {
    let result = register(.bits32)
    append(.pack(result, [low.register, high.register]))
    return Value(result, self)
  }

  /// The halves of a register of 32 bits as pairs of eight-bit codes.
  package func pairs<Element: PairElement>(
    of word: Value<UInt32>, as element: Element.Type
  ) -> (low: Value<Pair<Element>>, high: Value<Pair<Element>>) {
    let halves = [register(.bits16), register(.bits16)]
    append(.unpack(halves, word.register))
    return (Value(halves[0], self), Value(halves[1], self))
  }

  /// Both values of a pair of eight- or four-bit codes, as FP16, which holds them exactly.
  package func halves<Element: PairElement>(
    of pair: Value<Pair<Element>>
  ) -> Value<Pair<Half>> {
    let result = register(.bits32)
    append(.unpackPair(result, pair.register, from: Element.pairFormat))
    return Value(result, self)
  }
}
