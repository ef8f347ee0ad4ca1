// SPDX-License-Identifier: Apache-2.0

package import PTX

/// Memory of an executor that is given back with the value.
package struct DeviceBuffer: ~Copyable {
  package let address: UInt64
  package let byteCount: Int
  private let executor: any KernelExecutor

  /// Sets memory aside; its contents are unknown.
  package init(byteCount: Int, on executor: any KernelExecutor) throws {
    address = try executor.allocate(byteCount: max(byteCount, 1))
    self.byteCount = byteCount
    self.executor = executor
  }

  /// Sets memory aside and fills it.
  package init<Element: BitwiseCopyable>(_ elements: [Element], on executor: any KernelExecutor)
    throws
  {
    let byteCount = elements.count * MemoryLayout<Element>.stride
    let address = try executor.allocate(byteCount: max(byteCount, 1))
    do {
      // Elements have no padding: numbers, and codes of one or two bytes.
      try unsafe executor.upload(elements.span.bytes, to: address)
    } catch {
      executor.free(address)
      throw error
    }
    self.address = address
    self.byteCount = byteCount
    self.executor = executor
  }

  deinit { executor.free(address) }

  /// Copies bytes into it.
  package func upload(_ bytes: RawSpan) throws {
    precondition(bytes.byteCount <= byteCount, "more bytes than were set aside")
    try executor.upload(bytes, to: address)
  }

  /// Copies the contents back, after all launches.
  package func bytes() throws -> [UInt8] {
    try executor.download(byteCount: byteCount, from: address)
  }

  /// Copies elements into it.
  package func upload<Element: BitwiseCopyable>(_ elements: [Element]) throws {
    // Elements have no padding: numbers, and codes of one or two bytes.
    try unsafe upload(elements.span.bytes)
  }

  /// The first elements, after all launches.
  package func elements<Element: BitwiseCopyable>(_ type: Element.Type, count: Int) throws
    -> [Element]
  {
    let bytes = try executor.download(
      byteCount: count * MemoryLayout<Element>.stride, from: address)
    // The bytes are as many as the elements take, and are numbers of any bits.
    return unsafe bytes.withUnsafeBytes { source in
      (0..<count).map {
        unsafe source.loadUnaligned(
          fromByteOffset: $0 * MemoryLayout<Element>.stride, as: Element.self)
      }
    }
  }
}
