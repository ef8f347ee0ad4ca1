// SPDX-License-Identifier: Apache-2.0

import CUDADriver
import Testing

/// Streams, events and graphs.
@Suite struct StreamTests {
  private struct Surprise: Error {}

  @Test func tellsWhetherWorkIsDone() throws {
    try MockDriver.run { mock in
      let context = try mockContext()
      let stream = try Stream(in: context)
      let event = try Event(in: context)
      #expect(try stream.isIdle() && event.isReached())
      mock.fail("cuStreamQuery", with: 600)
      mock.fail("cuEventQuery", with: 600)
      #expect(try !stream.isIdle())
      #expect(try !event.isReached())
      mock.fail("cuStreamQuery", with: 716)
      let error = try #require(throws: CUDAError.self) { _ = try stream.isIdle() }
      #expect(error.code == .contextLost)
    }
  }

  @Test func measuresTime() throws {
    try MockDriver.run { mock in
      do {
        let context = try mockContext()
        let stream = try Stream(in: context)
        let start = try Event(in: context)
        let end = try Event(in: context)
        let calls = try mock.calls {
          try start.record(on: stream)
          try end.record(on: stream)
          try end.synchronize()
          try stream.wait(for: end)
          #expect(try end.seconds(since: start) == 0.0015)
        }
        #expect(
          calls == [
            "cuEventRecord", "cuEventRecord", "cuEventSynchronize", "cuStreamWaitEvent",
            "cuEventElapsedTime",
          ])
        let timeless = try Event(in: context, hasTime: false)
        let error = try #require(throws: CUDAError.self) { _ = try end.seconds(since: timeless) }
        #expect(error.code == .invalidArgument)
        #expect(error.description.hasSuffix("one was made without time."))
      }
      #expect(mock.live == [])
    }
  }

  @Test func recordsAGraph() throws {
    try MockDriver.run { mock in
      do {
        let stream = try Stream(in: mockContext())
        let memory = try DeviceMemory(byteCount: 4, in: stream.context)
        let calls = try mock.calls {
          let graph = try stream.capture { try memory.fill(with: 0, on: stream) }
          #expect(try graph.nodeCount() == 3)
          let executable = try graph.instantiate()
          try executable.launch(on: stream)
          try executable.launch(on: stream)
        }
        #expect(
          calls == [
            "cuStreamBeginCapture", "cuMemsetD8Async", "cuStreamEndCapture", "cuGraphGetNodes",
            "cuGraphInstantiateWithFlags", "cuGraphLaunch", "cuGraphLaunch",
          ] + calls.suffix(2))
        #expect(calls.suffix(2).sorted() == ["cuGraphDestroy", "cuGraphExecDestroy"])
        #expect(mock.live == ["context", "memory", "stream"])
      }
      #expect(mock.live == [])
    }
  }

  @Test func dropsARecordingThatFails() throws {
    try MockDriver.run { mock in
      let stream = try Stream(in: mockContext())
      #expect(throws: Surprise.self) { _ = try stream.capture { throw Surprise() } }
      #expect(mock.live == ["context", "stream"])
      #expect(mock.withState { $0.capturing.isEmpty })
      // A call that waits cannot be recorded.
      let memory = try DeviceMemory(byteCount: 4, in: stream.context)
      let values: [UInt32] = [1]
      let error = try #require(throws: CUDAError.self) {
        _ = try stream.capture { try memory.copy(from: values.span, on: stream) }
      }
      #expect(error.code == .capture)
      #expect(error.description.contains("cannot be recorded in a graph"))
      #expect(mock.live == ["context", "memory", "stream"])
      // The end of a recording can fail as well.
      mock.fail("cuStreamEndCapture", with: 901)
      #expect(throws: CUDAError.self) { _ = try stream.capture {} }
    }
  }
}
