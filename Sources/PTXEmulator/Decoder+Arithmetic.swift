// SPDX-License-Identifier: Apache-2.0

import PTX

// Which registers an operation needs, and which loop does it for its type.

extension ScalarType {
  /// 16-bit floating-point types.
  var half: FloatLayout? {
    switch self {
    case .f16, .f16x2: .float16
    case .bf16, .bf16x2: .bfloat16
    default: nil
    }
  }
}

extension Decoder {
  /// Reports an operation that PTX lacks for a type.
  private mutating func lacking(_ operation: String, _ type: ScalarType) -> Work {
    report("has \(operation).\(type.rawValue), which PTX lacks")
    return { (_, _) in .done }
  }

  // MARK: One operand

  mutating func decodeUnary(
    _ operation: UnaryOperation, _ type: ScalarType, _ d: Register, _ a: Operand
  ) -> Work {
    let source = place(a, type.registerKind)
    if type == .predicate {
      let destination = place(d, .predicate)
      guard operation == .not else { return lacking(operation.rawValue, type) }
      return { (warp, mask) in
        warp.setPredicate(destination, ~warp.predicates[source.offset], mask)
        return .done
      }
    }
    switch operation {
    case .populationCount, .leadingZeros:
      // The count has 32 bits whatever it counts in.
      let destination = place(d, .bits32)
      let isCount = operation == .populationCount
      switch type.registerKind {
      case .bits32:
        return { (warp, mask) in
          warp.map(destination, source, mask) { (x: UInt32) in
            UInt32(isCount ? x.nonzeroBitCount : x.leadingZeroBitCount)
          }
          return .done
        }
      case .bits64:
        return { (warp, mask) in
          warp.map(destination, source, mask) { (x: UInt64) in
            UInt32(isCount ? x.nonzeroBitCount : x.leadingZeroBitCount)
          }
          return .done
        }
      case .bits16, .predicate: return lacking(operation.rawValue, type)
      }
    default: break
    }
    let destination = place(d, type.registerKind)
    if let half = type.half {
      let isPair = type.registerKind == .bits32
      guard operation == .negate || operation == .absolute else {
        guard !isPair, operation.isApproximate else { return lacking(operation.rawValue, type) }
        // BF16 has `ex2` with subnormals flushed only.
        let flushes = operation == .approximateExponential2 && type == .bf16
        return { (warp, mask) in
          let approximations = warp.block.launch.options.approximations
          warp.map(destination, source, mask) { (x: UInt16) in
            let result = Double(approximations.apply(operation, Float(half.decode(x))))
            return half.encode(flushes && result < 0x1p-126 ? 0 : result)
          }
          return .done
        }
      }
      let negates = operation == .negate
      let isBFloat16 = type == .bf16 || type == .bf16x2
      func result(_ x: UInt16) -> UInt16 {
        // The hardware gives BF16 one NaN, and leaves FP16's alone.
        isBFloat16 && x & 0x7FFF > 0x7F80 ? 0x7FFF : negates ? x ^ 0x8000 : x & 0x7FFF
      }
      if isPair {
        return { (warp, mask) in
          warp.map(destination, source, mask) { (x: UInt32) in
            UInt32(result(UInt16(x >> 16))) << 16 | UInt32(result(UInt16(truncatingIfNeeded: x)))
          }
          return .done
        }
      }
      return { (warp, mask) in
        warp.map(destination, source, mask) { (x: UInt16) in result(x) }
        return .done
      }
    }
    switch type {
    case .f32:
      guard operation != .not, operation != .reverseBits else {
        return lacking(operation.rawValue, type)
      }
      return { (warp, mask) in
        warp.unaryFloat(operation, destination, source, mask)
        return .done
      }
    case .f64:
      guard operation != .not, operation != .reverseBits, !operation.isApproximate else {
        return lacking(operation.rawValue, type)
      }
      return { (warp, mask) in
        warp.unaryDouble(operation, destination, source, mask)
        return .done
      }
    case .b16, .u16: return integer(UInt16.self, operation, type, destination, source)
    // Negation and absolute values read signed integers, whatever the type says.
    case .b32, .u32, .s32: return integer(Int32.self, operation, type, destination, source)
    case .b64, .u64, .s64: return integer(Int64.self, operation, type, destination, source)
    case .predicate, .b8, .u8, .f16, .bf16, .f16x2, .bf16x2:
      return lacking(operation.rawValue, type)
    }
  }

  private mutating func integer<Word: FixedWidthInteger & BitwiseCopyable>(
    _: Word.Type, _ operation: UnaryOperation, _ type: ScalarType, _ destination: Place,
    _ source: Place
  ) -> Work {
    guard [.negate, .absolute, .not, .reverseBits].contains(operation) else {
      return lacking(operation.rawValue, type)
    }
    return { (warp, mask) in
      warp.map(destination, source, mask) { (x: Word) in
        switch operation {
        case .negate: 0 &- x
        case .absolute: x < 0 ? 0 &- x : x
        case .not: ~x
        default: reversed(x)
        }
      }
      return .done
    }
  }

  // MARK: Two operands

  mutating func decodeBinary(
    _ operation: BinaryOperation, _ type: ScalarType, _ d: Register, _ a: Operand, _ b: Operand
  ) -> Work {
    let isShift = operation == .shiftLeft || operation == .shiftRight
    let isWide = operation == .multiplyWide
    let wideKind: RegisterKind = type.byteCount == 2 ? .bits32 : .bits64
    let destination = place(d, isWide ? wideKind : type.registerKind)
    let x = place(a, type.registerKind)
    let y = place(b, isShift ? .bits32 : type.registerKind)
    if isWide {
      switch type {
      case .b16, .u16:
        return { (warp, mask) in
          warp.map(destination, x, y, mask) { (x: UInt16, y: UInt16) in UInt32(x) &* UInt32(y) }
          return .done
        }
      case .b32, .u32:
        return { (warp, mask) in
          warp.map(destination, x, y, mask) { (x: UInt32, y: UInt32) in UInt64(x) &* UInt64(y) }
          return .done
        }
      case .s32:
        return { (warp, mask) in
          warp.map(destination, x, y, mask) { (x: Int32, y: Int32) in Int64(x) &* Int64(y) }
          return .done
        }
      default: return lacking(operation.rawValue, type)
      }
    }
    if let half = type.half {
      guard operation.isOfFloatingPoint, operation != .divide, operation != .addTowardZero else {
        return lacking(operation.rawValue, type)
      }
      if ![.add, .subtract, .multiply].contains(operation) {
        return selection(half, operation, destination, x, y)
      }
      if type.registerKind == .bits32 {
        return { (warp, mask) in
          warp.map(destination, x, y, mask) { (x: UInt32, y: UInt32) in
            half.inHalves(x, y, 0) { (x, y, _) in half.binary(operation, x, y) }
          }
          return .done
        }
      }
      return { (warp, mask) in
        warp.map(destination, x, y, mask) { (x: UInt16, y: UInt16) in
          half.encode(half.binary(operation, half.decode(x), half.decode(y)))
        }
        return .done
      }
    }
    switch type {
    case .f32:
      guard operation.isOfFloatingPoint else { return lacking(operation.rawValue, type) }
      return { (warp, mask) in
        warp.binaryFloat(operation, destination, x, y, mask)
        return .done
      }
    case .f64:
      guard
        operation.isOfFloatingPoint,
        ![.addTowardZero, .minimumNaN, .maximumNaN].contains(operation)
      else {
        return lacking(operation.rawValue, type)
      }
      return { (warp, mask) in
        warp.binaryDouble(operation, destination, x, y, mask)
        return .done
      }
    case .b16, .u16: return integer(UInt16.self, operation, type, destination, x, y)
    case .b32, .u32: return integer(UInt32.self, operation, type, destination, x, y)
    case .s32: return integer(Int32.self, operation, type, destination, x, y)
    case .b64, .u64: return integer(UInt64.self, operation, type, destination, x, y)
    case .s64: return integer(Int64.self, operation, type, destination, x, y)
    case .predicate, .b8, .u8, .f16, .bf16, .f16x2, .bf16x2:
      return lacking(operation.rawValue, type)
    }
  }

  /// Minima and maxima, which need no rounding.
  private func selection(
    _ half: FloatLayout, _ operation: BinaryOperation, _ destination: Place, _ x: Place, _ y: Place
  ) -> Work {
    if destination.kind == .bits16 {
      return { (warp, mask) in
        warp.map(destination, x, y, mask) { (x: UInt16, y: UInt16) in
          half.select(operation, x, y)
        }
        return .done
      }
    }
    return { (warp, mask) in
      warp.map(destination, x, y, mask) { (x: UInt32, y: UInt32) in
        let low = half.select(
          operation, UInt16(truncatingIfNeeded: x), UInt16(truncatingIfNeeded: y))
        let high = half.select(
          operation, UInt16(truncatingIfNeeded: x >> 16), UInt16(truncatingIfNeeded: y >> 16))
        return UInt32(high) << 16 | UInt32(low)
      }
      return .done
    }
  }

  private mutating func integer<Word: FixedWidthInteger & BitwiseCopyable>(
    _: Word.Type, _ operation: BinaryOperation, _ type: ScalarType, _ destination: Place,
    _ x: Place, _ y: Place
  ) -> Work {
    if [.addTowardZero, .minimumNaN, .maximumNaN].contains(operation) {
      return lacking(operation.rawValue, type)
    }
    return { (warp, mask) in
      warp.binaryInteger(Word.self, operation, destination, x, y, mask)
      return .done
    }
  }

  // MARK: Three operands

  mutating func decodeTernary(
    _ operation: TernaryOperation, _ type: ScalarType, _ d: Register, _ a: Operand, _ b: Operand,
    _ c: Operand
  ) -> Work {
    let isWide = operation == .multiplyAddWide
    let destination = place(d, isWide ? .bits64 : type.registerKind)
    let x = place(a, type.registerKind)
    let y = place(b, type.registerKind)
    let z = place(c, isWide ? .bits64 : type.registerKind)
    switch (operation, type) {
    case (.multiplyAdd, .f32):
      return { (warp, mask) in
        warp.map(destination, x, y, z, mask) { (x: Float, y: Float, z: Float) in
          canonical(Float(sumToOdd(Double(x) * Double(y), Double(z))))
        }
        return .done
      }
    case (.multiplyAdd, .f64):
      return { (warp, mask) in
        warp.map(destination, x, y, z, mask) { (x: Double, y: Double, z: Double) in
          z.addingProduct(x, y)
        }
        return .done
      }
    case (.multiplyAdd, .f16), (.multiplyAdd, .bf16):
      let half = type == .f16 ? FloatLayout.float16 : .bfloat16
      return { (warp, mask) in
        warp.map(destination, x, y, z, mask) { (x: UInt16, y: UInt16, z: UInt16) in
          half.encode(sumToOdd(half.decode(x) * half.decode(y), half.decode(z)))
        }
        return .done
      }
    case (.multiplyAdd, .f16x2), (.multiplyAdd, .bf16x2):
      let half = type == .f16x2 ? FloatLayout.float16 : .bfloat16
      return { (warp, mask) in
        warp.map(destination, x, y, z, mask) { (x: UInt32, y: UInt32, z: UInt32) in
          half.inHalves(x, y, z) { sumToOdd($0 * $1, $2) }
        }
        return .done
      }
    case (.multiplyAdd, .u16), (.multiplyAdd, .b16):
      return { (warp, mask) in
        warp.map(destination, x, y, z, mask) { (x: UInt16, y: UInt16, z: UInt16) in x &* y &+ z }
        return .done
      }
    case (.multiplyAdd, .u32), (.multiplyAdd, .s32), (.multiplyAdd, .b32):
      return { (warp, mask) in
        warp.map(destination, x, y, z, mask) { (x: UInt32, y: UInt32, z: UInt32) in x &* y &+ z }
        return .done
      }
    case (.multiplyAdd, .u64), (.multiplyAdd, .s64), (.multiplyAdd, .b64):
      return { (warp, mask) in
        warp.map(destination, x, y, z, mask) { (x: UInt64, y: UInt64, z: UInt64) in x &* y &+ z }
        return .done
      }
    case (.multiplyAddWide, .u32), (.multiplyAddWide, .b32):
      return { (warp, mask) in
        warp.map(destination, x, y, z, mask) { (x: UInt32, y: UInt32, z: UInt64) in
          UInt64(x) &* UInt64(y) &+ z
        }
        return .done
      }
    case (.multiplyAddWide, .s32):
      return { (warp, mask) in
        warp.map(destination, x, y, z, mask) { (x: Int32, y: Int32, z: Int64) in
          Int64(x) &* Int64(y) &+ z
        }
        return .done
      }
    case (.funnelShiftRight, .b32), (.funnelShiftRight, .u32), (.funnelShiftRight, .s32):
      return { (warp, mask) in
        warp.map(destination, x, y, z, mask) { (low: UInt32, high: UInt32, by: UInt32) in
          UInt32(truncatingIfNeeded: (UInt64(high) << 32 | UInt64(low)) >> UInt64(by & 31))
        }
        return .done
      }
    default: return lacking("\(operation)", type)
    }
  }

  // MARK: Comparisons

  mutating func decodeCompare(
    _ comparison: Comparison, _ type: ScalarType, _ d: Register, _ a: Operand, _ b: Operand
  ) -> Work {
    let destination = place(d, .predicate)
    let x = place(a, type.registerKind)
    let y = place(b, type.registerKind)
    switch type {
    case .f32:
      return { (warp, mask) in
        warp.setPredicate(destination, warp.compareFloats(Float.self, comparison, x, y, mask), mask)
        return .done
      }
    case .f64:
      return { (warp, mask) in
        warp.setPredicate(
          destination, warp.compareFloats(Double.self, comparison, x, y, mask), mask)
        return .done
      }
    case .f16, .bf16:
      let half = type == .f16 ? FloatLayout.float16 : .bfloat16
      return { (warp, mask) in
        let bits = warp.test(x, y, mask) { (x: UInt16, y: UInt16) in
          comparison.holds(half.decode(x), half.decode(y))
        }
        warp.setPredicate(destination, bits, mask)
        return .done
      }
    case .b16, .u16: return compare(UInt16.self, comparison, type, destination, x, y)
    case .b32, .u32: return compare(UInt32.self, comparison, type, destination, x, y)
    case .s32: return compare(Int32.self, comparison, type, destination, x, y)
    case .b64, .u64: return compare(UInt64.self, comparison, type, destination, x, y)
    case .s64: return compare(Int64.self, comparison, type, destination, x, y)
    case .predicate, .b8, .u8, .f16x2, .bf16x2: return lacking("setp", type)
    }
  }

  private mutating func compare<Word: FixedWidthInteger & BitwiseCopyable>(
    _: Word.Type, _ comparison: Comparison, _ type: ScalarType, _ destination: Place, _ x: Place,
    _ y: Place
  ) -> Work {
    if comparison == .notEqualOrNaN || comparison == .unordered {
      return lacking("setp.\(comparison.rawValue)", type)
    }
    return { (warp, mask) in
      warp.setPredicate(
        destination, warp.compareIntegers(Word.self, comparison, x, y, mask), mask)
      return .done
    }
  }
}
