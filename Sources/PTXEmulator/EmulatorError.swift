// SPDX-License-Identifier: Apache-2.0

package import PTX

/// A kernel did what a GPU would not forgive, or could not be run.
package struct EmulatorError: Error, Hashable, Sendable, CustomStringConvertible {
  /// What went wrong, for tests; the description says it in words.
  package enum Kind: String, Hashable, Sendable, CaseIterable {
    /// Arguments or the grid do not suit the kernel.
    case launch
    /// The tree asks for what PTX has not.
    case malformed
    case uninitializedRegister, uninitializedShared, uninitializedGlobal
    /// Bytes that threads wrote and no proxy fence made visible to bulk copies and wgmma.
    case notVisibleToAsyncProxy
    /// Bytes that a copy is still writing, or that a copy or wgmma is still reading.
    case inFlight
    case outOfBounds, misaligned
    /// Accesses of two warps to one byte, one of them a write, that nothing orders.
    case race
    /// Lanes of one instruction write different values to one address.
    case conflictingWrites
    /// A barrier whose participants do not agree on its count, or some of whom have ended.
    case barrierMismatch
    case phaseWaitedTwice, arrivalOverflow, transactionCount
    /// A use of bytes as a transaction barrier that are none, or the reverse.
    case notABarrier
    /// An instruction of a whole warp or warpgroup that only some of it executes.
    case divergentCollective
    /// A shuffle, vote or reduction that names or reads a lane that does not take part.
    case inactiveLane
    case deadlock
    /// Registers of a matrix product that is still in flight.
    case registerInFlight
    case missingProductFence
    /// The end of a thread whose bulk stores still read shared memory, or whose products are in flight.
    case unfinished
    /// `setmaxnreg` against its rules.
    case registerPool
    case tensorMap, descriptor
    case instructionLimit
    case trap
  }

  package let kind: Kind
  /// Where in the Swift source the instruction was written, or nothing for launches.
  package let line: SourceLine?
  /// One sentence that names the kernel, and where there are such the block, warp, lanes and line.
  package let description: String
}

/// What an instruction found wrong; the scheduler adds who executed it and where.
struct Fault: Error {
  var kind: EmulatorError.Kind
  var text: String
  var lanes: UInt32?
  /// Where it comes from, if that is not the instruction at hand.
  var line: SourceLine?

  init(
    _ kind: EmulatorError.Kind, _ text: String, lanes: UInt32? = nil, line: SourceLine? = nil
  ) {
    self.kind = kind
    self.text = text
    self.lanes = lanes
    self.line = line
  }

  init(_ kind: EmulatorError.Kind, _ text: String, lane: Int) {
    self.init(kind, text, lanes: 1 << UInt32(lane))
  }
}

/// Lanes of a mask as words: `lane 3`, `lanes 0-7 and 12`.
func laneNames(_ mask: UInt32) -> String {
  guard mask != 0 else { return "no lane" }
  var runs: [String] = []
  var lane = 0
  while lane < 32 {
    guard mask >> UInt32(lane) & 1 != 0 else {
      lane += 1
      continue
    }
    let first = lane
    while lane < 32, mask >> UInt32(lane) & 1 != 0 { lane += 1 }
    runs.append(first == lane - 1 ? "\(first)" : "\(first)-\(lane - 1)")
  }
  let names =
    runs.count == 1
    ? runs[0] : runs.dropLast().joined(separator: ", ") + " and " + runs[runs.count - 1]
  return (mask.nonzeroBitCount == 1 ? "lane " : "lanes ") + names
}

/// `0x7f0000000010`.
func hexadecimal(_ value: some FixedWidthInteger) -> String { "0x" + String(value, radix: 16) }
