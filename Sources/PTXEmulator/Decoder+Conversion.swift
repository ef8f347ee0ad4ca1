// SPDX-License-Identifier: Apache-2.0

import Minifloat
import PTX

extension ScalarType {
  var isFloatingPoint: Bool {
    switch self {
    case .f16, .bf16, .f32, .f64: true
    default: false
    }
  }

  var isSigned: Bool { self == .s32 || self == .s64 }

  /// The layout of floating-point types narrower than FP64.
  var layout: FloatLayout? { self == .f32 ? .float32 : half }
}

extension Decoder {
  // MARK: Scalars

  mutating func decodeConvert(
    _ d: Register, _ to: ScalarType, _ a: Operand, _ from: ScalarType, _ rounding: Rounding,
    _ saturating: Bool
  ) -> Work {
    // `cvt` takes registers wider than its types.
    let destination = place(d)
    let source: Place =
      if case .register(let register) = a { place(register) } else { place(a, from.registerKind) }
    if [ScalarType.predicate, .f16x2, .bf16x2].contains(where: { $0 == to || $0 == from })
      || destination.kind.bitWidth < to.byteCount * 8 || source.kind.bitWidth < from.byteCount * 8
    {
      report("converts from \(from.rawValue) to \(to.rawValue) in registers that PTX does not take")
      return { (_, _) in .done }
    }
    if to == .f32, from == .bf16, source.kind == .bits16 {
      // Bits moved up: NaNs keep theirs.
      return { (warp, mask) in
        warp.map(destination, source, mask) { (x: UInt16) in Float(bitPattern: UInt32(x) << 16) }
        return .done
      }
    }
    if to == .f32, from == .f16, source.kind == .bits16 {
      return { (warp, mask) in
        warp.map(destination, source, mask) { (x: UInt16) in
          canonical(Float(FloatLayout.float16.decode(x)))
        }
        return .done
      }
    }
    if to == .f32, from == .s32 || from == .u32, rounding == .nearestEven {
      return { (warp, mask) in
        if from == .s32 {
          warp.map(destination, source, mask) { (x: Int32) in Float(x) }
        } else {
          warp.map(destination, source, mask) { (x: UInt32) in Float(x) }
        }
        return .done
      }
    }
    if to == .bf16, from == .f32, rounding == .nearestEven, destination.kind == .bits16 {
      return { (warp, mask) in
        warp.map(destination, source, mask) { (x: Float) in nearestBFloat16(x) }
        return .done
      }
    }
    return { (warp, mask) in
      for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
        warp[destination, lane] = converted(
          warp[source, lane], to: to, from: from, rounding, saturating)
      }
      return .done
    }
  }

  // MARK: Packed pairs

  mutating func decodePairs(_ instruction: Instruction) -> Work {
    switch instruction {
    case .packPair(let d, let format, let high, let low):
      let destination = place(d, format.registerKind)
      let x = place(high, .bits32)
      let y = place(low, .bits32)
      switch format {
      case .f16x2, .bf16x2:
        if format == .bf16x2 {
          return { (warp, mask) in
            warp.map(destination, x, y, mask) { (x: Float, y: Float) in
              UInt32(nearestBFloat16(x)) << 16 | UInt32(nearestBFloat16(y))
            }
            return .done
          }
        }
        let half = FloatLayout.float16
        return { (warp, mask) in
          warp.map(destination, x, y, mask) { (x: Float, y: Float) in
            UInt32(half.encode(Double(x))) << 16 | UInt32(half.encode(Double(y)))
          }
          return .done
        }
      case .e4m3x2, .e5m2x2, .e2m1x2, .ue8m0x2:
        let width: UInt16 = format == .e2m1x2 ? 4 : 8
        return { (warp, mask) in
          warp.map(destination, x, y, mask) { (x: Float, y: Float) in
            UInt16(format.encode(x)) << width | UInt16(format.encode(y))
          }
          return .done
        }
      }
    case .packQuadStochastic(let d, let format, let values, let random):
      return decodeStochastic(d, format, values, random)
    case .unpackPair(let d, let a, let format):
      let destination = place(d, .bits32)
      let source = place(a, format.registerKind)
      switch format {
      case .e4m3x2, .e5m2x2, .e2m1x2:
        let width: UInt16 = format == .e2m1x2 ? 4 : 8
        return { (warp, mask) in
          warp.map(destination, source, mask) { (x: UInt16) in
            func half(_ code: UInt16) -> UInt32 {
              UInt32(FloatLayout.float16.encode(Double(format.decode(code))))
            }
            return half(x >> width) << 16 | half(x)
          }
          return .done
        }
      case .ue8m0x2:
        // The only ones whose range needs BF16.
        return { (warp, mask) in
          warp.map(destination, source, mask) { (x: UInt16) in
            func half(_ code: UInt16) -> UInt32 {
              let value = Float8E8M0(bitPattern: UInt8(truncatingIfNeeded: code)).floatValue
              return UInt32(FloatLayout.bfloat16.encode(Double(value)))
            }
            return half(x >> 8) << 16 | half(x)
          }
          return .done
        }
      case .f16x2, .bf16x2:
        report("unpacks \(format.rawValue), for which PTX has no conversion")
        return { (_, _) in .done }
      }
    default: preconditionFailure("no conversion of pairs")
    }
  }

  /// Four codes; the first source goes to the highest.
  ///
  /// The manual does not say how the random bits are added. Here each source takes eight of them (the
  /// first the highest), which count 256ths of the distance between the neighbouring codes: results
  /// are unbiased to that, and other bits than the hardware's.
  private mutating func decodeStochastic(
    _ d: Register, _ format: PairFormat, _ values: [Operand], _ random: Operand
  ) -> Work {
    let width: UInt32 = format == .e2m1x2 ? 4 : 8
    let destination = place(d, format == .e2m1x2 ? .bits16 : .bits32)
    let sources = values.map { place($0, .bits32) }
    let random = place(random, .bits32)
    guard sources.count == 4, format != .f16x2, format != .bf16x2, format != .ue8m0x2 else {
      report("rounds \(sources.count) values stochastically to \(format.rawValue), which PTX lacks")
      return { (_, _) in .done }
    }
    return { (warp, mask) in
      for lane in 0..<32 where mask >> UInt32(lane) & 1 != 0 {
        let bits = UInt32(truncatingIfNeeded: warp[random, lane])
        var result: UInt32 = 0
        for (index, source) in sources.enumerated() {
          let value = Float(bitPattern: UInt32(truncatingIfNeeded: warp[source, lane]))
          let threshold = bits >> UInt32(24 - 8 * index) & 0xFF
          result = result << width | UInt32(format.encode(value, threshold: threshold))
        }
        warp[destination, lane] = UInt64(result)
      }
      return .done
    }
  }
}

extension PairFormat {
  /// The code of one value as `cvt.rn.satfinite` gives it (`.rp` for exponents).
  @inline(__always)
  func encode(_ value: Float) -> UInt8 {
    switch self {
    case .e4m3x2:
      value.isNaN ? 0x7F : Float8E4M3(nearest: value, overflow: .saturate).bitPattern
    case .e5m2x2:
      value.isNaN ? 0x7F : Float8E5M2(nearest: value, overflow: .saturate).bitPattern
    // A format without NaN takes the largest number for it.
    case .e2m1x2:
      value.isNaN ? 0x7 : Float4E2M1(nearest: value, overflow: .saturate).bitPattern
    case .ue8m0x2:
      value.isNaN ? 0xFF : Float8E8M0(roundingUp: value.magnitude, overflow: .saturate).bitPattern
    case .f16x2, .bf16x2: preconditionFailure("16-bit formats are encoded apart")
    }
  }

  /// The value of the low bits of a word.
  @inline(__always)
  func decode(_ code: UInt16) -> Float {
    switch self {
    case .e4m3x2: Float8E4M3(bitPattern: UInt8(truncatingIfNeeded: code)).floatValue
    case .e5m2x2: Float8E5M2(bitPattern: UInt8(truncatingIfNeeded: code)).floatValue
    case .e2m1x2: Float4E2M1(bitPattern: UInt8(truncatingIfNeeded: code & 0xF)).floatValue
    case .f16x2, .bf16x2, .ue8m0x2: preconditionFailure("not a format that is unpacked")
    }
  }

  /// The next code away from zero where the discarded fraction exceeds a threshold of 256ths.
  func encode(_ value: Float, threshold: UInt32) -> UInt8 {
    guard value.isFinite else { return encode(value) }
    let nearest = encode(value)
    let sign = self == .e2m1x2 ? nearest & 0x8 : nearest & 0x80
    var below = nearest & ~(self == .e2m1x2 ? 0x8 : 0x80)
    if decode(UInt16(below)) > value.magnitude { below -= 1 }
    let low = Double(decode(UInt16(below)))
    let largest: UInt8 = self == .e4m3x2 ? 0x7E : self == .e5m2x2 ? 0x7B : 0x7
    guard below < largest else { return sign | largest }
    let high = Double(decode(UInt16(below + 1)))
    let fraction = (Double(value.magnitude) - low) / (high - low) * 256
    return sign | (fraction > Double(threshold) ? below + 1 : below)
  }
}

/// The nearest BF16: the upper half of FP32, after an addition that carries where it rounds up.
@inline(__always)
private func nearestBFloat16(_ x: Float) -> UInt16 {
  let bits = x.bitPattern
  if x != x { return 0x7FFF }
  return UInt16(truncatingIfNeeded: (bits &+ 0x7FFF &+ (bits >> 16 & 1)) >> 16)
}

/// What `cvt` makes of the low bits of a register.
func converted(
  _ bits: UInt64, to: ScalarType, from: ScalarType, _ rounding: Rounding, _ saturating: Bool
) -> UInt64 {
  if from.isFloatingPoint {
    let value: Double =
      switch from {
      case .f64: Double(bitPattern: bits)
      case .f32: Double(Float(bitPattern: UInt32(truncatingIfNeeded: bits)))
      case .f16: FloatLayout.float16.decode(UInt16(truncatingIfNeeded: bits))
      default: FloatLayout.bfloat16.decode(UInt16(truncatingIfNeeded: bits))
      }
    guard to.isFloatingPoint else { return integer(value, to: to, from: from, rounding) }
    return encoded(
      rounding.isToInteger ? value.rounded(rounding.rule) : value, to, rounding, saturating)
  }
  let width = from.byteCount * 8
  let unsigned = width == 64 ? bits : bits & (1 << UInt64(width) - 1)
  let isNegative = from.isSigned && unsigned >> UInt64(width - 1) != 0
  let magnitude =
    isNegative ? (width == 64 ? 0 &- unsigned : 1 << UInt64(width) - unsigned) : unsigned
  if to.isFloatingPoint {
    // 64 bits may be more than a Double holds; the lost ones are kept as one, below all roundings.
    let excess = Swift.max(0, 11 - magnitude.leadingZeroBitCount)
    let kept = magnitude >> UInt64(excess)
    let isInexact = kept << UInt64(excess) != magnitude
    let value =
      Double(kept | (isInexact ? 1 : 0)) * Double(sign: .plus, exponent: excess, significand: 1)
    return encoded(isNegative ? -value : value, to, rounding, saturating)
  }
  let extended = isNegative ? 0 &- magnitude : magnitude
  let target = to.byteCount * 8
  guard saturating else { return to.extended(extended) }
  if to.isSigned {
    let largest: UInt64 = 1 << UInt64(target - 1) - 1
    if isNegative { return magnitude > largest + 1 ? to.extended(largest + 1) : extended }
    return Swift.min(magnitude, largest)
  }
  if isNegative { return 0 }
  return target == 64 ? magnitude : Swift.min(magnitude, 1 << UInt64(target) - 1)
}

/// A value in a floating-point type; `.sat` clamps to [0, 1] and makes NaN zero.
private func encoded(
  _ value: Double, _ to: ScalarType, _ rounding: Rounding, _ saturating: Bool
) -> UInt64 {
  var value = value
  if saturating { value = value.isNaN ? 0 : Swift.min(Swift.max(value, 0), 1) }
  guard let layout = to.layout else { return value.bitPattern }
  return UInt64(layout.encode(value, rounding))
}

/// A value as an integer, clamped to its range; NaN is zero, or the middle of 64-bit types.
private func integer(
  _ value: Double, to: ScalarType, from: ScalarType, _ rounding: Rounding
) -> UInt64 {
  let width = to.byteCount * 8
  if value.isNaN { return width == 64 || from == .f64 ? to.extended(1 << UInt64(width - 1)) : 0 }
  let rounded = value.rounded(rounding.rule)
  let limit = Double(sign: .plus, exponent: to.isSigned ? width - 1 : width, significand: 1)
  if to.isSigned {
    if rounded >= limit { return 1 << UInt64(width - 1) - 1 }
    return to.extended(
      rounded < -limit ? 1 << UInt64(width - 1) : UInt64(bitPattern: Int64(rounded)))
  }
  if rounded >= limit { return width == 64 ? ~0 : 1 << UInt64(width) - 1 }
  return rounded <= 0 ? 0 : UInt64(rounded)
}

extension ScalarType {
  /// The low bits of an integer, extended to 64 by its sign or by zeros.
  func extended(_ bits: UInt64) -> UInt64 {
    let unused = UInt64(64 - byteCount * 8)
    if isSigned { return UInt64(bitPattern: Int64(bitPattern: bits << unused) >> Int64(unused)) }
    return (bits << unused) >> unused
  }
}

extension Rounding {
  var isToInteger: Bool {
    switch self {
    case .nearestEvenInteger, .towardZeroInteger, .downInteger, .upInteger: true
    case .none, .nearestEven, .towardZero, .down, .up: false
    }
  }

  var rule: FloatingPointRoundingRule {
    switch self {
    case .none, .nearestEven, .nearestEvenInteger: .toNearestOrEven
    case .towardZero, .towardZeroInteger: .towardZero
    case .down, .downInteger: .down
    case .up, .upInteger: .up
    }
  }
}
