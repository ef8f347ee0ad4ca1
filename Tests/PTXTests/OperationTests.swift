// SPDX-License-Identifier: Apache-2.0

import PTX
import Testing
import _BlockScaleTestSupport

/// All operations with all types: what validation accepts, the assembler accepts.
@Suite struct OperationTests {
  @Test(arguments: Target.all)
  func acceptedOperationsAssemble(target: Target) throws {
    let groups = [
      unaries, binaries, ternaries, comparisons, conversions, atomics, accesses, reductions,
    ]
    for group in groups {
      let accepted = group.filter { complaint(of: tree(for: target, [$0])) == nil }
      #expect(accepted.count > group.count / 40)
      let text = try tree(for: target, accepted).text
      guard let assembler = Assembler.installed else { return print(Assembler.absence) }
      _ = try assembler.assemble(text, for: target.name)
    }
  }

  /// And what it refuses for its types alone, the assembler refuses.
  @Test func refusedOperationsDoNotAssemble() throws {
    #expect(complaint(of: tree([.binary(.divide, .f16, h(0), .h(1), .h(2))])) != nil)
    #expect(complaint(of: tree([.unary(.populationCount, .u16, r(0), .h(1))])) != nil)
    #expect(complaint(of: tree([.compare(.less, .b32, p(0), .r(1), .r(2))])) != nil)
    #expect(
      complaint(
        of: tree([
          .atomic(.minimum, .f32, .global, to: nil, address: Address(d(0)), .r(1), compare: nil)
        ])) != nil)
  }

  private var types: [ScalarType] { ScalarType.allCases }

  private func result(_ type: ScalarType) -> Register {
    Register(kind: type.registerKind, index: 0)
  }
  private func source(_ type: ScalarType, _ index: Int = 1) -> Operand {
    .register(of: type.registerKind, index)
  }

  private var unaries: [Instruction] {
    UnaryOperation.allCases.flatMap { operation in
      types.flatMap { type -> [Instruction] in
        let counts = operation == .populationCount || operation == .leadingZeros
        return [source(type), 1].map { .unary(operation, type, counts ? r(0) : result(type), $0) }
      }
    }
  }

  private var binaries: [Instruction] {
    BinaryOperation.allCases.flatMap { operation in
      types.flatMap { type -> [Instruction] in
        let shifts = operation == .shiftLeft || operation == .shiftRight
        let destination = operation == .multiplyWide ? twice(type) : result(type)
        return [shifts ? .r(2) : source(type, 2), 3].map {
          .binary(operation, type, destination, source(type), $0)
        }
      }
    }
  }

  private var ternaries: [Instruction] {
    TernaryOperation.allCases.flatMap { operation in
      types.flatMap { type -> [Instruction] in
        let destination = operation == .multiplyAddWide ? twice(type) : result(type)
        let sum = Operand.register(of: destination.kind, 3)
        return [sum, 3].map {
          .ternary(operation, type, destination, source(type), source(type, 2), $0)
        }
      }
    }
  }

  /// A register for an integer of twice the bits.
  private func twice(_ type: ScalarType) -> Register { type.byteCount == 2 ? r(0) : d(0) }

  private var comparisons: [Instruction] {
    Comparison.allCases.flatMap { comparison in
      types.flatMap { type -> [Instruction] in
        [source(type, 2), 3].map { .compare(comparison, type, p(0), source(type), $0) }
      }
    }
  }

  private var conversions: [Instruction] {
    types.flatMap { to in
      types.flatMap { from in
        Rounding.allCases.flatMap { rounding -> [Instruction] in
          [false, true].flatMap { saturating -> [Instruction] in
            [source(from), 1].map {
              .convert(
                result(to), to: to, $0, from: from, rounding: rounding, saturating: saturating)
            }
          }
        }
      }
    }
  }

  private var atomics: [Instruction] {
    AtomicOperation.allCases.flatMap { operation in
      types.flatMap { type -> [Instruction] in
        [(MemorySpace.global, d(1)), (.shared, r(3))].flatMap { space, base -> [Instruction] in
          [result(type), nil].flatMap { destination -> [Instruction] in
            [source(type), 1].map {
              .atomic(
                operation, type, space, to: destination, address: Address(base), $0,
                compare: operation == .compareAndSwap ? source(type, 2) : nil)
            }
          }
        }
      }
    }
  }

  private var accesses: [Instruction] {
    types.flatMap { type in
      [1, 2, 4].flatMap { count in
        [(MemorySpace.global, d(9)), (.shared, r(9)), (.sharedCluster, r(9))].flatMap {
          space, base in
          [CacheHint.normal, .readOnly, .evictFirst].flatMap { cache in
            [false, true].flatMap { isVolatile -> [Instruction] in
              let access = MemoryAccess(
                space: space, type: type, count: count, cache: cache, isVolatile: isVolatile)
              let registers = (0..<count).map { Register(kind: type.registerKind, index: $0) }
              return [
                .load(access, to: registers, address: Address(base)),
                .store(access, from: registers.map(Operand.register), address: Address(base)),
                .store(access, from: registers.map { _ in 1 }, address: Address(base)),
              ]
            }
          }
        }
      }
    }
  }

  private var reductions: [Instruction] {
    BinaryOperation.allCases.flatMap { operation in
      types.map { .reduceWarp(operation, $0, r(0), .r(1), mask: -1) }
    }
  }
}
