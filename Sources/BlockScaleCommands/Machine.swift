// SPDX-License-Identifier: Apache-2.0

import BlockScaleCPU
import BlockScaleCUDA
import CUDADriver
import OrderedCollections
import PTX
import Safetensors

/// What a machine has for BlockScale.
struct Machine {
  let tiers: [CPUTier]
  /// The driver's version, or why there is none.
  let driver: Result<CUDAVersion, CUDAError>
  let devices: [Device]

  /// This machine.
  init() {
    tiers = CPUTier.available
    do throws(CUDAError) {
      let driver = try Driver.load()
      devices = (0..<driver.deviceCount).compactMap { try? driver.device(at: $0) }
      self.driver = .success(driver.version)
    } catch {
      driver = .failure(error)
      devices = []
    }
  }

  /// A machine without GPUs.
  init(tiers: [CPUTier], failure: CUDAError) {
    self.tiers = tiers
    driver = .failure(failure)
    devices = []
  }

  /// What people read.
  var text: String {
    var lines = ["CPU tiers: \(tiers.map(\.rawValue).joined(separator: ", "))"]
    switch driver {
    case .success(let version): lines.append("CUDA driver: for CUDA \(version)")
    case .failure(let error): lines.append("CUDA driver: \(error)")
    }
    for device in devices {
      let kernels = Target.for(device.computeCapability).map { "kernels for \($0.name)" }
      lines.append(
        "GPU \(device.ordinal): \(device.name), compute capability \(device.computeCapability), "
          + "\(device.multiprocessorCount) multiprocessors, \(ByteText.bytes(device.memoryByteCount)), "
          + (kernels ?? "no kernels for it"))
    }
    return lines.joined(separator: "\n") + "\n"
  }

  /// What programs read.
  var members: OrderedDictionary<String, JSONValue> {
    var members: OrderedDictionary<String, JSONValue> = [
      "cpuTiers": .array(tiers.map { JSONValue($0.rawValue) })
    ]
    switch driver {
    case .success(let version): members["cudaVersion"] = JSONValue("\(version)")
    case .failure(let error): members["driverFailure"] = JSONValue("\(error)")
    }
    members["gpus"] = .array(
      devices.map {
        .object([
          "name": JSONValue($0.name), "computeCapability": JSONValue("\($0.computeCapability)"),
          "multiprocessors": JSONValue($0.multiprocessorCount),
          "bytes": JSONValue($0.memoryByteCount),
          "target": Target.for($0.computeCapability).map { JSONValue($0.name) } ?? .null,
        ])
      })
    return members
  }
}
