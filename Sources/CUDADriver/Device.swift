// SPDX-License-Identifier: Apache-2.0

/// A GPU and what it has.
///
/// A plain value: properties are read once, when the device is asked for.
public struct Device: Sendable {
  /// The position among the GPUs that the driver shows, from zero.
  public let ordinal: Int

  /// The product's name, for example "NVIDIA H100 80GB HBM3".
  public let name: String

  /// The architecture.
  public let computeCapability: ComputeCapability

  /// The number of streaming multiprocessors.
  public let multiprocessorCount: Int

  /// Bytes of device memory.
  public let memoryByteCount: Int

  /// Bytes of the second-level cache.
  public let l2CacheByteCount: Int

  /// The multiprocessors' highest clock, in kilohertz.
  public let clockKilohertz: Int

  /// The memory's highest clock, in kilohertz.
  public let memoryClockKilohertz: Int

  /// The width of the memory's bus, in bits.
  public let memoryBusWidth: Int

  /// The most shared memory that a block may use, static and dynamic, when its kernel opts in; bytes.
  public let sharedMemoryPerBlock: Int

  /// Shared memory of a multiprocessor; bytes.
  public let sharedMemoryPerMultiprocessor: Int

  /// 32-bit registers of a multiprocessor.
  public let registersPerMultiprocessor: Int

  /// The most threads in a block.
  public let threadsPerBlock: Int

  /// The most resident threads of a multiprocessor.
  public let threadsPerMultiprocessor: Int

  /// Whether blocks can form clusters.
  public let hasClusters: Bool

  /// Whether memory can be allocated and freed in a stream's order.
  public let hasMemoryPools: Bool

  /// The driver that knows the device.
  public let driver: Driver

  let handle: Int32
}

extension Driver {
  /// A GPU.
  ///
  /// - Parameter ordinal: From zero, below ``deviceCount``.
  /// - Throws: ``CUDAError`` with ``CUDAError/Code/noDevice`` for another number.
  public func device(at ordinal: Int) throws(CUDAError) -> Device {
    guard (0..<deviceCount).contains(ordinal) else {
      throw CUDAError(
        .noDevice,
        "There is no GPU \(ordinal): the driver shows \(deviceCount), numbered from zero",
        advice: "CUDA_VISIBLE_DEVICES chooses among a machine's GPUs.")
    }
    let functions = library.functions
    var handle: Int32 = 0
    // One number is written, for the duration of the call.
    let got = unsafe functions.cuDeviceGet(&handle, Int32(ordinal))
    try library.check(got, "cuDeviceGet", "GPU \(ordinal) cannot be opened")

    let capacity = 256
    var text = [CChar](repeating: 0, count: capacity)
    // The driver writes at most as many characters as it is told, the final zero among them.
    let named = unsafe functions.cuDeviceGetName(&text, Int32(capacity), handle)
    try library.check(named, "cuDeviceGetName", "The name of GPU \(ordinal) cannot be read")
    let name = String(
      decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)

    var memory = 0
    // One number is written, for the duration of the call.
    let sized = unsafe functions.cuDeviceTotalMem(&memory, handle)
    try library.check(sized, "cuDeviceTotalMem_v2", "The memory of \(name) cannot be read")

    func attribute(_ attribute: DeviceAttribute) throws(CUDAError) -> Int {
      var value: Int32 = 0
      // One number is written, for the duration of the call.
      let result = unsafe functions.cuDeviceGetAttribute(&value, attribute.rawValue, handle)
      try library.check(
        result, "cuDeviceGetAttribute", "The property '\(attribute)' of \(name) cannot be read")
      return Int(value)
    }
    return try Device(
      ordinal: ordinal,
      name: name,
      computeCapability: ComputeCapability(
        major: attribute(.computeCapabilityMajor), minor: attribute(.computeCapabilityMinor)),
      multiprocessorCount: attribute(.multiprocessorCount),
      memoryByteCount: memory,
      l2CacheByteCount: attribute(.l2CacheSize),
      clockKilohertz: attribute(.clockRate),
      memoryClockKilohertz: attribute(.memoryClockRate),
      memoryBusWidth: attribute(.memoryBusWidth),
      sharedMemoryPerBlock: attribute(.maximumSharedMemoryPerBlockOptIn),
      sharedMemoryPerMultiprocessor: attribute(.maximumSharedMemoryPerMultiprocessor),
      registersPerMultiprocessor: attribute(.registersPerMultiprocessor),
      threadsPerBlock: attribute(.maximumThreadsPerBlock),
      threadsPerMultiprocessor: attribute(.maximumThreadsPerMultiprocessor),
      hasClusters: attribute(.clusterLaunch) != 0,
      hasMemoryPools: attribute(.memoryPoolsSupported) != 0,
      driver: self,
      handle: handle)
  }
}

/// The version of a GPU's architecture, for example 9.0 for Hopper.
public struct ComputeCapability: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// The generation.
  public let major: Int
  /// The variant within the generation, below ten.
  public let minor: Int

  /// A version from its parts.
  public init(major: Int, minor: Int) {
    self.major = major
    self.minor = minor
  }

  /// The number in names of targets: 90 for `sm_90`.
  public var targetNumber: Int { major * 10 + minor }

  /// For example "9.0".
  public var description: String { "\(major).\(minor)" }

  /// Older architectures come first.
  public static func < (a: Self, b: Self) -> Bool { (a.major, a.minor) < (b.major, b.minor) }
}
