// SPDX-License-Identifier: Apache-2.0

import CUDADriver
import Testing

/// Loading the driver and asking for devices.
@Suite struct DriverTests {
  @Test func saysThatThereIsNoDriver() throws {
    let error = try #require(throws: CUDAError.self) {
      _ = try Driver.load(path: "libcuda-of-no-machine.so.1")
    }
    #expect(error.code == .noDriver)
    #expect(
      error.description.hasPrefix("No NVIDIA driver was found on this machine (libcuda-of-no-"))
    #expect(error.description.contains("Work goes on with the CPU"))
    #expect(error.number == nil)
  }

  /// Suffixed names are the interface that was declared; a plain one would be another.
  @Test func asksForTheDeclaredNames() throws {
    var names: Set<String> = []
    // No function is called.
    let address = unsafe UnsafeMutableRawPointer(bitPattern: 16)
    _ = try unsafe DriverFunctions { name in
      names.insert(name)
      return unsafe address
    }
    #expect(names.count == 57)
    #expect(
      names.filter { $0.hasSuffix("_v2") }.sorted() == [
        "cuCtxPopCurrent_v2", "cuCtxPushCurrent_v2", "cuDevicePrimaryCtxRelease_v2",
        "cuDeviceTotalMem_v2", "cuEventDestroy_v2", "cuLinkAddData_v2", "cuLinkCreate_v2",
        "cuMemAlloc_v2", "cuMemFree_v2", "cuMemGetInfo_v2", "cuMemcpyDtoDAsync_v2",
        "cuMemcpyDtoHAsync_v2", "cuMemcpyHtoDAsync_v2", "cuStreamBeginCapture_v2",
        "cuStreamDestroy_v2",
      ])
  }

  @Test func saysWhichFunctionIsMissing() throws {
    let address = unsafe UnsafeMutableRawPointer(bitPattern: 16)
    let error = try #require(throws: CUDAError.self) {
      _ = try unsafe DriverFunctions { unsafe $0 == "cuLaunchKernelEx" ? nil : address }
    }
    #expect(error.code == .driverTooOld)
    #expect(error.description.hasPrefix("The NVIDIA driver lacks the function cuLaunchKernelEx. "))
    #expect(error.description.contains("Driver 525 (CUDA 12.0) or newer"))
  }

  /// An older driver has no parameter sizes, and that is no error.
  @Test func worksWithoutParameterInformation() throws {
    let address = unsafe UnsafeMutableRawPointer(bitPattern: 16)
    let table = try unsafe DriverFunctions { unsafe $0 == "cuFuncGetParamInfo" ? nil : address }
    let function = unsafe table.cuFuncGetParamInfo
    let isAbsent = unsafe function == nil
    #expect(isAbsent)
  }

  @Test func loadsInOrder() throws {
    try MockDriver.run { mock in
      let driver = try Driver(.mock())
      #expect(mock.calls == ["cuDriverGetVersion", "cuInit", "cuDeviceGetCount"])
      #expect(driver.version == CUDAVersion(number: 12_080))
      #expect(driver.version.description == "12.8")
      #expect(driver.deviceCount == 1)
    }
  }

  @Test func refusesAnOldDriver() throws {
    try MockDriver.run { mock in
      mock.withState { $0.version = 11_040 }
      let error = try #require(throws: CUDAError.self) { _ = try Driver(.mock()) }
      #expect(error.code == .driverTooOld)
      #expect(
        error.description.hasPrefix(
          "The NVIDIA driver is made for CUDA 11.4, too old for these kernels. "))
      #expect(mock.calls == ["cuDriverGetVersion"])
    }
  }

  @Test(arguments: [
    (Int32(100), CUDAError.Code.noDevice, "CUDA_VISIBLE_DEVICES"),
    (34, .driverNotReady, "stub"),
    (46, .driverNotReady, "exclusive"),
    (802, .driverNotReady, "nvidia-fabricmanager"),
    (803, .driverNotReady, "reboot"),
    (804, .driverNotReady, "forward-compatibility"),
    (999, .other, "an unknown error (999)"),
  ])
  func saysWhyTheDriverDoesNotStart(result: Int32, code: CUDAError.Code, advice: String) throws {
    try MockDriver.run { mock in
      mock.fail("cuInit", with: result)
      let error = try #require(throws: CUDAError.self) { _ = try Driver(.mock()) }
      #expect(error.code == code)
      #expect(error.number == result)
      #expect(error.call == "cuInit")
      #expect(error.description.contains("cannot be initialised: cuInit returned "))
      #expect(error.description.contains(advice))
    }
  }

  @Test func saysThatThereIsNoDevice() throws {
    try MockDriver.run { mock in
      mock.withState { $0.deviceCount = 0 }
      let none = try #require(throws: CUDAError.self) { _ = try Driver(.mock()) }
      #expect(none.code == .noDevice)
      #expect(none.description.hasPrefix("The NVIDIA driver shows no GPU. "))
      mock.withState { $0.deviceCount = 2 }
      let driver = try Driver(.mock())
      let error = try #require(throws: CUDAError.self) { _ = try driver.device(at: 2) }
      #expect(
        error.description.hasPrefix(
          "There is no GPU 2: the driver shows 2, numbered from zero. "))
    }
  }

  @Test func readsADevice() throws {
    try MockDriver.run { mock in
      let device = try Driver(.mock()).device(at: 0)
      #expect(device.name == "NVIDIA H100 80GB HBM3")
      #expect(device.computeCapability == ComputeCapability(major: 9, minor: 0))
      #expect(device.computeCapability.targetNumber == 90)
      #expect(device.multiprocessorCount == 132)
      #expect(device.memoryByteCount == 80 << 30)
      #expect(device.l2CacheByteCount == 50 << 20)
      #expect(device.clockKilohertz == 1_980_000)
      #expect(device.memoryClockKilohertz == 2_619_000)
      #expect(device.memoryBusWidth == 5120)
      #expect(device.sharedMemoryPerBlock == 232_448)
      #expect(device.sharedMemoryPerMultiprocessor == 233_472)
      #expect(device.registersPerMultiprocessor == 65_536)
      #expect(device.threadsPerBlock == 1024)
      #expect(device.threadsPerMultiprocessor == 2048)
      #expect(device.hasClusters && device.hasMemoryPools)
      // A property that the driver does not know is named.
      mock.withState { $0.deviceAttributes[38] = nil }
      let error = try #require(throws: CUDAError.self) { _ = try Driver(.mock()).device(at: 0) }
      #expect(
        error.description == "The property 'l2CacheSize' of NVIDIA H100 80GB HBM3 cannot be read: "
          + "cuDeviceGetAttribute returned CUDA_ERROR_INVALID_VALUE (1).")
    }
  }
}
