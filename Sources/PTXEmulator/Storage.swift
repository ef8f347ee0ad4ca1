// SPDX-License-Identifier: Apache-2.0

/// Memory of a fixed count of elements, freed with its owner.
///
/// The emulator's inner loops run over 32 lanes; an array's reference counts and uniqueness tests
/// would cost more than the work itself. Every use of a pointer stands in this file.
@safe
final class Storage<Element: BitwiseCopyable> {
  let count: Int
  private let start: UnsafeMutablePointer<Element>

  init(repeating value: Element, count: Int) {
    self.count = count
    // Allocated, filled and freed here alone.
    unsafe start = .allocate(capacity: Swift.max(count, 1))
    unsafe start.initialize(repeating: value, count: count)
  }

  deinit {
    // `start` was allocated by `init` and leaves this class only within views that it outlives.
    unsafe start.deallocate()
  }

  subscript(index: Int) -> Element {
    @inline(__always) get {
      assert(index >= 0 && index < count)
      // Callers take indices from decoded instructions or check addresses first.
      return unsafe start[index]
    }
    @inline(__always) set {
      assert(index >= 0 && index < count)
      // As above.
      unsafe start[index] = newValue
    }
  }

  /// Sets a range to one value.
  func fill(_ range: Range<Int>, with value: Element) {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "a range beyond its storage")
    // The range was checked.
    unsafe (start + range.lowerBound).update(repeating: value, count: range.count)
  }
}

extension Storage where Element == UInt8 {
  /// The 32 lanes of a register whose first byte has this offset.
  @inline(__always)
  func lanes<Word: BitwiseCopyable>(_: Word.Type, at offset: Int) -> Lanes<Word> {
    assert(offset >= 0 && offset + 32 * MemoryLayout<Word>.stride <= count)
    // Registers are laid out at multiples of their width; every bit pattern is a value of these types.
    return unsafe Lanes(UnsafeMutableRawPointer(start + offset).assumingMemoryBound(to: Word.self))
  }

  /// A little-endian value at any offset.
  @inline(__always)
  func load<Word: BitwiseCopyable>(_: Word.Type, at offset: Int) -> Word {
    assert(offset >= 0 && offset + MemoryLayout<Word>.size <= count)
    // Callers check the offset.
    return unsafe UnsafeRawPointer(start + offset).loadUnaligned(as: Word.self)
  }

  @inline(__always)
  func store<Word: BitwiseCopyable>(_ value: Word, at offset: Int) {
    assert(offset >= 0 && offset + MemoryLayout<Word>.size <= count)
    // Callers check the offset.
    unsafe UnsafeMutableRawPointer(start + offset).storeBytes(of: value, as: Word.self)
  }

  /// Copies bytes from another storage.
  func copy(_ byteCount: Int, from source: Storage<UInt8>, at sourceOffset: Int, to offset: Int) {
    precondition(
      sourceOffset >= 0 && offset >= 0 && byteCount >= 0 && sourceOffset + byteCount <= source.count
        && offset + byteCount <= count, "a copy beyond its storage")
    // Both ranges were checked.
    unsafe (start + offset).update(from: source.start + sourceOffset, count: byteCount)
  }
}

/// A register of one warp, a value for each of 32 lanes; its warp outlives it.
@safe
struct Lanes<Word: BitwiseCopyable> {
  private let start: UnsafeMutablePointer<Word>

  @inline(__always)
  fileprivate init(_ start: UnsafeMutablePointer<Word>) { unsafe self.start = unsafe start }

  @inline(__always)
  subscript(lane: Int) -> Word {
    get {
      assert(lane >= 0 && lane < 32)
      // Loops over lanes run from 0 to 31; lanes that a program computes are masked with 31.
      return unsafe start[lane]
    }
    nonmutating set {
      assert(lane >= 0 && lane < 32)
      // As above.
      unsafe start[lane] = newValue
    }
  }
}
