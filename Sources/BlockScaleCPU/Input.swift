// SPDX-License-Identifier: Apache-2.0

import Minifloat

/// The memory of an array that threads read.
// Sendable in spite of its pointer: nothing is written while it is used.
@safe struct Input<Value>: @unchecked Sendable {
  private let base: UnsafePointer<Value>
  private let count: Int

  fileprivate init(_ base: UnsafePointer<Value>, count: Int) {
    // The pointer is only stored.
    unsafe self.base = base
    self.count = count
  }

  /// The place of some elements.
  ///
  /// - Precondition: They lie inside the memory.
  @inline(__always)
  func pointer(_ offset: Int, count: Int) -> UnsafePointer<Value> {
    precondition(offset >= 0 && offset + count <= self.count, "A row lies outside its matrix")
    return unsafe base + offset
  }
}

extension Input where Value == BFloat16 {
  /// The place of some values, as their bits.
  @inline(__always)
  func bits(_ offset: Int, count: Int) -> UnsafePointer<UInt16> {
    // A BF16 value is its sixteen bits; the place was checked.
    unsafe UnsafeRawPointer(pointer(offset, count: count)).assumingMemoryBound(to: UInt16.self)
  }
}

extension Array where Element: BitwiseCopyable {
  /// Calls `body` with the elements for threads to read.
  ///
  /// - Precondition: There is at least one.
  func withInput<Result, Failure: Error>(
    _ body: (Input<Element>) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    precondition(!isEmpty, "There is nothing to read")
    // The array is alive during the call.
    return try unsafe withUnsafeBufferPointer {
      (buffer: UnsafeBufferPointer<Element>) throws(Failure) in
      try unsafe body(Input(buffer.baseAddress.unsafelyUnwrapped, count: buffer.count))
    }
  }
}
