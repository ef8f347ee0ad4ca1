// SPDX-License-Identifier: Apache-2.0

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Asks for pages of 2 MB where they lie inside memory that was just allocated.
func adviseHugePages(_ address: UnsafeMutableRawPointer, byteCount: Int) {
  #if os(Linux)
    let huge = 2 << 20
    let start = unsafe address.alignedUp(toMultipleOf: huge)
    let inside = unsafe (byteCount - address.distance(to: start)) / huge * huge
    // Whole pages inside the memory; this is advice, and a refusal changes nothing.
    if inside > 0 { _ = unsafe madvise(start, inside, MADV_HUGEPAGE) }
  #endif
}

/// Memory that kernels read and write, on the boundary of a cache line.
///
/// Whoever writes has the only reference, or writes to a part that no other thread touches.
@safe
final class AlignedBuffer: @unchecked Sendable {
  let byteCount: Int
  let address: UnsafeMutableRawPointer

  /// Allocates memory whose contents are not defined.
  init(byteCount: Int) {
    // Pages of 2 MB are worth asking for where tiles come from many places at once.
    let huge = 2 << 20
    let wantsHugePages = byteCount >= huge / 4
    self.byteCount = max(64, byteCount)
    let allocated = wantsHugePages ? (byteCount + huge - 1) / huge * huge : self.byteCount
    // Freed in deinit, with the same alignment.
    unsafe address = UnsafeMutableRawPointer.allocate(
      byteCount: allocated, alignment: wantsHugePages ? huge : 64)
    if wantsHugePages { unsafe adviseHugePages(address, byteCount: allocated) }
  }

  deinit {
    // Allocated in init; no one else has a reference.
    unsafe address.deallocate()
  }

  /// The memory as values of one type.
  func pointer<Value: BitwiseCopyable>(to type: Value.Type) -> UnsafeMutablePointer<Value> {
    // A type of plain bits, in memory that has been allocated for any.
    unsafe address.assumingMemoryBound(to: Value.self)
  }

  /// Makes every byte zero.
  func clear() {
    // All of the memory, and no more.
    unsafe address.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
  }
}
