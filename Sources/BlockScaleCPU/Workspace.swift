// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Synchronization
import _BlockScaleShims

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Memory that one thread works in at a time and that is used again for the next panel and operation.
///
/// What is known by magnitude holds for one operation, whose number the workspace bears.
// Sendable in spite of its pointers: `WorkspacePool` hands it to one thread at a time.
@safe final class Workspace: @unchecked Sendable {
  /// Largest magnitudes of blocks.
  private(set) var maxima: UnsafeMutablePointer<UInt32>
  private(set) var factors: UnsafeMutablePointer<bs_factor_t>
  private(set) var scales: UnsafeMutablePointer<Float>
  private var blocks = 0
  /// Largest magnitudes of columns.
  private(set) var columns: UnsafeMutableRawPointer
  private var columnBytes = 0
  /// What a step makes and the next one uses up.
  private(set) var scratch: UnsafeMutableRawPointer
  private var scratchBytes = 0

  /// The complements of scales by magnitude, for the E2M1 kernel.
  let e2m1Scales: UnsafeMutablePointer<UInt32>
  let e2m1Entries: UnsafeMutablePointer<bs_e2m1_entry_t>
  let e2m1Cells: UnsafeMutablePointer<bs_e2m1_cells_t>
  /// Choices by magnitude.
  let known: UnsafeMutablePointer<bs_choice_t>
  /// Tables of 8-bit codes by magnitude.
  let float8Tables: UnsafeMutablePointer<UInt8>
  static let float8TableBytes = 128

  /// The operation for which choices are known, and the magnitudes that have one.
  private var operation = 0
  private var knownMagnitudes: [Int] = []

  /// The magnitudes of a 16-bit format.
  private static let magnitudes = 1 << 15

  init() {
    unsafe maxima = .allocate(capacity: 0)
    unsafe factors = .allocate(capacity: 0)
    unsafe scales = .allocate(capacity: 0)
    unsafe columns = .allocate(byteCount: 0, alignment: 64)
    unsafe scratch = .allocate(byteCount: 0, alignment: 64)
    // Large zeroed memory takes no pages until they are touched, and the maxima of a tensor's blocks
    // lie close together.
    unsafe e2m1Scales = zeroed(Self.magnitudes)
    unsafe e2m1Entries = zeroed(Self.magnitudes)
    unsafe e2m1Cells = zeroed(Self.magnitudes)
    unsafe known = zeroed(Self.magnitudes)
    unsafe float8Tables = UnsafeMutableRawPointer.allocate(
      byteCount: Self.magnitudes * Self.float8TableBytes, alignment: 64
    ).assumingMemoryBound(to: UInt8.self)
  }

  deinit {
    // Nothing else holds these pointers.
    unsafe maxima.deallocate()
    unsafe factors.deallocate()
    unsafe scales.deallocate()
    unsafe columns.deallocate()
    unsafe scratch.deallocate()
    unsafe free(e2m1Scales)
    unsafe free(e2m1Entries)
    unsafe free(e2m1Cells)
    unsafe free(known)
    unsafe float8Tables.deallocate()
  }

  /// Forgets what belongs to another operation.
  fileprivate func begin(_ operation: Int) {
    guard operation != self.operation else { return }
    self.operation = operation
    for magnitude in knownMagnitudes {
      // Magnitudes that were entered have their places.
      unsafe known[magnitude].scale = 0
      unsafe e2m1Scales[magnitude] = 0
      unsafe e2m1Cells[magnitude].is_known = 0
    }
    knownMagnitudes.removeAll(keepingCapacity: true)
  }

  /// Enters what the operation does with blocks of a magnitude.
  func learn(_ choice: bs_choice_t, for magnitude: UInt32) {
    // Every magnitude of a 16-bit format has a place.
    unsafe known[Int(magnitude)] = choice
    knownMagnitudes.append(Int(magnitude))
  }

  /// Enters the code of a scale and what the E2M1 kernel needs to know of it.
  func learn(_ scaleCode: UInt32, _ entry: bs_e2m1_entry_t, for magnitude: UInt32) {
    // Every magnitude of a 16-bit format has a place.
    unsafe e2m1Entries[Int(magnitude)] = entry
    unsafe e2m1Scales[Int(magnitude)] = ~scaleCode
    if let cells = bs_e2m1_cells_t(entry, scaleCode: scaleCode, upTo: magnitude) {
      // As above.
      unsafe e2m1Cells[Int(magnitude)] = cells
    }
    knownMagnitudes.append(Int(magnitude))
  }

  /// Makes room for a number of blocks.
  func reserve(blocks count: Int) {
    guard count > blocks else { return }
    // The old memory is not used any more.
    unsafe maxima.deallocate()
    unsafe factors.deallocate()
    unsafe scales.deallocate()
    unsafe maxima = .allocate(capacity: count)
    unsafe factors = .allocate(capacity: count)
    unsafe scales = .allocate(capacity: count)
    blocks = count
  }

  /// Makes room for a number of bytes.
  func reserve(scratch byteCount: Int) {
    guard byteCount > scratchBytes else { return }
    // The old memory is not used any more.
    unsafe scratch.deallocate()
    unsafe scratch = .allocate(byteCount: byteCount, alignment: 64)
    scratchBytes = byteCount
  }

  /// Makes room for the maxima of columns, and zeroes it.
  func clearColumns(byteCount: Int) {
    if byteCount > columnBytes {
      // The old memory is not used any more.
      unsafe columns.deallocate()
      unsafe columns = .allocate(byteCount: byteCount, alignment: 64)
      columnBytes = byteCount
    }
    unsafe memset(columns, 0, byteCount)
  }
}

/// Zeroed memory for plain values; `free` returns it.
private func zeroed<Value: BitwiseCopyable>(_ count: Int) -> UnsafeMutablePointer<Value> {
  guard let memory = unsafe calloc(count, MemoryLayout<Value>.stride) else {
    preconditionFailure("There is no memory for tables")
  }
  // All bits zero are a value of these types.
  return unsafe memory.bindMemory(to: Value.self, capacity: count)
}

/// Workspaces of the operations of a back end; there are as many as threads have worked at the same
/// time.
final class WorkspacePool: Sendable {
  private let idle = Guarded<[Workspace]>([])
  private let operations = Atomic<Int>(0)

  /// A number for an operation, by which workspaces tell what they know.
  func newOperation() -> Int { operations.wrappingAdd(1, ordering: .relaxed).newValue }

  func with<Result>(
    operation: Int, _ body: (Workspace) throws -> Result
  ) rethrows -> Result {
    let workspace = idle.withLock { $0.popLast() } ?? Workspace()
    defer { idle.withLock { $0.append(workspace) } }
    workspace.begin(operation)
    return try body(workspace)
  }
}
