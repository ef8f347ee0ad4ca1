// SPDX-License-Identifier: Apache-2.0

import PTX
import PTXEmulator

extension RegisterKind {
  /// The type that moves its bits.
  var bits: ScalarType {
    switch self {
    case .predicate: .predicate
    case .bits16: .b16
    case .bits32: .b32
    case .bits64: .b64
    }
  }
}

/// Runs an instruction for every row of operands, one a thread, and returns the results' bits.
///
/// - Parameters:
///   - kinds: The register of each operand.
///   - result: The kind of the result; predicates come back as 0 and 1.
///   - operands: For each operand its values.
func runInstruction(
  _ kinds: [RegisterKind], result: RegisterKind, _ operands: [[UInt64]],
  options: Emulator.Options = .init(), _ instruction: (Register, [Register]) -> Instruction
) throws -> [UInt64] {
  var k = TreeMaker()
  let count = operands[0].count
  let memory = EmulatedMemory()
  var arguments: [(name: String, value: KernelArgument)] = []
  let out = k.parameter("out")
  let (thread, block) = (k.special(.threadX), k.special(.blockX))
  let index = k.register(.bits32)
  k.add(.ternary(.multiplyAdd, .u32, index, .register(block), .immediate(32), .register(thread)))
  let inside = k.isBelow(count, index)
  k.exit(if: Guard(inside.predicate, is: false))
  var registers: [Register] = []
  for (number, kind) in kinds.enumerated() {
    let base = k.parameter("x\(number)")
    registers.append(k.load(kind.bits, base, index))
    let values = operands[number]
    let address =
      switch kind {
      case .bits16: memory.upload(values.map { UInt16(truncatingIfNeeded: $0) })
      case .bits32: memory.upload(values.map { UInt32(truncatingIfNeeded: $0) })
      case .bits64, .predicate: memory.upload(values)
      }
    arguments.append(("x\(number)", .pointer(address)))
  }
  var value = k.register(result)
  k.add(instruction(value, registers))
  if result == .predicate {
    let bit = k.register(.bits32)
    k.add(.select(bit, .immediate(1), .immediate(0), value))
    value = bit
  }
  k.store(value.kind.bits, value, out, index)
  let width = value.kind.bits.byteCount
  let address = memory.allocate(bytes: count * width)
  arguments.append(("out", .pointer(address)))
  try Emulator(options).launch(
    k.tree, grid: GridShape((count + 31) / 32), arguments: arguments, memory: memory)
  return switch width {
  case 2: try memory.download(UInt16.self, count: count, from: address).map(UInt64.init)
  case 4: try memory.download(UInt32.self, count: count, from: address).map(UInt64.init)
  default: try memory.download(UInt64.self, count: count, from: address)
  }
}

/// Random bits with the values among them at which arithmetic breaks.
func awkwardBits(_ count: Int, width: Int, seed: UInt64) -> [UInt64] {
  var random = Random(seed: seed)
  let all: UInt64 = width == 64 ? .max : 1 << UInt64(width) - 1
  let top: UInt64 = 1 << UInt64(width - 1)
  let special: [UInt64] =
    switch width {
    case 32:
      [0x7F80_0000, 0xFF80_0000, 0x7FC0_0000, 0x3F80_0000, 0x8000_0000, 1, 0x33, 0x7F7F_FFFF]
    case 64: [0x7FF0 << 48, 0xFFF0 << 48, 0x7FF8 << 48, 0x3FF0 << 48, 1, 31, 63, 64]
    default: [0x7C00, 0xFC00, 0x7E00, 0x7F80, 0xFF80, 0x3C00, 1, 0x3F80]
    }
  let values = special + [0, top, all, top - 1, top + 1, 5, 32, 31]
  return (0..<count).map { _ in
    let draw = random.next()
    return draw & 3 == 0 ? values[Int(draw >> 8) % values.count] : random.next() & all
  }
}
