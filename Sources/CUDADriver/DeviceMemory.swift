// SPDX-License-Identifier: Apache-2.0

/// An allocation of a GPU's memory, freed when the value is gone.
public struct DeviceMemory: ~Copyable, Sendable {
  /// The context that the memory belongs to.
  public let context: Context

  /// The first byte; a multiple of 256.
  public let address: DeviceAddress

  /// How many bytes were asked for.
  public let byteCount: Int

  // The stream on which the memory was allocated and is freed, or nil for memory of no stream. Held, so
  // that the stream is still there then.
  private let stream: OpenedStream?

  /// Allocates memory.
  ///
  /// Allocating waits for the driver (about 0.1 ms and more), and freeing waits for all work of the
  /// device: keep both out of loops.
  ///
  /// - Throws: ``CUDAError`` with ``CUDAError/Code/outOfMemory``, which says how much was asked for and
  ///   how much is free.
  public init(byteCount: Int, in context: Context) throws(CUDAError) {
    try self.init(byteCount: byteCount, in: context, stream: nil)
  }

  /// Allocates memory in a stream's order.
  ///
  /// It is ready for later work of this stream, and freed when the work that was put on the stream before
  /// the value went is done. Costs about a microsecond once the driver's pool is warm.
  ///
  /// Another stream must wait for an event of this one before it uses the memory, and this stream for
  /// one of the other before the value goes.
  ///
  /// - Throws: ``CUDAError`` as ``init(byteCount:in:)``; ``CUDAError/Code/unsupported`` on devices
  ///   without memory pools.
  public init(byteCount: Int, on stream: borrowing Stream) throws(CUDAError) {
    guard stream.context.device.hasMemoryPools else {
      throw CUDAError(
        .unsupported,
        "\(stream.context.device.name) cannot allocate in a stream's order: it has no memory pools")
    }
    try self.init(byteCount: byteCount, in: stream.context, stream: stream.opened)
  }

  private init(byteCount: Int, in context: Context, stream: OpenedStream?) throws(CUDAError) {
    guard byteCount > 0 else {
      throw .invalid("Device memory of \(byteCount) bytes cannot be allocated")
    }
    var address: UInt64 = 0
    let result = context.result { functions in
      // One address is written, for the duration of the call.
      if let stream {
        unsafe functions.cuMemAllocAsync(&address, byteCount, stream.handle)
      } else {
        unsafe functions.cuMemAlloc(&address, byteCount)
      }
    }
    try context.library.check(
      result, stream == nil ? "cuMemAlloc_v2" : "cuMemAllocAsync",
      outOfMemoryMessage(byteCount, in: context))
    self.context = context
    self.address = DeviceAddress(rawValue: address)
    self.byteCount = byteCount
    self.stream = stream
  }

  deinit {
    context.dispose { functions in
      if let stream {
        functions.cuMemFreeAsync(address.rawValue, stream.handle)
      } else {
        functions.cuMemFree(address.rawValue)
      }
    }
  }
}

/// What was asked for and what there is.
private func outOfMemoryMessage(_ byteCount: Int, in context: Context) -> String {
  let asked = "\(byteText(byteCount)) of memory on \(context.device.name) cannot be allocated"
  guard let memory = try? context.memory() else { return asked }
  return "\(asked), where \(byteText(memory.free)) of \(byteText(memory.total)) are free"
}

/// A number of bytes, for example "1.5 GiB".
func byteText(_ byteCount: Int) -> String {
  let units: [(shift: Int, name: String)] = [(30, "GiB"), (20, "MiB"), (10, "KiB")]
  for unit in units where byteCount >> unit.shift > 0 {
    let tenths = ((byteCount >> (unit.shift - 10)) * 10) >> 10
    return "\(tenths / 10).\(tenths % 10) \(unit.name)"
  }
  return "\(byteCount) bytes"
}
