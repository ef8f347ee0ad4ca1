// SPDX-License-Identifier: Apache-2.0

import PTX
import PTXEmulator
import Testing

@Suite struct WarpTests {
  /// Segments of every width, every mode, and lanes beyond them.
  @Test(arguments: [ShuffleMode.index, .up, .down, .butterfly])
  func shuffles(_ mode: ShuffleMode) throws {
    let values = (0..<32).map { UInt64($0 * 7 + 1) }
    for width in [2, 8, 16, 32] {
      for distance in 0..<width {
        // As `__shfl_sync` makes the clamp of a width.
        let clamp = UInt64(32 - width) << 8 | (mode == .up ? 0 : 0x1F)
        let result = try runInstruction([.bits32], result: .bits32, [values]) {
          .shuffle(
            mode, $0, valid: nil, .register($1[0]), lane: .immediate(UInt64(distance)),
            clamp: .immediate(clamp), mask: .immediate(0xFFFF_FFFF))
        }
        let expected = (0..<32).map { lane in
          let first = lane / width * width
          let from =
            switch mode {
            case .index: first + distance
            case .up: lane - distance >= first ? lane - distance : lane
            case .down: lane + distance < first + width ? lane + distance : lane
            case .butterfly: lane ^ distance
            }
          return values[from]
        }
        #expect(result == expected, "\(mode) of \(width) by \(distance)")
      }
    }
  }

  @Test func reductionsAndVotes() throws {
    let values = awkwardBits(32, width: 32, seed: 20)
    let words = values.map { UInt32($0) }
    let all = Operand.immediate(0xFFFF_FFFF)
    let expected: [(BinaryOperation, ScalarType, UInt32)] = [
      (.add, .u32, words.reduce(0, &+)), (.minimum, .u32, words.min()!),
      (.maximum, .u32, words.max()!),
      (.minimum, .s32, UInt32(bitPattern: words.map { Int32(bitPattern: $0) }.min()!)),
      (.maximum, .s32, UInt32(bitPattern: words.map { Int32(bitPattern: $0) }.max()!)),
      (.and, .b32, words.reduce(~0, &)), (.or, .b32, words.reduce(0, |)),
      (.xor, .b32, words.reduce(0, ^)),
    ]
    for (operation, type, value) in expected {
      let result = try runInstruction([.bits32], result: .bits32, [values]) {
        .reduceWarp(operation, type, $0, .register($1[0]), mask: all)
      }
      #expect(result == Array(repeating: UInt64(value), count: 32), "\(operation) \(type)")
    }

    var k = TreeMaker()
    let out = k.parameter("out")
    let lane = k.special(.lane)
    let odd = k.register(.bits32)
    k.add(.binary(.and, .b32, odd, .register(lane), .immediate(1)))
    let isOdd = k.register(.predicate)
    k.add(.compare(.equal, .u32, isOdd, .register(odd), .immediate(1)))
    let ballot = k.register(.bits32)
    k.add(.ballot(ballot, isOdd, mask: all))
    let (any, every, elected) = (
      k.register(.predicate), k.register(.predicate), k.register(.predicate)
    )
    k.add(.vote(.any, any, isOdd, mask: all))
    k.add(.vote(.all, every, isOdd, mask: all))
    // The odd lanes vote among themselves.
    k.branch(
      Guard(isOdd),
      then: { k in
        k.add(.vote(.all, every, isOdd, mask: .immediate(0xAAAA_AAAA)))
      })
    k.add(.elect(elected, mask: all))
    let sum = k.value(0)
    for (index, predicate) in [any, every, elected].enumerated() {
      k.add(
        .binary(.add, .u32, sum, .register(sum), .immediate(1 << UInt64(index))),
        if: Guard(predicate))
    }
    k.add(.binary(.xor, .b32, sum, .register(sum), .register(ballot)))
    k.store(.u32, sum, out, lane)
    let memory = EmulatedMemory()
    let result = memory.allocate(bytes: 128)
    try Emulator().launch(
      k.tree, grid: GridShape(1), arguments: [("out", .pointer(result))], memory: memory)
    let bits = (0..<32).map { 0xAAAA_AAAA ^ UInt32($0 % 2 == 1 ? 3 : $0 == 0 ? 5 : 1) }
    #expect(try memory.download(UInt32.self, count: 32, from: result) == bits)
  }

  /// Matrices that one instruction stores come back from memory, and from the other, as they were.
  @Test(arguments: [false, true], [1, 2, 4])
  func matrices(_ transposed: Bool, _ count: Int) throws {
    var k = TreeMaker()
    k.sharedBytes = 1024
    let (out, lane) = (k.parameter("out"), k.special(.lane))
    let places = k.sharedAddress(0, lane, scale: 16)
    // The pair of lane l of matrix m: 256 m + 2 l and the next.
    let sources = (0..<count).map { matrix in
      let word = k.register(.bits32)
      k.add(
        .ternary(
          .multiplyAdd, .u32, word, .register(lane), .immediate(0x2_0002),
          .immediate(UInt64(matrix * 256) * 0x1_0001 + 0x1_0000)))
      return word
    }
    k.add(.storeMatrix(sources, Address(places), transposed: transposed))
    let loaded = k.registers(count)
    k.add(.loadMatrix(loaded, Address(places), transposed: transposed))
    // And what lies in memory, by plain loads: lane l reads 16 bytes, row l mod 8 of matrix l / 8.
    let memory = EmulatedMemory()
    let result = memory.allocate(bytes: 128 * count + 128 * count)
    for index in 0..<count {
      let at = k.register(.bits32)
      k.add(.binary(.add, .u32, at, .register(lane), .immediate(UInt64(index * 32))))
      k.store(.u32, loaded[index], out, at)
      let plain = k.register(.bits32)
      let word = k.sharedAddress(index * 128, lane, scale: 4)
      k.add(
        .load(MemoryAccess(space: .shared, type: .b32), to: [plain], address: Address(word)))
      k.add(.binary(.add, .u32, at, .register(at), .immediate(UInt64(count * 32))))
      k.store(.u32, plain, out, at)
    }
    try Emulator().launch(
      k.tree, grid: GridShape(1), arguments: [("out", .pointer(result))], memory: memory)
    let values = try memory.download(UInt16.self, count: count * 128, from: result)
    for matrix in 0..<count {
      for lane in 0..<32 {
        for half in 0..<2 {
          let value = UInt16(matrix * 256 + lane * 2 + half)
          #expect(values[matrix * 64 + lane * 2 + half] == value)
          let (major, minor) = (lane / 4, lane % 4 * 2 + half)
          let place = transposed ? minor * 8 + major : major * 8 + minor
          #expect(values[count * 64 + matrix * 64 + place] == value)
        }
      }
    }
  }
}
