// SPDX-License-Identifier: Apache-2.0

import Minifloat

/// The memory of an array that threads fill.
// Sendable in spite of its pointer: each thread writes to elements of its own.
@safe struct Output<Value>: @unchecked Sendable {
  private let base: UnsafeMutablePointer<Value>
  let count: Int

  fileprivate init(_ base: UnsafeMutablePointer<Value>, count: Int) {
    // The pointer is only stored.
    unsafe self.base = base
    self.count = count
  }

  /// The place of some elements.
  ///
  /// - Precondition: They lie inside the memory.
  @inline(__always)
  func pointer(_ offset: Int, count: Int) -> UnsafeMutablePointer<Value> {
    precondition(offset >= 0 && offset + count <= self.count, "A row lies outside its matrix")
    return unsafe base + offset
  }

  /// Some of the elements.
  func part(_ range: Range<Int>) -> Output {
    // The place was checked.
    unsafe Output(pointer(range.lowerBound, count: range.count), count: range.count)
  }
}

extension Output where Value: BitwiseCopyable {
  /// The same memory in bytes.
  var bytes: Output<UInt8> {
    // Plain bits, of which any byte may be looked at; as many as before.
    unsafe Output<UInt8>(
      UnsafeMutableRawPointer(base).assumingMemoryBound(to: UInt8.self),
      count: count * MemoryLayout<Value>.stride)
  }
}

extension Output where Value == BFloat16 {
  /// The place of some values, as their bits.
  @inline(__always)
  func bits(_ offset: Int, count: Int) -> UnsafeMutablePointer<UInt16> {
    // A BF16 value is its sixteen bits; the place was checked.
    unsafe UnsafeMutableRawPointer(pointer(offset, count: count))
      .assumingMemoryBound(to: UInt16.self)
  }
}

extension AlignedBuffer {
  /// The memory for threads to fill, which the caller keeps alive meanwhile.
  func output<Value: BitwiseCopyable>(of type: Value.Type) -> Output<Value> {
    // All of the buffer, and no more.
    unsafe Output(pointer(to: type), count: byteCount / MemoryLayout<Value>.stride)
  }
}

extension Array where Element: BitwiseCopyable {
  /// Calls `body` with the elements for threads to change.
  mutating func withOutput(_ body: (Output<Element>) -> Void) {
    guard !isEmpty else { return }
    // The array is alive during the call.
    unsafe withUnsafeMutableBufferPointer { buffer in
      unsafe body(Output(buffer.baseAddress.unsafelyUnwrapped, count: buffer.count))
    }
  }
}

/// An array whose elements `body` writes, every one of them.
func filled<Value: BitwiseCopyable>(_ count: Int, _ body: (Output<Value>) -> Void) -> [Value] {
  // Values are plain bits, and the body writes them all.
  unsafe Array(unsafeUninitializedCapacity: count) { buffer, initialized in
    let base = unsafe buffer.baseAddress.unsafelyUnwrapped
    // Memory that threads are about to touch in rows far apart.
    unsafe adviseHugePages(base, byteCount: count * MemoryLayout<Value>.stride)
    unsafe body(Output(base, count: count))
    initialized = count
  }
}

/// Two arrays whose elements `body` writes, every one of them.
func filled<First: BitwiseCopyable, Second: BitwiseCopyable>(
  _ first: Int, _ second: Int, _ body: (Output<First>, Output<Second>) -> Void
) -> ([First], [Second]) {
  var others: [Second] = []
  let values: [First] = filled(first) { values in
    others = filled(second) { body(values, $0) }
  }
  return (values, others)
}
