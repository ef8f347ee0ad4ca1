// SPDX-License-Identifier: Apache-2.0

// Sendable: constant properties, and the driver locks its own state.
/// A GPU's state in this process: its memory, its modules, its streams.
///
/// It is the primary context, the one that CUDA's runtime library uses too, retained here and released
/// when the last resource that needs it is gone. That is why it is an object, unlike the resources,
/// which are noncopyable values and hold it.
///
/// Calls may come from any thread: each makes the context current on its thread and puts back what was
/// current before. That costs two short calls and leaves no trace for other users of CUDA in the process.
public final class Context: Sendable {
  /// The GPU.
  public let device: Device

  let handle: DriverFunctions.Handle

  var library: DriverLibrary { device.driver.library }

  /// Retains a device's primary context, which the first one in a process creates (about 0.2 s).
  ///
  /// - Throws: ``CUDAError``, for example ``CUDAError/Code/outOfMemory`` where other programs left too
  ///   little of the GPU's memory.
  public init(_ device: Device) throws(CUDAError) {
    var handle: DriverFunctions.Handle = 0
    let library = device.driver.library
    // One handle is written, for the duration of the call.
    let result = unsafe library.functions.cuDevicePrimaryCtxRetain(&handle, device.handle)
    try library.check(
      result, "cuDevicePrimaryCtxRetain", "No context can be made on \(device.name)")
    self.device = device
    self.handle = handle
  }

  deinit {
    // Nothing can be done about a failure here; the process's end releases what is left.
    _ = library.functions.cuDevicePrimaryCtxRelease(device.handle)
  }

  /// Waits until all work of the context is done, in all streams.
  ///
  /// - Throws: ``CUDAError``, also for a kernel that failed meanwhile.
  public func synchronize() throws(CUDAError) {
    try perform("cuCtxSynchronize", "Work on \(device.name) failed") { $0.cuCtxSynchronize() }
  }

  /// Bytes of device memory, free for this process and in all.
  ///
  /// - Throws: ``CUDAError``.
  public func memory() throws(CUDAError) -> (free: Int, total: Int) {
    var free = 0
    var total = 0
    try perform("cuMemGetInfo_v2", "The free memory of \(device.name) cannot be read") {
      // Two numbers are written, for the duration of the call.
      unsafe $0.cuMemGetInfo(&free, &total)
    }
    return (free, total)
  }

  /// Calls the driver with this context current and throws unless the call succeeds.
  ///
  /// - Parameters:
  ///   - call: The driver's function.
  ///   - message: What is tried, as a sentence without its full stop; composed only on failure.
  ///   - log: What the compiler wrote, for calls that compile.
  ///   - body: The call.
  func perform(
    _ call: String, _ message: @autoclosure () -> String, log: @autoclosure () -> String = "",
    _ body: (DriverFunctions) -> Int32
  ) throws(CUDAError) {
    try library.check(result(of: body), call, message(), log: log())
  }

  /// Calls the driver with this context current and returns its result.
  func result(of body: (DriverFunctions) -> Int32) -> Int32 {
    let functions = library.functions
    let pushed = functions.cuCtxPushCurrent(handle)
    guard pushed == ResultNumber.success else { return pushed }
    let result = body(functions)
    var popped: DriverFunctions.Handle = 0
    // One handle is written, for the duration of the call. It is ours, and the call's result says more.
    unsafe _ = functions.cuCtxPopCurrent(&popped)
    return result
  }

  /// Frees a resource.
  ///
  /// A failure has no one to go to: the context is lost, and a later call says so.
  func dispose(_ body: (DriverFunctions) -> Int32) {
    _ = result(of: body)
  }
}
