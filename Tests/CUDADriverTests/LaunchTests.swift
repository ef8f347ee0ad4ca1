// SPDX-License-Identifier: Apache-2.0

import CUDADriver
import Testing

/// What the driver is given for a launch, byte by byte, and what it is not asked.
@Suite struct LaunchTests {
  private func withKernel(
    parameters: [Int] = [], _ body: (MockDriver, Function, borrowing Stream) throws -> Void
  ) throws {
    try MockDriver.run { mock in
      mock.withState { $0.parameters = parameters }
      let context = try mockContext()
      let module = try Module(ptx: hopperPTX, in: context)
      let stream = try Stream(in: context)
      try body(mock, module.function(named: "kernel", dynamicSharedMemory: 100_000), stream)
    }
  }

  /// A little-endian number in bytes.
  private func number(_ bytes: [UInt8], at offset: Int, count: Int = 4) -> UInt64 {
    (0..<count).reduce(0) { $0 | UInt64(bytes[offset + $1]) << UInt64(8 * $1) }
  }

  @Test func laysOutTheConfiguration() throws {
    try withKernel { mock, function, stream in
      let configuration = LaunchConfiguration(
        grid: Dimensions(132, 4, 2), block: Dimensions(128, 3), dynamicSharedMemory: 98_304,
        cluster: Dimensions(2, 1, 2), programmaticStreamSerialization: true)
      try function.launch(configuration, [], on: stream)
      let state = mock.withState { $0 }
      let bytes = state.configuration
      #expect((0..<7).map { number(bytes, at: 4 * $0) } == [132, 4, 2, 128, 3, 1, 98_304])
      #expect(number(bytes, at: 28) == 0)
      let handle = try #require(state.live.first { $0.value == "stream" }?.key)
      #expect(number(bytes, at: 32, count: 8) == handle)
      #expect(number(bytes, at: 48) == 2)
      #expect(number(bytes, at: 52) == 0)
      try #require(state.attributes.count == 2)
      let cluster = state.attributes[0]
      #expect((0..<6).map { number(cluster, at: 4 * $0) } == [4, 0, 2, 1, 2, 0])
      #expect(cluster[20...].allSatisfy { $0 == 0 })
      let dependent = state.attributes[1]
      #expect((0..<4).map { number(dependent, at: 4 * $0) } == [6, 0, 1, 0])
      #expect(dependent[12...].allSatisfy { $0 == 0 })
    }
  }

  @Test func namesNoAttributeThatIsNotAskedFor() throws {
    try withKernel { mock, function, stream in
      try function.launch(LaunchConfiguration(grid: 7, block: 32), [], on: stream)
      #expect(mock.withState { $0.attributes } == [])
      try function.launch(
        LaunchConfiguration(grid: 7, block: 32, programmaticStreamSerialization: true), [],
        on: stream)
      #expect(mock.withState { $0.attributes.map { $0[0] } } == [6])
      #expect(
        try function.clustersOnDevice(LaunchConfiguration(grid: 8, block: 32, cluster: 2)) == 66)
      #expect(mock.withState { $0.attributes.map { $0[0] } } == [4])
    }
  }

  @Test func passesArguments() throws {
    try withKernel(parameters: [8, 4, 128, 4, 8, 128]) { mock, function, stream in
      let memory = try DeviceMemory(byteCount: 4096, in: stream.context)
      let map = try TensorMap(
        .init(elementType: .uint8, extents: [64, 64], box: [64, 8]), at: memory.address,
        in: stream.context)
      try function.launch(
        LaunchConfiguration(grid: 1, block: 32),
        [
          .memory(memory), .uint32(0xDEAD_BEEF), .tensorMap(map), .float(1.5),
          .uint64(0x0123_4567_89AB_CDEF), .tensorMap(map),
        ], on: stream)
      let state = mock.withState { $0 }
      #expect(number(state.arguments[0], at: 0, count: 8) == memory.address.rawValue)
      #expect(number(state.arguments[1], at: 0) == 0xDEAD_BEEF)
      #expect(state.arguments[2] == (0..<128).map { UInt8(0x80 + $0) })
      #expect(number(state.arguments[3], at: 0) == UInt64(Float(1.5).bitPattern))
      #expect(number(state.arguments[4], at: 0, count: 8) == 0x0123_4567_89AB_CDEF)
      #expect(state.arguments[5] == state.arguments[2])
      #expect(state.remainders[2] == 0 && state.remainders[5] == 0)
      #expect(state.remainders[4] % 8 == 0)
    }
  }

  @Test func comparesArgumentsWithParameters() throws {
    try withKernel(parameters: [8, 4]) { mock, function, stream in
      let configuration = LaunchConfiguration(grid: 1, block: 32)
      let few = try #require(throws: CUDAError.self) {
        try function.launch(configuration, [.uint64(1)], on: stream)
      }
      #expect(
        few.description == "Kernel 'kernel' has 2 parameters and was given 1 arguments.")
      let wide = try #require(throws: CUDAError.self) {
        try function.launch(configuration, [.uint64(1), .uint64(2)], on: stream)
      }
      #expect(wide.description == "Argument 1 of kernel 'kernel' has 8 bytes, and its parameter 4.")
      #expect(!mock.calls.contains("cuLaunchKernelEx"))
    }
  }

  @Test func launchesWithoutParameterInformation() throws {
    try MockDriver.run { mock in
      var functions = try DriverFunctions.mock()
      unsafe functions.cuFuncGetParamInfo = nil
      let context = try Context(Driver(functions).device(at: 0))
      let function = try Module(ptx: hopperPTX, in: context).function(named: "kernel")
      mock.withState { $0.parameters = [4] }
      try function.launch(
        LaunchConfiguration(grid: 1, block: 1), [.uint32(5)], on: Stream(in: context))
      #expect(mock.withState { $0.arguments } == [[5, 0, 0, 0]])
    }
  }

  private static let mistakes: [(LaunchConfiguration, String)] = [
    (.init(grid: 0, block: 32), "the grid 0x1x1: 1 to 2147483647 blocks in x"),
    (.init(grid: Dimensions(1, 65_536), block: 32), "the grid 1x65536x1"),
    (.init(grid: Dimensions(1 << 31), block: 32), "the grid 2147483648x1x1"),
    (.init(grid: 1, block: Dimensions(0)), "the block 0x1x1: at most 1024 threads"),
    (.init(grid: 1, block: Dimensions(1, 1, 65)), "the block 1x1x65"),
    (.init(grid: 1, block: Dimensions(64, 32)), "the block 64x32x1: at most 1024 threads"),
    (.init(grid: 1, block: 1, dynamicSharedMemory: 100_001), "looked up with at most 100000"),
    (.init(grid: 1, block: 1, dynamicSharedMemory: -1), "-1 bytes of dynamic shared memory"),
    (.init(grid: 16, block: 1, cluster: 16), "the cluster 16x1x1: 1 to 8 blocks"),
    (.init(grid: 16, block: 1, cluster: Dimensions(4, 4)), "the cluster 4x4x1: 1 to 8 blocks"),
    (.init(grid: 7, block: 1, cluster: 2), "the grid 7x1x1 in clusters of 2x1x1"),
  ]

  @Test(arguments: mistakes.indices)
  func refusesWhatCannotBe(index: Int) throws {
    try withKernel { mock, function, stream in
      let (configuration, sentence) = Self.mistakes[index]
      let error = try #require(throws: CUDAError.self) {
        try function.launch(configuration, [], on: stream)
      }
      #expect(error.code == .invalidArgument)
      #expect(error.description.contains(sentence), "\(error)")
      #expect(!mock.calls.contains("cuLaunchKernelEx"))
    }
  }

  @Test func saysThatResourcesDoNotSuffice() throws {
    try withKernel { mock, function, stream in
      mock.fail("cuLaunchKernelEx", with: 701)
      let error = try #require(throws: CUDAError.self) {
        try function.launch(
          LaunchConfiguration(grid: 2, block: 1024, dynamicSharedMemory: 64), [], on: stream)
      }
      #expect(error.code == .launchOutOfResources)
      #expect(
        error.description == "Kernel 'kernel' cannot be launched (grid 2x1x1, block 1024x1x1, 32 "
          + "registers a thread, 64 bytes of shared memory): cuLaunchKernelEx returned "
          + "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES (701). Registers times threads, or shared memory, "
          + "exceed what a multiprocessor has.")
    }
  }

  @Test func needsHopperForClusters() throws {
    try MockDriver.run { mock in
      mock.withState {
        $0.deviceAttributes[120] = 0
        $0.deviceName = "NVIDIA A100"
        $0.deviceAttributes[75] = 8
      }
      let context = try mockContext()
      let function = try Module(ptx: ".target sm_80", in: context).function(named: "kernel")
      let error = try #require(throws: CUDAError.self) {
        try function.launch(
          LaunchConfiguration(grid: 2, block: 1, cluster: 2), [], on: Stream(in: context))
      }
      #expect(error.code == .unsupported)
      #expect(
        error.description == "Kernel 'kernel' cannot have clusters on NVIDIA A100, which has none.")
    }
  }
}
