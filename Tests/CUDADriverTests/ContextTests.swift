// SPDX-License-Identifier: Apache-2.0

import CUDADriver
import Testing

/// Contexts, and who keeps them.
@Suite struct ContextTests {
  @Test func isCurrentForACallAndNoLonger() throws {
    try MockDriver.run { mock in
      let context = try mockContext()
      mock.withState { $0.notesContexts = true }
      #expect(
        try mock.calls { try context.synchronize() } == [
          "cuCtxPushCurrent", "cuCtxSynchronize", "cuCtxPopCurrent",
        ])
      // A failing call puts the thread's context back too.
      mock.fail("cuCtxSynchronize", with: 700)
      #expect(throws: CUDAError.self) { try context.synchronize() }
      #expect(mock.withState { $0.contexts.isEmpty })
      // Without a context the call is not made.
      mock.fail("cuCtxPushCurrent", with: 201)
      let calls = mock.calls {
        #expect(throws: CUDAError.self) { try context.synchronize() }
      }
      #expect(calls == ["cuCtxPushCurrent"])
    }
  }

  @Test func livesAsLongAsItsResources() throws {
    try MockDriver.run { mock in
      do {
        let stream = try Stream(in: mockContext())
        #expect(mock.live == ["context", "stream"])
        try stream.synchronize()
      }
      #expect(mock.live == [])
      #expect(mock.calls.suffix(2) == ["cuStreamDestroy", "cuDevicePrimaryCtxRelease"])
    }
  }

  @Test func saysThatAContextIsLost() throws {
    try MockDriver.run { mock in
      let context = try mockContext()
      mock.fail("cuCtxSynchronize", with: 700)
      let error = try #require(throws: CUDAError.self) { try context.synchronize() }
      #expect(error.code == .contextLost)
      #expect(error.name == "CUDA_ERROR_ILLEGAL_ADDRESS")
      #expect(
        error.description == "Work on NVIDIA H100 80GB HBM3 failed: cuCtxSynchronize returned "
          + "CUDA_ERROR_ILLEGAL_ADDRESS (700). An earlier kernel failed and the context is lost: end "
          + "the process. The same command under `compute-sanitizer --tool memcheck` names the kernel "
          + "and the address.")
    }
  }

  @Test(arguments: [Int32(702), 710, 714, 715, 716, 717, 718, 719, 214, 220])
  func knowsWhatLosesAContext(result: Int32) throws {
    try MockDriver.run { mock in
      let context = try mockContext()
      mock.fail("cuCtxSynchronize", with: result)
      let error = try #require(throws: CUDAError.self) { try context.synchronize() }
      #expect(error.code == .contextLost)
    }
  }

  @Test func releasesNothingThatItDidNotGet() throws {
    try MockDriver.run { mock in
      mock.fail("cuDevicePrimaryCtxRetain", with: 2)
      let error = try #require(throws: CUDAError.self) { _ = try mockContext() }
      #expect(error.code == .outOfMemory)
      #expect(!mock.calls.contains("cuDevicePrimaryCtxRelease"))
    }
  }
}
