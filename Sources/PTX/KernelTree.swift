// SPDX-License-Identifier: Apache-2.0

/// A kernel after building: what the renderer writes and the emulator runs.
package struct KernelTree: Hashable, Sendable {
  /// The entry's name, also its key in a module.
  package var name: String
  package var target: Target
  package var parameters: [KernelParameter]
  /// Bytes of shared memory, all of it dynamic, whose first byte is aligned to 1024.
  package var sharedBytes: Int
  package var bounds: LaunchBounds
  /// How many virtual registers there are of each kind, by `RegisterKind.rawValue`.
  package var registerCounts: [Int]
  package var body: [Statement]

  package init(
    name: String, target: Target, parameters: [KernelParameter], sharedBytes: Int,
    bounds: LaunchBounds, registerCounts: [Int], body: [Statement]
  ) {
    self.name = name
    self.target = target
    self.parameters = parameters
    self.sharedBytes = sharedBytes
    self.bounds = bounds
    self.registerCounts = registerCounts
    self.body = body
  }
}

/// What a kernel says of its launches.
package struct LaunchBounds: Hashable, Sendable {
  /// Exactly so many threads a block, in one dimension.
  package var threads: Int
  /// How many blocks a multiprocessor is to hold at least, or nothing.
  package var minimumBlocks: Int?
  /// A limit for registers a thread, or nothing.
  package var maximumRegisters: Int?
  /// Blocks a cluster.
  package var clusterBlocks: Int

  package init(
    threads: Int, minimumBlocks: Int? = nil, maximumRegisters: Int? = nil, clusterBlocks: Int = 1
  ) {
    self.threads = threads
    self.minimumBlocks = minimumBlocks
    self.maximumRegisters = maximumRegisters
    self.clusterBlocks = clusterBlocks
  }
}

/// A parameter of an entry; launches name it.
package struct KernelParameter: Hashable, Sendable {
  package enum Kind: Hashable, Sendable {
    /// An address of global memory, of elements of so many bytes.
    case pointer
    case uint32, uint64, float
    /// 128 bytes, aligned to 64, passed by value.
    case tensorMap
  }

  package var name: String
  package var kind: Kind

  package init(name: String, kind: Kind) {
    self.name = name
    self.kind = kind
  }
}

/// What is done: an instruction, a branch or a loop.
///
/// There are no labels.
package indirect enum Statement: Hashable, Sendable {
  /// An instruction for the lanes that are active, where the predicate (if there is one) is as said.
  case instruction(Instruction, guardedBy: Guard?, SourceLine)
  case branch(Guard, then: [Statement], otherwise: [Statement], SourceLine)
  /// Repeats until every lane has left by `leave`.
  case loop([Statement], SourceLine)
  /// Lanes where the guard holds (all, if there is none) leave the innermost loop.
  case leave(Guard?, SourceLine)
  /// Lanes where the guard holds (all, if there is none) end.
  case exit(Guard?, SourceLine)
  /// A line of comment in the text.
  case comment(String)
}

/// A predicate and the value that it must have.
package struct Guard: Hashable, Sendable {
  package var predicate: Register
  package var expected: Bool

  package init(_ predicate: Register, is expected: Bool = true) {
    self.predicate = predicate
    self.expected = expected
  }
}

/// Where in the Swift source something was written.
package struct SourceLine: Hashable, Sendable, CustomStringConvertible {
  /// `Module/File.swift`.
  package var file: String
  package var line: Int

  package init(file: String, line: Int) {
    self.file = file
    self.line = line
  }

  package var description: String { "\(file):\(line)" }
}
