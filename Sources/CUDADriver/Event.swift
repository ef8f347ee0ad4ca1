// SPDX-License-Identifier: Apache-2.0

/// A mark in a stream, to wait for or to measure time with.
public struct Event: ~Copyable, Sendable {
  /// The context of the streams that it can be recorded in.
  public let context: Context

  /// Whether the GPU notes the time.
  public let hasTime: Bool

  let handle: DriverFunctions.Handle

  /// A new event, not yet recorded.
  ///
  /// - Parameters:
  ///   - context: The context of the streams.
  ///   - hasTime: Whether the GPU notes the time; without it waiting costs less.
  /// - Throws: ``CUDAError``.
  public init(in context: Context, hasTime: Bool = true) throws(CUDAError) {
    var handle: DriverFunctions.Handle = 0
    try context.perform("cuEventCreate", "No event can be made on \(context.device.name)") {
      // One handle is written, for the duration of the call.
      unsafe $0.cuEventCreate(&handle, hasTime ? 0 : Flag.eventWithoutTiming)
    }
    self.context = context
    self.hasTime = hasTime
    self.handle = handle
  }

  deinit {
    context.dispose { $0.cuEventDestroy(handle) }
  }

  /// Marks the point that a stream's work has reached when everything put on it so far is done.
  ///
  /// - Throws: ``CUDAError``.
  public func record(on stream: borrowing Stream) throws(CUDAError) {
    let streamHandle = stream.opened.handle
    try context.perform("cuEventRecord", "The event cannot be recorded") {
      $0.cuEventRecord(handle, streamHandle)
    }
  }

  /// Waits until the recorded point is reached.
  ///
  /// - Throws: ``CUDAError``, also for a kernel that failed meanwhile.
  public func synchronize() throws(CUDAError) {
    try context.perform("cuEventSynchronize", "Work on \(context.device.name) failed") {
      $0.cuEventSynchronize(handle)
    }
  }

  /// Whether the recorded point is reached.
  ///
  /// - Throws: ``CUDAError``, for a kernel that failed.
  public func isReached() throws(CUDAError) -> Bool {
    let result = context.result { $0.cuEventQuery(handle) }
    if result == ResultNumber.notReady { return false }
    try context.library.check(result, "cuEventQuery", "Work on \(context.device.name) failed")
    return true
  }

  /// Seconds of the GPU's time between two events, exact to about half a microsecond.
  ///
  /// - Parameter start: The earlier event. Both must have been reached.
  /// - Throws: ``CUDAError``, for example ``CUDAError/Code/invalidArgument`` where an event notes no time.
  public func seconds(since start: borrowing Event) throws(CUDAError) -> Double {
    guard hasTime, start.hasTime else {
      throw .invalid("The time between two events cannot be told: one was made without time")
    }
    let startHandle = start.handle
    var milliseconds: Float = 0
    try context.perform(
      "cuEventElapsedTime", "The time between two events cannot be told"
    ) {
      // One number is written, for the duration of the call.
      unsafe $0.cuEventElapsedTime(&milliseconds, startHandle, handle)
    }
    return Double(milliseconds) / 1000
  }
}
