// SPDX-License-Identifier: Apache-2.0

import PTX

/// Registers by number, as the text names them.
func p(_ index: Int) -> Register { Register(kind: .predicate, index: index) }
func h(_ index: Int) -> Register { Register(kind: .bits16, index: index) }
func r(_ index: Int) -> Register { Register(kind: .bits32, index: index) }
func d(_ index: Int) -> Register { Register(kind: .bits64, index: index) }

extension Operand {
  static func h(_ index: Int) -> Operand { .register(Register(kind: .bits16, index: index)) }
  static func r(_ index: Int) -> Operand { .register(Register(kind: .bits32, index: index)) }
  static func d(_ index: Int) -> Operand { .register(Register(kind: .bits64, index: index)) }
  static func float(_ value: Float) -> Operand { .immediate(UInt64(value.bitPattern)) }
  /// A register of this kind.
  static func register(of kind: RegisterKind, _ index: Int) -> Operand {
    .register(Register(kind: kind, index: index))
  }
}

extension Operand: ExpressibleByIntegerLiteral {
  /// An immediate.
  public init(integerLiteral value: Int) { self = .immediate(UInt64(bitPattern: Int64(value))) }
}

/// Where hand-built statements say they come from.
func at(_ line: Int) -> SourceLine { SourceLine(file: "PTXTests/Samples.swift", line: line) }

/// A kernel of hand-built statements, with parameters of each kind and registers to spare.
func tree(
  named name: String = "sample", for target: Target = .sm90a, sharedBytes: Int = 4096,
  bounds: LaunchBounds = LaunchBounds(threads: 128, minimumBlocks: 1), _ body: [Statement]
) -> KernelTree {
  KernelTree(
    name: name, target: target,
    parameters: [
      KernelParameter(name: "input", kind: .pointer), KernelParameter(name: "count", kind: .uint32),
      KernelParameter(name: "bytes", kind: .uint64), KernelParameter(name: "factor", kind: .float),
      KernelParameter(name: "map", kind: .tensorMap),
    ],
    sharedBytes: sharedBytes, bounds: bounds, registerCounts: [16, 16, 160, 16], body: body)
}

/// The same of instructions, a Swift line each.
func tree(
  named name: String = "sample", for target: Target = .sm90a, _ instructions: [Instruction]
) -> KernelTree {
  tree(
    named: name, for: target,
    instructions.enumerated().map { .instruction($1, guardedBy: nil, at($0 + 1)) })
}

/// What `validate` says, or nothing.
func complaint(of tree: KernelTree) -> String? {
  do {
    try tree.validate()
    return nil
  } catch {
    return error.description
  }
}
