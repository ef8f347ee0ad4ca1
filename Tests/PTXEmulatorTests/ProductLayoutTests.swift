// SPDX-License-Identifier: Apache-2.0

import PTX
import PTXEmulator
import Testing

/// One wgmma with operands laid out by hand, in every layout that a descriptor can name.
@Suite struct ProductLayoutTests {
  /// How an operand of `rows` by the instruction's depth lies in shared memory.
  struct Layout {
    var swizzle: Swizzle
    var isAcross: Bool
    var rows: Int
    /// Bytes of an element.
    var size: Int

    private var span: Int { swizzle.rowBytes ?? 16 }

    /// How far the chunks of 16 bytes of line i of eight are turned.
    private func turn(_ line: Int) -> Int {
      switch swizzle {
      case .none: 0
      case .bytes128: line
      case .bytes64: line / 2
      case .bytes32: line / 4
      }
    }

    /// The byte of an element.
    func place(_ row: Int, _ k: Int) -> Int {
      let (minor, major) = isAcross ? (row * size, k) : (k * size, row)
      let group = major / 8
      let line = major % 8
      let chunk = minor / 16
      if swizzle == .none {
        // Blocks of eight lines of 16 bytes, first along M or N.
        let block = isAcross ? group * (rows / 8) + chunk : chunk * (rows / 8) + group
        return block * 128 + line * 16 + minor % 16
      }
      let chunks = span / 16
      let atom = isAcross ? chunk / chunks * 2 + group : group
      return atom * 8 * span + line * span + (chunk % chunks ^ turn(line)) * 16 + minor % 16
    }

    var byteCount: Int {
      swizzle == .none
        ? rows * 32 : isAcross ? (rows * size + span - 1) / span * span * 16 : rows * span
    }

    /// The descriptor of the operand at a shared address.
    func descriptor(_ address: Int) -> UInt64 {
      let (leading, stride) =
        swizzle == .none
        ? (rows / 8 * 128, 128) : isAcross ? (16 * span, 8 * span) : (0, 8 * span)
      return UInt64(address >> 4) | UInt64(leading >> 4) << 16 | UInt64(stride >> 4) << 32
        | swizzle.descriptorBits << 62
    }
  }

  static let swizzles: [Swizzle] = [.none, .bytes32, .bytes64, .bytes128]

  @Test(arguments: swizzles, [(false, false), (true, false), (false, true), (true, true)])
  func bfloat16(_ swizzle: Swizzle, _ across: (left: Bool, right: Bool)) throws {
    try multiply(.bf16, .bf16, swizzle, columns: 64, across, registers: false)
    try multiply(.f16, .f16, swizzle, columns: 24, (across.left, false), registers: false)
  }

  @Test(arguments: swizzles)
  func float8(_ swizzle: Swizzle) throws {
    try multiply(.e4m3, .e4m3, swizzle, columns: 40, (false, false), registers: false)
    try multiply(.e5m2, .e4m3, swizzle, columns: 8, (false, false), registers: false)
  }

  @Test func leftOperandsInRegisters() throws {
    try multiply(.e4m3, .e5m2, .bytes128, columns: 256, (false, false), registers: true)
    try multiply(.bf16, .bf16, .bytes128, columns: 16, (false, false), registers: true)
    try multiply(.bf16, .bf16, .bytes64, columns: 32, (false, true), registers: true)
  }

  /// Small integers, whose sums are exact in any order.
  private func multiply(
    _ leftElement: MatrixProduct.Element, _ rightElement: MatrixProduct.Element,
    _ swizzle: Swizzle, columns: Int, _ across: (left: Bool, right: Bool), registers: Bool
  ) throws {
    let depth = leftElement.depth
    let size = 32 / depth
    let left = Layout(swizzle: swizzle, isAcross: across.left, rows: 64, size: size)
    let right = Layout(swizzle: swizzle, isAcross: across.right, rows: columns, size: size)
    var random = Random(seed: UInt64(columns))
    let a = (0..<64 * depth).map { _ in Int(random.next() % 9) - 4 }
    let b = (0..<columns * depth).map { _ in Int(random.next() % 9) - 4 }
    func code(_ value: Int, _ element: MatrixProduct.Element) -> [UInt8] {
      let sign: UInt8 = value < 0 ? 0x80 : 0
      let magnitude = Int(value.magnitude)
      // Codes of 0 to 4 of each format, or their high bytes.
      switch element {
      case .e4m3: return [sign | [0, 0x38, 0x40, 0x44, 0x48][magnitude]]
      case .e5m2: return [sign | [0, 0x3C, 0x40, 0x42, 0x44][magnitude]]
      case .f16: return [0, sign | [0, 0x3C, 0x40, 0x42, 0x44][magnitude]]
      case .bf16:
        let bits: UInt16 = [0, 0x3F80, 0x4000, 0x4040, 0x4080][magnitude]
        return [UInt8(bits & 0xFF), UInt8(bits >> 8) | sign]
      }
    }
    let rightOffset = (left.byteCount + 1023) & ~1023
    var image = [UInt8](repeating: 0, count: (rightOffset + right.byteCount + 1023) & ~1023)
    for k in 0..<depth {
      for row in 0..<64 {
        image.replaceSubrange(
          left.place(row, k)..<left.place(row, k) + size,
          with: code(a[row * depth + k], leftElement))
      }
      for row in 0..<columns {
        let place = rightOffset + right.place(row, k)
        image.replaceSubrange(place..<place + size, with: code(b[row * depth + k], rightElement))
      }
    }

    var k = TreeMaker()
    k.threads = 128
    k.sharedBytes = image.count + 16
    let (x, fragments, out) = (k.parameter("x"), k.parameter("fragments"), k.parameter("out"))
    let barrier = k.transactionBarrier(image.count)
    let base = k.register(.bits32)
    k.add(.sharedAddress(base, offset: 0))
    let thread = k.special(.threadX)
    let one = k.isBelow(1, thread)
    k.add(.mbarrierArriveExpecting(barrier, bytes: .immediate(UInt64(image.count))), if: one)
    k.add(
      .bulkLoad(
        shared: Address(base), global: x, bytes: .immediate(UInt64(image.count)), barrier: barrier),
      if: one)
    k.wait(barrier, parity: 0)
    let sums = k.registers(columns / 2)
    for sum in sums { k.add(.move(sum, .immediate(UInt64(Float(100).bitPattern)))) }
    var operands: [Register] = []
    if registers {
      let at = k.address(fragments, thread, scale: 16)
      operands = k.registers(4)
      k.add(
        .load(
          MemoryAccess(space: .global, type: .b32, count: 4), to: operands, address: Address(at)))
    }
    let leftDescriptor = k.value(left.descriptor(1024), .bits64)
    let rightDescriptor = k.value(right.descriptor(1024 + rightOffset), .bits64)
    k.add(.wgmmaFence)
    k.add(
      .wgmma(
        MatrixProduct(
          columns: columns, leftElement: leftElement, rightElement: rightElement, sums: sums,
          left: registers ? .registers(operands) : .descriptor(leftDescriptor),
          right: rightDescriptor, adding: true, leftTransposed: across.left,
          rightTransposed: across.right)))
    k.add(.wgmmaCommit)
    k.add(.wgmmaWait(pending: 0))
    for (index, sum) in sums.enumerated() {
      let at = k.register(.bits32)
      k.add(
        .ternary(
          .multiplyAdd, .u32, at, .register(thread), .immediate(UInt64(sums.count)),
          .immediate(UInt64(index))))
      k.store(.f32, sum, out, at)
    }

    // The fragments of each thread: rows l / 4 and 8 more, and along K in two halves.
    var words: [UInt32] = []
    for thread in 0..<128 {
      let (row, lane) = (thread / 32 * 16 + thread % 32 / 4, thread % 4)
      for index in 0..<4 {
        let count = 4 / size
        var word: UInt32 = 0
        for value in (0..<count).reversed() {
          let k = lane * count + value + index / 2 * (depth / 2)
          for byte in code(a[(row + index % 2 * 8) * depth + k], leftElement).reversed() {
            word = word << 8 | UInt32(byte)
          }
        }
        words.append(word)
      }
    }
    let memory = EmulatedMemory()
    let result = memory.allocate(bytes: 128 * sums.count * 4)
    try Emulator().launch(
      k.tree, grid: GridShape(1),
      arguments: [
        ("x", .pointer(memory.upload(image))), ("fragments", .pointer(memory.upload(words))),
        ("out", .pointer(result)),
      ], memory: memory)
    let values = try memory.download(Float.self, count: 128 * sums.count, from: result)
    for thread in 0..<128 {
      for index in 0..<sums.count {
        let row = thread / 32 * 16 + thread % 32 / 4 + index % 4 / 2 * 8
        let column = index / 4 * 8 + thread % 4 * 2 + index % 2
        let sum = (0..<depth).reduce(100) { $0 + a[row * depth + $1] * b[column * depth + $1] }
        #expect(values[thread * sums.count + index] == Float(sum))
      }
    }
  }
}
