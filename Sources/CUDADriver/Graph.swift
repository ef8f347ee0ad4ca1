// SPDX-License-Identifier: Apache-2.0

/// Work that was recorded instead of done.
public struct Graph: ~Copyable, Sendable {
  /// The context of the work.
  public let context: Context

  let handle: DriverFunctions.Handle

  deinit {
    context.dispose { $0.cuGraphDestroy(handle) }
  }

  /// How many launches, copies and fills were recorded.
  ///
  /// - Throws: ``CUDAError``.
  public func nodeCount() throws(CUDAError) -> Int {
    var count = 0
    try context.perform("cuGraphGetNodes", "The graph's nodes cannot be counted") {
      // Without a place for nodes only their number is written, for the duration of the call.
      unsafe $0.cuGraphGetNodes(handle, nil, &count)
    }
    return count
  }

  /// Makes the graph ready to be launched, again and again.
  ///
  /// - Throws: ``CUDAError``.
  public func instantiate() throws(CUDAError) -> GraphExec {
    var executable: DriverFunctions.Handle = 0
    try context.perform("cuGraphInstantiateWithFlags", "The graph cannot be made ready") {
      // One handle is written, for the duration of the call.
      unsafe $0.cuGraphInstantiateWithFlags(&executable, handle, 0)
    }
    return GraphExec(context: context, handle: executable)
  }
}

/// A graph that is ready to be launched.
///
/// It holds addresses and kernels as they were recorded: memory, modules and tensor maps must outlive it.
public struct GraphExec: ~Copyable, Sendable {
  /// The context of the work.
  public let context: Context

  let handle: DriverFunctions.Handle

  deinit {
    context.dispose { $0.cuGraphExecDestroy(handle) }
  }

  /// Puts the recorded work on a stream; returns before it is done.
  ///
  /// - Throws: ``CUDAError``.
  public func launch(on stream: borrowing Stream) throws(CUDAError) {
    let streamHandle = stream.opened.handle
    try context.perform("cuGraphLaunch", "The graph cannot be launched") {
      $0.cuGraphLaunch(handle, streamHandle)
    }
  }
}

extension Stream {
  /// Records what is put on this stream instead of doing it.
  ///
  /// Calls that wait or allocate cannot be recorded; they fail with ``CUDAError/Code/capture``. Other
  /// threads are not concerned.
  ///
  /// - Parameter record: Puts work on this stream, and on streams that wait for its events.
  /// - Throws: ``CUDAError``, or what `record` throws; the recording is dropped then. Not typed, since
  ///   `record` may have errors of its own.
  public func capture(_ record: () throws -> Void) throws -> Graph {
    try context.perform("cuStreamBeginCapture_v2", "The stream cannot be recorded") {
      $0.cuStreamBeginCapture(opened.handle, Flag.captureThreadLocal)
    }
    do {
      try record()
    } catch {
      // Ends the recording, so that the stream can be used again, and drops what there is of it.
      var dropped: DriverFunctions.Handle = 0
      context.dispose {
        // One handle is written, for the duration of the call.
        unsafe $0.cuStreamEndCapture(opened.handle, &dropped)
      }
      if dropped != 0 { context.dispose { $0.cuGraphDestroy(dropped) } }
      throw error
    }
    var graph: DriverFunctions.Handle = 0
    try context.perform("cuStreamEndCapture", "The recording of the stream failed") {
      // One handle is written, for the duration of the call.
      unsafe $0.cuStreamEndCapture(opened.handle, &graph)
    }
    return Graph(context: context, handle: graph)
  }
}
