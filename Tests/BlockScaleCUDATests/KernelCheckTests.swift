// SPDX-License-Identifier: Apache-2.0

import BlockScaleCUDA
import PTX
import PTXEmulator
import Testing

/// What `doctor` runs on a GPU, in the emulator.
@Suite struct KernelCheckTests {
  /// How the emulator runs kernels: what they start asynchronously ends as late as it may, or at once
  /// with warps in a random order.
  enum Mode { case latest, earliest }

  static let emulated = KernelCheck.all.filter { $0.needsGPU == nil }

  private func device(_ target: Target = .sm90a, _ mode: Mode = .latest) -> EmulatedDevice {
    var options = Emulator.Options()
    options.float8Sums = .truncated
    if mode == .earliest {
      options.completion = .earliest
      options.schedule = .random(seed: 1)
    }
    // Two multiprocessors, so that persistent blocks take several tiles.
    return EmulatedDevice(target: target, multiprocessors: 2, options)
  }

  @Test(arguments: emulated)
  func passes(_ check: KernelCheck) throws {
    try check.run(on: device())
  }

  /// Kernels whose warps work together, on barriers or copies.
  @Test(
    arguments: emulated.filter {
      ["blockwise", "quantize both ways", "multiply", "swiglu"].contains(where: $0.name.hasPrefix)
    })
  func passesAtRandom(_ check: KernelCheck) throws {
    try check.run(on: device(.sm90a, .earliest))
  }

  /// Targets without conversions of eight bits, and those with conversions of four.
  @Test(
    arguments: emulated.filter {
      $0.name.hasSuffix(" 16x264") || $0.name.hasSuffix(" 17x129") || $0.name.contains("every code")
    }, Target.all.filter { $0 != .sm90a })
  func passesOnOtherTargets(_ check: KernelCheck, target: Target) throws {
    try check.run(on: device(target))
  }

  @Test func namesAreDistinct() {
    let names = KernelCheck.all.map(\.name)
    #expect(Set(names).count == names.count)
    #expect(KernelCheck.all.contains { $0.needsGPU != nil })
  }

  /// A kernel that computes something else does not pass.
  @Test func differencesAreFound() throws {
    let check = try #require(KernelCheck.all.first { $0.name.hasPrefix("dequantize every code") })
    let device = CorruptingDevice(device())
    let mismatch = #expect(throws: KernelMismatch.self) { try check.run(on: device) }
    #expect(mismatch?.description.contains("differs in 1 of 256 elements, first in row 0") == true)
  }
}

extension KernelCheck: CustomTestStringConvertible {
  /// The check's name.
  public var testDescription: String { name }
}

/// A device of which one bit of what is copied back is wrong.
private final class CorruptingDevice: KernelExecutor {
  private let device: EmulatedDevice

  init(_ device: EmulatedDevice) { self.device = device }

  var target: Target { device.target }
  var multiprocessors: Int { device.multiprocessors }
  func allocate(byteCount: Int) -> UInt64 { device.allocate(byteCount: byteCount) }
  func free(_ address: UInt64) { device.free(address) }
  func upload(_ bytes: RawSpan, to address: UInt64) throws { try device.upload(bytes, to: address) }
  func launch(_ launch: KernelLaunch) throws { try device.launch(launch) }

  func download(byteCount: Int, from address: UInt64) throws -> [UInt8] {
    var bytes = try device.download(byteCount: byteCount, from: address)
    bytes[byteCount / 2] ^= 1
    return bytes
  }
}
