// SPDX-License-Identifier: Apache-2.0

import PTX
import PTXEmulator
import Testing

@Suite struct ArithmeticTests {
  static let count = 2048

  // MARK: Integers

  @Test func integersOf16And32And64Bits() throws {
    try integers(UInt16.self, .u16)
    try integers(UInt32.self, .u32)
    try integers(Int32.self, .s32)
    try integers(UInt64.self, .u64)
    try integers(Int64.self, .s64)
  }

  private func integers<Word: FixedWidthInteger>(_: Word.Type, _ type: ScalarType) throws {
    let width = Word.bitWidth
    let kind = type.registerKind
    let x = awkwardBits(Self.count, width: width, seed: 1)
    let y = awkwardBits(Self.count, width: width, seed: 2)
    let z = awkwardBits(Self.count, width: width, seed: 3)
    func word(_ bits: UInt64) -> Word { Word(truncatingIfNeeded: bits) }
    func bits(_ word: Word) -> UInt64 {
      width == 64
        ? UInt64(truncatingIfNeeded: word)
        : UInt64(truncatingIfNeeded: word) & (1 << UInt64(width) - 1)
    }
    let binary: [(BinaryOperation, (Word, Word) -> Word)] = [
      (.add, { $0 &+ $1 }), (.subtract, { $0 &- $1 }), (.multiply, { $0 &* $1 }),
      (.multiplyHigh, { $0.multipliedFullWidth(by: $1).high }),
      (.divide, { $1 == 0 ? ~0 : $0.dividedReportingOverflow(by: $1).partialValue }),
      (.remainder, { $1 == 0 ? ~0 : $0.remainderReportingOverflow(dividingBy: $1).partialValue }),
      (.minimum, { Swift.min($0, $1) }), (.maximum, { Swift.max($0, $1) }), (.and, { $0 & $1 }),
      (.or, { $0 | $1 }), (.xor, { $0 ^ $1 }),
    ]
    for (operation, expected) in binary {
      let result = try runInstruction([kind, kind], result: kind, [x, y]) {
        .binary(operation, type, $0, .register($1[0]), .register($1[1]))
      }
      #expect(
        result == zip(x, y).map { bits(expected(word($0), word($1))) }, "\(operation) \(type)")
    }
    // Shift counts have 32 bits and are clamped to the width.
    let counts = awkwardBits(Self.count, width: 32, seed: 4).map { $0 & 1 == 0 ? $0 % 80 : $0 }
    for operation in [BinaryOperation.shiftLeft, .shiftRight] {
      let result = try runInstruction([kind, .bits32], result: kind, [x, counts]) {
        .binary(operation, type, $0, .register($1[0]), .register($1[1]))
      }
      let expected = zip(x, counts).map { pair in
        let (value, count) = (word(pair.0), pair.1)
        if operation == .shiftLeft { return count >= width ? 0 : bits(value &<< Word(count)) }
        return count >= width ? (value < 0 ? bits(~0) : 0) : bits(value &>> Word(count))
      }
      #expect(result == expected, "\(operation) \(type)")
    }
    let comparisons: [(Comparison, (Word, Word) -> Bool)] = [
      (.equal, { $0 == $1 }), (.notEqual, { $0 != $1 }), (.less, { $0 < $1 }),
      (.lessOrEqual, { $0 <= $1 }), (.greater, { $0 > $1 }), (.greaterOrEqual, { $0 >= $1 }),
    ]
    for (comparison, expected) in comparisons {
      let result = try runInstruction([kind, kind], result: .predicate, [x, y]) {
        .compare(comparison, type, $0, .register($1[0]), .register($1[1]))
      }
      #expect(
        result == zip(x, y).map { expected(word($0), word($1)) ? 1 : 0 }, "\(comparison) \(type)")
    }
    let sums = try runInstruction([kind, kind, kind], result: kind, [x, y, z]) {
      .ternary(.multiplyAdd, type, $0, .register($1[0]), .register($1[1]), .register($1[2]))
    }
    #expect(sums == (0..<Self.count).map { bits(word(x[$0]) &* word(y[$0]) &+ word(z[$0])) })
    var unary: [(UnaryOperation, RegisterKind, (Word) -> UInt64)] = [(.not, kind, { bits(~$0) })]
    if width > 16 {
      unary += [
        (.negate, kind, { bits(0 &- $0) }),
        (.populationCount, .bits32, { UInt64($0.nonzeroBitCount) }),
        (.leadingZeros, .bits32, { UInt64($0.leadingZeroBitCount) }),
        (
          .reverseBits, kind,
          { value in
            (0..<width).reduce(0) { $0 | (bits(value) >> UInt64($1) & 1) << UInt64(width - 1 - $1) }
          }
        ),
      ]
      // Absolute values are of signed integers.
      unary.append(
        (
          .absolute, kind,
          { value in
            let negative = bits(value) >> UInt64(width - 1) != 0
            return negative ? bits(0 &- value) : bits(value)
          }
        ))
    }
    for (operation, result, expected) in unary {
      let results = try runInstruction([kind], result: result, [x]) {
        .unary(operation, type, $0, .register($1[0]))
      }
      #expect(results == x.map { expected(word($0)) }, "\(operation) \(type)")
    }
  }

  @Test func wideProductsAndShifts() throws {
    let x = awkwardBits(Self.count, width: 32, seed: 5)
    let y = awkwardBits(Self.count, width: 32, seed: 6)
    let z = awkwardBits(Self.count, width: 64, seed: 7)
    let unsigned = try runInstruction([.bits32, .bits32], result: .bits64, [x, y]) {
      .binary(.multiplyWide, .u32, $0, .register($1[0]), .register($1[1]))
    }
    #expect(unsigned == zip(x, y).map { $0 * $1 })
    func signed(_ bits: UInt64) -> Int64 { Int64(Int32(truncatingIfNeeded: bits)) }
    let sums = try runInstruction([.bits32, .bits32, .bits64], result: .bits64, [x, y, z]) {
      .ternary(.multiplyAddWide, .s32, $0, .register($1[0]), .register($1[1]), .register($1[2]))
    }
    #expect(
      sums == (0..<Self.count).map { UInt64(bitPattern: signed(x[$0]) * signed(y[$0])) &+ z[$0] })
    let funnels = try runInstruction([.bits32, .bits32, .bits32], result: .bits32, [x, y, z]) {
      .ternary(.funnelShiftRight, .b32, $0, .register($1[0]), .register($1[1]), .register($1[2]))
    }
    #expect(
      funnels == (0..<Self.count).map { (y[$0] << 32 | x[$0]) >> (z[$0] & 31) & 0xFFFF_FFFF })
  }

  @Test func bitsOfWords() throws {
    let x = awkwardBits(Self.count, width: 32, seed: 8)
    let y = awkwardBits(Self.count, width: 32, seed: 9)
    let z = awkwardBits(Self.count, width: 32, seed: 10)
    for table in [UInt8(0xEA), 0x96, 0x1B] {
      let result = try runInstruction([.bits32, .bits32, .bits32], result: .bits32, [x, y, z]) {
        .logic3($0, .register($1[0]), .register($1[1]), .register($1[2]), table: table)
      }
      let expected = (0..<Self.count).map { index in
        (0..<32).reduce(UInt64(0)) { sum, bit in
          let row =
            (x[index] >> UInt64(bit) & 1) << 2 | (y[index] >> UInt64(bit) & 1) << 1
            | z[index] >> UInt64(bit) & 1
          return sum | UInt64(table >> UInt8(row) & 1) << UInt64(bit)
        }
      }
      #expect(result == expected)
    }
    let permuted = try runInstruction([.bits32, .bits32, .bits32], result: .bits32, [x, y, z]) {
      .permuteBytes($0, .register($1[0]), .register($1[1]), selector: .register($1[2]))
    }
    let expected = (0..<Self.count).map { index in
      let bytes = (0..<8).map {
        UInt8(truncatingIfNeeded: (y[index] << 32 | x[index]) >> UInt64($0 * 8))
      }
      return (0..<4).reduce(UInt64(0)) { sum, part in
        let nibble = Int(z[index] >> UInt64(part * 4) & 15)
        let byte = bytes[nibble & 7]
        return sum | UInt64(nibble < 8 ? byte : byte > 127 ? 255 : 0) << UInt64(part * 8)
      }
    }
    #expect(permuted == expected)
  }

  // MARK: Floating point

  private static func same(_ bits: UInt64, _ expected: Float) -> Bool {
    expected.isNaN ? bits == 0x7FFF_FFFF : bits == UInt64(expected.bitPattern)
  }

  /// The sum rounded to nearest, and back by a place where that went beyond the exact sum.
  private static func sumTowardZero(_ x: Float, _ y: Float) -> Float {
    let sum = x + y
    guard x.isFinite, y.isFinite else { return sum }
    if sum.isInfinite { return sum < 0 ? -.greatestFiniteMagnitude : .greatestFiniteMagnitude }
    // What the rounding added, exactly.
    let (larger, smaller) = x.magnitude < y.magnitude ? (y, x) : (x, y)
    let excess = (sum - larger) - smaller
    if excess == 0 || (excess > 0) != (sum > 0) { return sum }
    return sum > 0 ? sum.nextDown : sum.nextUp
  }

  @Test func floats() throws {
    let x = awkwardBits(Self.count, width: 32, seed: 11)
    let y = awkwardBits(Self.count, width: 32, seed: 12)
    let z = awkwardBits(Self.count, width: 32, seed: 13)
    func float(_ bits: UInt64) -> Float { Float(bitPattern: UInt32(bits)) }
    let binary: [(BinaryOperation, (Float, Float) -> Float)] = [
      (.add, { $0 + $1 }), (.subtract, { $0 - $1 }), (.multiply, { $0 * $1 }),
      (.addTowardZero, Self.sumTowardZero), (.divide, { $0 / $1 }),
      (.minimum, { Float.minimum($0, $1) }), (.maximum, { Float.maximum($0, $1) }),
      (.minimumNaN, { $0.isNaN || $1.isNaN ? .nan : Float.minimum($0, $1) }),
      (.maximumNaN, { $0.isNaN || $1.isNaN ? .nan : Float.maximum($0, $1) }),
    ]
    for (operation, expected) in binary {
      let result = try runInstruction([.bits32, .bits32], result: .bits32, [x, y]) {
        .binary(operation, .f32, $0, .register($1[0]), .register($1[1]))
      }
      for index in 0..<Self.count {
        let (a, b) = (float(x[index]), float(y[index]))
        // Swift's minimum does not tell zeros apart.
        if a == 0, b == 0 { continue }
        #expect(Self.same(result[index], expected(a, b)), "\(operation) \(a) \(b)")
      }
    }
    let zeros = try runInstruction(
      [.bits32, .bits32], result: .bits32, [[0, 0x8000_0000], [0x8000_0000, 0]]
    ) {
      .binary(.minimum, .f32, $0, .register($1[0]), .register($1[1]))
    }
    #expect(zeros == [0x8000_0000, 0x8000_0000])
    // Products close to the addend are where a second rounding would show.
    let close = (0..<Self.count).map { UInt64((-(float(x[$0]) * float(y[$0]))).bitPattern) }
    for addend in [z, close] {
      let result = try runInstruction(
        [.bits32, .bits32, .bits32], result: .bits32, [x, y, addend]
      ) {
        .ternary(.multiplyAdd, .f32, $0, .register($1[0]), .register($1[1]), .register($1[2]))
      }
      for index in 0..<Self.count {
        let expected = float(addend[index]).addingProduct(float(x[index]), float(y[index]))
        #expect(Self.same(result[index], expected), "\(x[index]) \(y[index]) \(addend[index])")
      }
    }
    let comparisons: [(Comparison, (Float, Float) -> Bool)] = [
      (.equal, { $0 == $1 }), (.notEqual, { !$0.isNaN && !$1.isNaN && $0 != $1 }),
      (.less, { $0 < $1 }),
      (.greaterOrEqual, { $0 >= $1 }), (.notEqualOrNaN, { $0 != $1 }),
      (.unordered, { $0.isNaN || $1.isNaN }),
    ]
    for (comparison, expected) in comparisons {
      let result = try runInstruction([.bits32, .bits32], result: .predicate, [x, y]) {
        .compare(comparison, .f32, $0, .register($1[0]), .register($1[1]))
      }
      #expect(result == zip(x, y).map { expected(float($0), float($1)) ? 1 : 0 }, "\(comparison)")
    }
    let unary: [(UnaryOperation, (Float) -> Float)] = [
      (.negate, { -$0 }), (.absolute, { $0.magnitude }), (.reciprocal, { 1 / $0 }),
      (.squareRoot, { $0.squareRoot() }),
    ]
    for (operation, expected) in unary {
      let result = try runInstruction([.bits32], result: .bits32, [x]) {
        .unary(operation, .f32, $0, .register($1[0]))
      }
      for index in 0..<Self.count {
        #expect(
          Self.same(result[index], expected(float(x[index]))), "\(operation) \(float(x[index]))")
      }
    }
  }

  @Test func approximations() throws {
    let x = (0..<Self.count).map { UInt64((Float($0) * 0.0117 + 0.01).bitPattern) }
    var perturbed = Emulator.Options()
    perturbed.approximations = .perturbed(seed: 3)
    for operation in [
      UnaryOperation.approximateReciprocal, .approximateReciprocalRoot, .approximateExponential2,
      .approximateLogarithm2, .approximateTanh,
    ] {
      func run(_ options: Emulator.Options) throws -> [Float] {
        try runInstruction([.bits32], result: .bits32, [x], options: options) {
          .unary(operation, .f32, $0, .register($1[0]))
        }.map { Float(bitPattern: UInt32($0)) }
      }
      let exact = try run(.init())
      let off = try run(perturbed)
      // tanh errs by 2^-11 of the result, the others by a few units in the last place.
      let bound: Float = operation == .approximateTanh ? 0x1p-11 : 0x1p-21
      #expect(
        zip(exact, off).allSatisfy { ($0 - $1).magnitude <= bound * Swift.max($0.magnitude, 1) })
      #expect(exact != off, "\(operation)")
    }
    let two = try runInstruction([.bits32], result: .bits32, [[UInt64(Float(3).bitPattern)]]) {
      .unary(.approximateExponential2, .f32, $0, .register($1[0]))
    }
    #expect(two == [UInt64(Float(8).bitPattern)])
  }

  #if !(os(macOS) && arch(x86_64))
    @Test func halves() throws {
      let x = awkwardBits(Self.count, width: 16, seed: 14)
      let y = awkwardBits(Self.count, width: 16, seed: 15)
      let z = awkwardBits(Self.count, width: 16, seed: 16)
      func half(_ bits: UInt64) -> Float16 { Float16(bitPattern: UInt16(bits)) }
      func bits(_ value: Float16) -> UInt64 { value.isNaN ? 0x7FFF : UInt64(value.bitPattern) }
      let binary: [(BinaryOperation, (Float16, Float16) -> Float16)] = [
        (.add, { $0 + $1 }), (.subtract, { $0 - $1 }), (.multiply, { $0 * $1 }),
      ]
      for (operation, expected) in binary {
        let result = try runInstruction([.bits16, .bits16], result: .bits16, [x, y]) {
          .binary(operation, .f16, $0, .register($1[0]), .register($1[1]))
        }
        #expect(result == zip(x, y).map { bits(expected(half($0), half($1))) }, "\(operation)")
      }
      // Packed: the halves swapped are another pair.
      let pairs = zip(x, y).map { $0 << 16 | $1 }
      let others = zip(y, z).map { $0 << 16 | $1 }
      let sums = zip(z, x).map { $0 << 16 | $1 }
      let result = try runInstruction(
        [.bits32, .bits32, .bits32], result: .bits32, [pairs, others, sums]
      ) {
        .ternary(.multiplyAdd, .f16x2, $0, .register($1[0]), .register($1[1]), .register($1[2]))
      }
      let expected = (0..<Self.count).map { index in
        let high = half(z[index]).addingProduct(half(x[index]), half(y[index]))
        let low = half(x[index]).addingProduct(half(y[index]), half(z[index]))
        return bits(high) << 16 | bits(low)
      }
      #expect(result == expected)
    }
  #endif
}
