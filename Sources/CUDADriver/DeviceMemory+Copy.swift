// SPDX-License-Identifier: Apache-2.0

extension DeviceMemory {
  /// Copies bytes from the host, in the stream's order, and waits until they are there.
  ///
  /// - Parameters:
  ///   - bytes: The host's bytes.
  ///   - offset: Where they go, in bytes; they must fit.
  ///   - stream: Where the copy takes its turn.
  /// - Throws: ``CUDAError``, also for an earlier kernel that failed.
  public func copy(
    from bytes: RawSpan, at offset: Int = 0, on stream: borrowing Stream
  ) throws(CUDAError) {
    let target = place(offset, bytes.byteCount)
    guard bytes.byteCount > 0 else { return }
    let handle = stream.opened.handle
    let result = context.result { functions in
      // The bytes stay until the stream was waited for, below.
      unsafe bytes.withUnsafeBytes {
        unsafe functions.cuMemcpyHtoDAsync(target, $0.baseAddress!, $0.count, handle)
      }
    }
    try context.library.check(
      result, "cuMemcpyHtoDAsync_v2", "\(byteText(bytes.byteCount)) cannot be copied to the GPU")
    try stream.synchronize()
  }

  /// Copies bytes to the host, in the stream's order, and waits until they are there.
  ///
  /// - Parameters:
  ///   - bytes: The host's bytes, all of which are written.
  ///   - offset: Where the bytes come from; so many must follow.
  ///   - stream: Where the copy takes its turn.
  /// - Throws: ``CUDAError``, also for an earlier kernel that failed.
  public func copy(
    to bytes: inout MutableRawSpan, at offset: Int = 0, on stream: borrowing Stream
  ) throws(CUDAError) {
    let byteCount = bytes.byteCount
    let source = place(offset, byteCount)
    guard byteCount > 0 else { return }
    let handle = stream.opened.handle
    let result = unsafe bytes.withUnsafeMutableBytes { buffer in
      // The caller holds the bytes until the stream was waited for, below.
      let target = buffer.baseAddress!
      return context.result { unsafe $0.cuMemcpyDtoHAsync(target, source, byteCount, handle) }
    }
    try context.library.check(
      result, "cuMemcpyDtoHAsync_v2", "\(byteText(byteCount)) cannot be copied from the GPU")
    try stream.synchronize()
  }

  /// Copies elements from the host, as ``copy(from:at:on:)-(RawSpan,_,_)`` does their bytes.
  ///
  /// - Throws: ``CUDAError``, also for an earlier kernel that failed.
  public func copy<Element: BitwiseCopyable>(
    from elements: Span<Element>, at offset: Int = 0, on stream: borrowing Stream
  ) throws(CUDAError) {
    // Bytes are only read; those between elements, if any, have no meaning on the GPU either.
    try copy(from: unsafe elements.bytes, at: offset, on: stream)
  }

  /// Copies elements to the host, as ``copy(to:at:on:)-(MutableRawSpan,_,_)`` does bytes.
  ///
  /// All bit patterns must be values of the element's type.
  ///
  /// - Throws: ``CUDAError``, also for an earlier kernel that failed.
  public func copy<Element: BitwiseCopyable>(
    to elements: inout MutableSpan<Element>, at offset: Int = 0, on stream: borrowing Stream
  ) throws(CUDAError) {
    // The caller chose a type of which all bit patterns are values.
    var bytes = unsafe elements.mutableBytes
    try copy(to: &bytes, at: offset, on: stream)
  }

  /// Allocates memory for elements and copies them into it.
  ///
  /// - Throws: ``CUDAError``.
  public init<Element: BitwiseCopyable>(
    copying elements: Span<Element>, on stream: borrowing Stream
  ) throws(CUDAError) {
    let memory = try DeviceMemory(
      byteCount: elements.count * MemoryLayout<Element>.stride, in: stream.context)
    try memory.copy(from: elements, on: stream)
    self = memory
  }

  /// The elements from an offset on, copied to the host in the stream's order.
  ///
  /// - Parameters:
  ///   - type: A type of which all bit patterns are values.
  ///   - count: How many; nil for all that follow.
  ///   - offset: In bytes.
  ///   - stream: Where the copy takes its turn.
  /// - Throws: ``CUDAError``, also for an earlier kernel that failed.
  public func elements<Element: BitwiseCopyable>(
    of type: Element.Type, count: Int? = nil, at offset: Int = 0, on stream: borrowing Stream
  ) throws(CUDAError) -> [Element] {
    let stride = MemoryLayout<Element>.stride
    let count = count ?? (byteCount - offset) / stride
    let source = place(offset, count * stride)
    guard count > 0 else { return [] }
    let handle = stream.opened.handle
    var result = ResultNumber.success
    var waiting: Int32? = nil
    let elements = unsafe [Element](unsafeUninitializedCapacity: count) { buffer, initialized in
      // The driver fills the whole buffer before the stream was waited for.
      let target = UnsafeMutableRawPointer(buffer.baseAddress!)
      result = context.result {
        unsafe $0.cuMemcpyDtoHAsync(target, source, count * stride, handle)
      }
      if result == ResultNumber.success {
        waiting = context.result { $0.cuStreamSynchronize(handle) }
      }
      initialized = waiting == ResultNumber.success ? count : 0
    }
    try context.library.check(
      result, "cuMemcpyDtoHAsync_v2", "\(byteText(count * stride)) cannot be copied from the GPU")
    try context.library.check(
      waiting ?? ResultNumber.success, "cuStreamSynchronize",
      "Work on \(context.device.name) failed")
    return elements
  }

  /// Copies bytes of the device's memory, in the stream's order; returns before they are there.
  ///
  /// - Parameters:
  ///   - source: The memory to read, which may be this one where the ranges are apart.
  ///   - sourceOffset: Where the bytes come from.
  ///   - byteCount: How many; nil for as many as both have.
  ///   - offset: Where they go.
  ///   - stream: Where the copy takes its turn.
  /// - Throws: ``CUDAError``.
  public func copy(
    from source: borrowing DeviceMemory, at sourceOffset: Int = 0, byteCount: Int? = nil,
    to offset: Int = 0, on stream: borrowing Stream
  ) throws(CUDAError) {
    let byteCount = byteCount ?? min(source.byteCount - sourceOffset, self.byteCount - offset)
    let from = source.place(sourceOffset, byteCount)
    let to = place(offset, byteCount)
    guard byteCount > 0 else { return }
    let handle = stream.opened.handle
    try context.perform(
      "cuMemcpyDtoDAsync_v2", "\(byteText(byteCount)) cannot be copied on the GPU"
    ) {
      $0.cuMemcpyDtoDAsync(to, from, byteCount, handle)
    }
  }

  /// Sets bytes, in the stream's order; returns before it is done.
  ///
  /// - Parameters:
  ///   - byte: The value.
  ///   - range: Offsets in bytes; nil for all.
  ///   - stream: Where the work takes its turn.
  /// - Throws: ``CUDAError``.
  public func fill(
    with byte: UInt8, in range: Range<Int>? = nil, on stream: borrowing Stream
  ) throws(CUDAError) {
    let range = range ?? 0..<byteCount
    let target = place(range.lowerBound, range.count)
    guard !range.isEmpty else { return }
    let handle = stream.opened.handle
    try context.perform(
      "cuMemsetD8Async", "\(byteText(range.count)) of the GPU's memory cannot be set"
    ) {
      $0.cuMemsetD8Async(target, byte, range.count, handle)
    }
  }

  /// Sets words of four bytes, in the stream's order; returns before it is done.
  ///
  /// - Parameters:
  ///   - word: The value.
  ///   - range: Offsets in bytes, multiples of four; nil for all.
  ///   - stream: Where the work takes its turn.
  /// - Throws: ``CUDAError``.
  public func fill(
    withWord word: UInt32, in range: Range<Int>? = nil, on stream: borrowing Stream
  ) throws(CUDAError) {
    let range = range ?? 0..<byteCount
    precondition(
      range.lowerBound % 4 == 0 && range.count % 4 == 0, "words of four bytes need such a range")
    let target = place(range.lowerBound, range.count)
    guard !range.isEmpty else { return }
    let handle = stream.opened.handle
    try context.perform(
      "cuMemsetD32Async", "\(byteText(range.count)) of the GPU's memory cannot be set"
    ) {
      $0.cuMemsetD32Async(target, word, range.count / 4, handle)
    }
  }

  /// The address of a range that lies inside of this memory.
  func place(_ offset: Int, _ byteCount: Int) -> UInt64 {
    precondition(
      offset >= 0 && byteCount >= 0 && offset <= self.byteCount - byteCount,
      "a range leaves its device memory")
    return (address + offset).rawValue
  }
}
