// SPDX-License-Identifier: Apache-2.0

import CUDADriver
import Testing

/// Device memory, pinned memory and copies.
@Suite struct MemoryTests {
  @Test func copiesThereAndBack() throws {
    try MockDriver.run { mock in
      do {
        let context = try mockContext()
        let stream = try Stream(in: context)
        let values: [Float] = [1, 2.5, -3, 4]
        let memory = try DeviceMemory(copying: values.span, on: stream)
        #expect(memory.byteCount == 16)
        #expect(try memory.elements(of: Float.self, on: stream) == values)
        #expect(try memory.elements(of: Float.self, count: 2, at: 4, on: stream) == [2.5, -3])

        let more: [Float] = [7, 8]
        try memory.copy(from: more.span, at: 8, on: stream)
        var host = [UInt32](repeating: 0, count: 3)
        var span = host.mutableSpan
        mock.withState { $0.calls = [] }
        try memory.copy(to: &span, at: 4, on: stream)
        #expect(mock.calls == ["cuMemcpyDtoHAsync", "cuStreamSynchronize"])
        #expect(host.map { Float(bitPattern: $0) } == [2.5, 7, 8])

        let other = try DeviceMemory(byteCount: 32, in: context)
        try other.fill(with: 0xAB, on: stream)
        try other.fill(withWord: 0x0102_0304, in: 4..<12, on: stream)
        try other.copy(from: memory, at: 12, byteCount: 4, to: 28, on: stream)
        let all = try other.elements(of: UInt32.self, on: stream)
        #expect(
          all == [
            0xABAB_ABAB, 0x0102_0304, 0x0102_0304, 0xABAB_ABAB, 0xABAB_ABAB, 0xABAB_ABAB,
            0xABAB_ABAB, Float(8).bitPattern,
          ])
        // Nothing to copy is no call, which the driver would refuse.
        let nothing: [Float] = []
        mock.withState { $0.calls = [] }
        try memory.copy(from: nothing.span, at: 16, on: stream)
        #expect(try memory.elements(of: UInt8.self, at: 16, on: stream) == [])
        try memory.fill(with: 1, in: 3..<3, on: stream)
        try memory.copy(from: other, byteCount: 0, on: stream)
        #expect(mock.calls == [])
      }
      #expect(mock.live == [])
    }
  }

  @Test func saysHowMuchMemoryThereIs() throws {
    try MockDriver.run { mock in
      let context = try mockContext()
      #expect(try context.memory() == (3 << 30, 80 << 30))
      let error = try #require(throws: CUDAError.self) {
        _ = try DeviceMemory(byteCount: 12 << 30 + 1 << 29, in: context)
      }
      #expect(error.code == .outOfMemory)
      let text =
        "12.5 GiB of memory on NVIDIA H100 80GB HBM3 cannot be allocated, where 3.0 GiB of "
      #expect(
        error.description.hasPrefix(
          text + "80.0 GiB are free: cuMemAlloc_v2 returned CUDA_ERROR_OUT_OF_MEMORY (2). "))
      #expect(error.description.contains("nvidia-smi"))
      #expect(mock.live == ["context"])
      let none = try #require(throws: CUDAError.self) {
        _ = try DeviceMemory(byteCount: 0, in: context)
      }
      #expect(none.description == "Device memory of 0 bytes cannot be allocated.")
    }
  }

  @Test func freesInTheStreamsOrder() throws {
    try MockDriver.run { mock in
      do {
        let memory: DeviceMemory
        do {
          let stream = try Stream(in: mockContext())
          memory = try DeviceMemory(byteCount: 64, on: stream)
        }
        // The stream stays for the memory that is freed on it.
        #expect(mock.live == ["context", "memory", "stream"])
        #expect(memory.byteCount == 64)
      }
      #expect(mock.live == [])
      #expect(
        mock.calls.suffix(3) == ["cuMemFreeAsync", "cuStreamDestroy", "cuDevicePrimaryCtxRelease"])
    }
  }

  @Test func needsPoolsForStreamOrder() throws {
    try MockDriver.run { mock in
      mock.withState { $0.deviceAttributes[115] = 0 }
      let stream = try Stream(in: mockContext())
      let error = try #require(throws: CUDAError.self) {
        _ = try DeviceMemory(byteCount: 64, on: stream)
      }
      #expect(error.code == .unsupported)
      #expect(error.description.contains("no memory pools"))
    }
  }

  /// A copy that fails leaves nothing behind, on each of its ways.
  @Test func freesAfterAFailedCopy() throws {
    try MockDriver.run { mock in
      let stream = try Stream(in: mockContext())
      let values: [UInt8] = [1, 2, 3]
      for call in ["cuMemcpyHtoDAsync", "cuStreamSynchronize"] {
        mock.fail(call, with: 700)
        let error = try #require(throws: CUDAError.self) {
          _ = try DeviceMemory(copying: values.span, on: stream)
        }
        #expect(error.code == .contextLost)
        #expect(mock.live == ["context", "stream"])
      }
      let memory = try DeviceMemory(copying: values.span, on: stream)
      for call in ["cuMemcpyDtoHAsync", "cuStreamSynchronize"] {
        mock.fail(call, with: 719)
        let error = try #require(throws: CUDAError.self) {
          _ = try memory.elements(of: UInt8.self, on: stream)
        }
        #expect(error.code == .contextLost)
        #expect(error.call?.hasPrefix(call) == true)
      }
    }
  }

  @Test func pinsMemory() throws {
    try MockDriver.run { mock in
      do {
        let context = try mockContext()
        let stream = try Stream(in: context)
        let memory = try DeviceMemory(byteCount: 8, in: context)
        var pinned = try PinnedMemory(byteCount: 8, in: context)
        pinned.withMutableBytes { bytes in
          for index in 0..<8 {
            bytes.storeBytes(of: UInt8(index), toByteOffset: index, as: UInt8.self)
          }
        }
        // Nothing touches the pinned bytes until the stream was waited for.
        try unsafe memory.copyAsynchronously(from: pinned, byteCount: 8, on: stream)
        try unsafe memory.copyAsynchronously(
          to: pinned, at: 0, byteCount: 2, from: 6, on: stream)
        try stream.synchronize()
        let bytes = pinned.withBytes { bytes in
          // Within the eight bytes.
          (0..<8).map { unsafe bytes.unsafeLoad(fromByteOffset: $0, as: UInt8.self) }
        }
        #expect(bytes == [6, 7, 2, 3, 4, 5, 6, 7])
      }
      #expect(mock.live == [])
      #expect(mock.calls.contains("cuMemFreeHost"))
    }
  }

  @Test func trapsOutsideOfItsMemory() async {
    await #expect(processExitsWith: .failure) {
      try MockDriver.run { _ in
        let stream = try Stream(in: mockContext())
        let memory = try DeviceMemory(byteCount: 16, in: stream.context)
        let values: [UInt64] = [1, 2]
        // What the driver would answer is no trap.
        try? memory.copy(from: values.span, at: 1 << 30, on: stream)
      }
    }
  }

  @Test func addsToAddresses() {
    let address = DeviceAddress(rawValue: 0x7F00)
    #expect((address + 0x20).description == "0x7f20")
    #expect((address + -0x100).rawValue == 0x7E00)
    #expect(address < address + 1)
  }
}
