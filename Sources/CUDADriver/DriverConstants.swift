// SPDX-License-Identifier: Apache-2.0

// The numbers of cuda.h that this target uses. They are part of the driver's binary interface: none
// has changed its meaning since it was introduced.

/// Results of driver calls (`CUresult`).
enum ResultNumber {
  static let success: Int32 = 0
  static let invalidValue: Int32 = 1
  static let outOfMemory: Int32 = 2
  static let stubLibrary: Int32 = 34
  static let deviceUnavailable: Int32 = 46
  static let noDevice: Int32 = 100
  static let invalidDevice: Int32 = 101
  static let invalidImage: Int32 = 200
  static let noBinaryForGPU: Int32 = 209
  static let uncorrectableECC: Int32 = 214
  static let invalidPTX: Int32 = 218
  static let uncorrectableNVLink: Int32 = 220
  static let jitCompilerNotFound: Int32 = 221
  static let unsupportedPTXVersion: Int32 = 222
  static let jitCompilationDisabled: Int32 = 223
  static let notFound: Int32 = 500
  static let notReady: Int32 = 600
  static let illegalAddress: Int32 = 700
  static let launchOutOfResources: Int32 = 701
  static let launchTimeout: Int32 = 702
  static let assert: Int32 = 710
  static let hardwareStackError: Int32 = 714
  static let illegalInstruction: Int32 = 715
  static let misalignedAddress: Int32 = 716
  static let invalidAddressSpace: Int32 = 717
  static let invalidProgramCounter: Int32 = 718
  static let launchFailed: Int32 = 719
  static let notPermitted: Int32 = 800
  static let notSupported: Int32 = 801
  static let systemNotReady: Int32 = 802
  static let systemDriverMismatch: Int32 = 803
  static let incompatibleDevice: Int32 = 804
  /// The first and the last of those about captured streams.
  static let capture: ClosedRange<Int32> = 900...908
  static let invalidClusterSize: Int32 = 912
}

/// Properties of a device (`CUdevice_attribute`).
enum DeviceAttribute: Int32 {
  case maximumThreadsPerBlock = 1
  case clockRate = 13
  case multiprocessorCount = 16
  case memoryClockRate = 36
  case memoryBusWidth = 37
  case l2CacheSize = 38
  case maximumThreadsPerMultiprocessor = 39
  case computeCapabilityMajor = 75
  case computeCapabilityMinor = 76
  case maximumSharedMemoryPerMultiprocessor = 81
  case registersPerMultiprocessor = 82
  case maximumSharedMemoryPerBlockOptIn = 97
  case memoryPoolsSupported = 115
  case clusterLaunch = 120
}

/// Properties of a kernel (`CUfunction_attribute`).
enum FunctionAttribute: Int32 {
  case maximumThreadsPerBlock = 0
  case staticSharedMemory = 1
  case localMemory = 3
  case registers = 4
  case maximumDynamicSharedMemory = 8
}

/// Options of the compiler (`CUjit_option`).
enum JITOption: Int32 {
  case maximumRegisters = 0
  case infoLogBuffer = 3
  case infoLogByteCount = 4
  case errorLogBuffer = 5
  case errorLogByteCount = 6
  case targetFromContext = 8
  case target = 9
  case verboseLog = 12
  case lineInformation = 13

  /// What is added to a compute capability's number for the architecture with the suffix "a".
  static let acceleratedTargetBase = 0x10000
}

/// Attributes of a launch (`CUlaunchAttributeID`).
enum LaunchAttributeID: UInt32 {
  case clusterDimension = 4
  case programmaticStreamSerialization = 6
}

/// Arguments of single calls.
enum Flag {
  /// `CU_STREAM_NON_BLOCKING`: the stream does not wait for the legacy default stream.
  static let nonBlockingStream: UInt32 = 1
  /// `CU_EVENT_DISABLE_TIMING`.
  static let eventWithoutTiming: UInt32 = 2
  /// `CU_STREAM_CAPTURE_MODE_THREAD_LOCAL`: other threads may go on allocating.
  static let captureThreadLocal: Int32 = 1
  /// `CU_MEMHOSTALLOC_PORTABLE`: pinned for every context.
  static let portableHostMemory: UInt32 = 1
  /// `CU_JIT_INPUT_PTX`.
  static let ptxInput: Int32 = 1
}
