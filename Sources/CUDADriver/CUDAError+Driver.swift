// SPDX-License-Identifier: Apache-2.0

extension CUDAError {
  /// The oldest CUDA version that has every function of ``DriverFunctions``, as the driver numbers it.
  static let oldestVersion: Int32 = 12_000

  static let driverNeed =
    "Driver 525 (CUDA 12.0) or newer is needed, for Blackwell 570 (CUDA 12.8); the CPU needs neither."

  /// No library to load; `reason` is the loader's sentence.
  static func noDriver(_ reason: String) -> Self {
    Self(
      .noDriver, "No NVIDIA driver was found on this machine (\(reason))",
      advice: "Work goes on with the CPU; for a GPU, install NVIDIA's driver 525 or newer.")
  }

  /// A library that lacks a function.
  static func missing(function name: String) -> Self {
    Self(.driverTooOld, "The NVIDIA driver lacks the function \(name)", advice: driverNeed)
  }

  static func tooOld(version: Int32) -> Self {
    Self(
      .driverTooOld,
      "The NVIDIA driver is made for CUDA \(CUDAVersion(number: version)), too old for these kernels",
      advice: driverNeed)
  }

  /// The code and the advice for a number of the driver's.
  ///
  /// The only place that gives meaning to numbers.
  static func meaning(of number: Int32) -> (code: Code, advice: String?) {
    switch number {
    case ResultNumber.outOfMemory:
      (
        .outOfMemory,
        "Use a smaller batch or free what other programs hold (nvidia-smi lists them)."
      )
    case ResultNumber.noDevice:
      (
        .noDevice,
        "Look at CUDA_VISIBLE_DEVICES, at the container's --gpus, and at nvidia-smi; the CPU goes on."
      )
    case ResultNumber.invalidDevice:
      (.noDevice, "Devices are numbered from zero, as CUDA_VISIBLE_DEVICES leaves them.")
    case ResultNumber.stubLibrary:
      (
        .driverNotReady,
        "The library is the toolkit's stub; put the driver's own first in the path."
      )
    case ResultNumber.deviceUnavailable:
      (.driverNotReady, "Another program holds the GPU for itself (exclusive compute mode).")
    case ResultNumber.systemDriverMismatch:
      (.driverNotReady, "The library and the kernel module are of different releases: reboot.")
    case ResultNumber.systemNotReady:
      (
        .driverNotReady,
        "A service is not running: on machines with NVSwitch, nvidia-fabricmanager."
      )
    case ResultNumber.incompatibleDevice:
      (.driverNotReady, "The forward-compatibility library does not support this GPU: remove it.")
    case ResultNumber.noBinaryForGPU:
      (
        .foreignArchitecture,
        "The code is for another GPU; targets that end in \"a\" run on one architecture only."
      )
    case ResultNumber.invalidPTX, ResultNumber.invalidImage:
      (.invalidCode, nil)
    case ResultNumber.unsupportedPTXVersion:
      (.driverTooOld, "The PTX's .version is newer than the driver; a newer driver reads it.")
    case ResultNumber.jitCompilerNotFound:
      (.driverNotReady, "The driver's package lacks its compiler, libnvidia-ptxjitcompiler.so.1.")
    case ResultNumber.jitCompilationDisabled:
      (
        .driverNotReady,
        "The environment variable CUDA_DISABLE_PTX_JIT forbids compiling: unset it."
      )
    case ResultNumber.notFound:
      (.notFound, nil)
    case ResultNumber.launchOutOfResources:
      (
        .launchOutOfResources,
        "Registers times threads, or shared memory, exceed what a multiprocessor has."
      )
    case ResultNumber.invalidClusterSize:
      (.launchOutOfResources, "No part of the GPU has room for a cluster of these blocks.")
    case ResultNumber.illegalAddress, ResultNumber.misalignedAddress,
      ResultNumber.invalidAddressSpace, ResultNumber.illegalInstruction,
      ResultNumber.invalidProgramCounter, ResultNumber.hardwareStackError,
      ResultNumber.launchFailed,
      ResultNumber.assert, ResultNumber.launchTimeout:
      (
        .contextLost,
        "An earlier kernel failed and the context is lost: end the process. The same command under "
          + "`compute-sanitizer --tool memcheck` names the kernel and the address."
      )
    case ResultNumber.uncorrectableECC, ResultNumber.uncorrectableNVLink:
      (.contextLost, "The hardware reported an error: end the process and look at nvidia-smi -q.")
    case ResultNumber.capture:
      (.capture, "The call cannot be recorded in a graph: do it before or after the recording.")
    case ResultNumber.notSupported:
      (.unsupported, nil)
    default:
      (.other, nil)
    }
  }
}

/// A version of CUDA.
public struct CUDAVersion: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// The driver's number: 1000 times the major version plus 10 times the minor one.
  public let number: Int32

  /// A version from the driver's number, for example 12080.
  public init(number: Int32) {
    self.number = number
  }

  /// For example "12.8".
  public var description: String { "\(number / 1000).\(number % 1000 / 10)" }

  /// Older versions come first.
  public static func < (a: Self, b: Self) -> Bool { a.number < b.number }
}
