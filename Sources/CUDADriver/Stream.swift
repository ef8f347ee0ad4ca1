// SPDX-License-Identifier: Apache-2.0

/// A queue of a GPU's work: what is put on it is done in order, beside other streams.
///
/// It does not wait for the legacy default stream. Destroyed when the value and all memory allocated on
/// it are gone; work that was put on it is done nevertheless.
public struct Stream: ~Copyable, Sendable {
  let opened: OpenedStream

  /// The context that the work belongs to.
  public var context: Context { opened.context }

  /// A new stream.
  ///
  /// - Throws: ``CUDAError``.
  public init(in context: Context) throws(CUDAError) {
    var handle: DriverFunctions.Handle = 0
    try context.perform("cuStreamCreate", "No stream can be made on \(context.device.name)") {
      // One handle is written, for the duration of the call.
      unsafe $0.cuStreamCreate(&handle, Flag.nonBlockingStream)
    }
    opened = OpenedStream(handle, in: context)
  }

  /// Waits until everything put on the stream is done.
  ///
  /// - Throws: ``CUDAError``, also for a kernel that failed meanwhile.
  public func synchronize() throws(CUDAError) {
    try context.perform("cuStreamSynchronize", "Work on \(context.device.name) failed") {
      $0.cuStreamSynchronize(opened.handle)
    }
  }

  /// Whether everything put on the stream is done.
  ///
  /// - Throws: ``CUDAError``, for a kernel that failed.
  public func isIdle() throws(CUDAError) -> Bool {
    let result = context.result { $0.cuStreamQuery(opened.handle) }
    if result == ResultNumber.notReady { return false }
    try context.library.check(result, "cuStreamQuery", "Work on \(context.device.name) failed")
    return true
  }

  /// Lets later work of this stream wait for an event, without the caller waiting.
  ///
  /// - Throws: ``CUDAError``.
  public func wait(for event: borrowing Event) throws(CUDAError) {
    let eventHandle = event.handle
    try context.perform("cuStreamWaitEvent", "The stream cannot wait for the event") {
      $0.cuStreamWaitEvent(opened.handle, eventHandle, 0)
    }
  }
}

/// The driver's stream, shared by a ``Stream`` and the memory that is freed on it.
final class OpenedStream: Sendable {
  let context: Context
  let handle: DriverFunctions.Handle

  init(_ handle: DriverFunctions.Handle, in context: Context) {
    self.handle = handle
    self.context = context
  }

  deinit {
    context.dispose { $0.cuStreamDestroy(handle) }
  }
}
