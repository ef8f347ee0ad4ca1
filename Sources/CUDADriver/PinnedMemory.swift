// SPDX-License-Identifier: Apache-2.0

// Safe: the pointer is this value's own from its beginning to its end. Sendable for the same reason; the
// GPU's accesses are what the unsafe copies below are marked for.
/// Memory of the host that the GPU can read and write by itself, freed when the value is gone.
///
/// Copies from and to it run beside the host's work and at the bus's full speed. Pinned memory is taken
/// from the whole machine: take little, and keep it.
@safe public struct PinnedMemory: ~Copyable, @unchecked Sendable {
  /// The context that it was allocated in; every context can use it.
  public let context: Context

  /// How many bytes there are.
  public let byteCount: Int

  private let address: UnsafeMutableRawPointer

  /// Allocates pinned memory, filled with zeros.
  ///
  /// - Throws: ``CUDAError``, for example ``CUDAError/Code/outOfMemory``.
  public init(byteCount: Int, in context: Context) throws(CUDAError) {
    guard byteCount > 0 else {
      throw .invalid("Pinned memory of \(byteCount) bytes cannot be allocated")
    }
    var address: UnsafeMutableRawPointer?
    try context.perform(
      "cuMemHostAlloc", "\(byteText(byteCount)) of the host's memory cannot be pinned"
    ) {
      // One address is written, for the duration of the call.
      unsafe $0.cuMemHostAlloc(&address, byteCount, Flag.portableHostMemory)
    }
    guard let address = unsafe address else {
      throw .invalid("The driver returned no pinned memory of \(byteCount) bytes")
    }
    // The driver allocated this many bytes.
    unsafe address.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
    self.context = context
    self.byteCount = byteCount
    unsafe self.address = address
  }

  deinit {
    // Allocated by cuMemHostAlloc, and no one else has it.
    context.dispose { unsafe $0.cuMemFreeHost(address) }
  }

  /// Passes the bytes to read.
  public func withBytes<R: ~Copyable, Failure>(
    _ body: (RawSpan) throws(Failure) -> R
  ) throws(Failure) -> R {
    // The memory is initialised, and lives as long as this value, which is borrowed meanwhile.
    try body(unsafe RawSpan(_unsafeStart: address, byteCount: byteCount))
  }

  /// Passes the bytes to write.
  public mutating func withMutableBytes<R: ~Copyable, Failure>(
    _ body: (inout MutableRawSpan) throws(Failure) -> R
  ) throws(Failure) -> R {
    // The memory is initialised, and lives as long as this value, which is held exclusively meanwhile.
    var bytes = unsafe MutableRawSpan(_unsafeStart: address, byteCount: byteCount)
    return try body(&bytes)
  }

  func place(_ offset: Int, _ byteCount: Int) -> UnsafeMutableRawPointer {
    precondition(
      offset >= 0 && byteCount >= 0 && offset <= self.byteCount - byteCount,
      "a range leaves its pinned memory")
    // Inside of the allocation.
    return unsafe address + offset
  }
}

extension DeviceMemory {
  /// Copies bytes from pinned memory, in the stream's order; returns before they are there.
  ///
  /// - Parameters:
  ///   - source: The host's memory. Until the stream has come past the copy it must neither go nor be
  ///     written: that is for the caller to see to, and what makes the call unsafe.
  ///   - sourceOffset: Where the bytes come from.
  ///   - byteCount: How many.
  ///   - offset: Where they go.
  ///   - stream: Where the copy takes its turn.
  /// - Throws: ``CUDAError``.
  @unsafe public func copyAsynchronously(
    from source: borrowing PinnedMemory, at sourceOffset: Int = 0, byteCount: Int,
    to offset: Int = 0, on stream: borrowing Stream
  ) throws(CUDAError) {
    let from = unsafe source.place(sourceOffset, byteCount)
    let to = place(offset, byteCount)
    guard byteCount > 0 else { return }
    let handle = stream.opened.handle
    try context.perform(
      "cuMemcpyHtoDAsync_v2", "\(byteText(byteCount)) cannot be copied to the GPU"
    ) {
      // Inside of both allocations; the caller keeps them.
      unsafe $0.cuMemcpyHtoDAsync(to, from, byteCount, handle)
    }
  }

  /// Copies bytes to pinned memory, in the stream's order; returns before they are there.
  ///
  /// - Parameters:
  ///   - target: The host's memory. Until the stream has come past the copy it must neither go nor be
  ///     touched: that is for the caller to see to, and what makes the call unsafe.
  ///   - targetOffset: Where the bytes go.
  ///   - byteCount: How many.
  ///   - offset: Where they come from.
  ///   - stream: Where the copy takes its turn.
  /// - Throws: ``CUDAError``.
  @unsafe public func copyAsynchronously(
    to target: borrowing PinnedMemory, at targetOffset: Int = 0, byteCount: Int,
    from offset: Int = 0, on stream: borrowing Stream
  ) throws(CUDAError) {
    let to = unsafe target.place(targetOffset, byteCount)
    let from = place(offset, byteCount)
    guard byteCount > 0 else { return }
    let handle = stream.opened.handle
    try context.perform(
      "cuMemcpyDtoHAsync_v2", "\(byteText(byteCount)) cannot be copied from the GPU"
    ) {
      // Inside of both allocations; the caller keeps them.
      unsafe $0.cuMemcpyDtoHAsync(to, from, byteCount, handle)
    }
  }
}
