// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCUDA
import PTX
import PTXEmulator
import Testing

/// What `doctor` runs on a GPU, in the emulator.
@Suite struct KernelCheckTests {
  /// How the emulator runs kernels.
  enum Mode: Sendable {
    /// What kernels start asynchronously ends as late as it may, or at once; warps in turn.
    case latest, earliest
    /// As late as it may; warps in a random order.
    case random(seed: UInt64)
  }

  static let emulated = KernelCheck.all.filter { $0.needsGPU == nil }

  private func device(_ target: Target = .sm90a, _ mode: Mode = .latest) -> EmulatedDevice {
    var options = Emulator.Options()
    options.float8Sums = .truncated
    switch mode {
    case .latest: break
    case .earliest: options.completion = .earliest
    case .random(let seed): options.schedule = .random(seed: seed)
    }
    // Two multiprocessors, so that persistent blocks take several tiles.
    return EmulatedDevice(target: target, multiprocessors: 2, options)
  }

  /// In every mode that can make a difference, which the kernels themselves tell.
  @Test(arguments: emulated)
  func passes(_ check: KernelCheck) throws {
    let device = device()
    try check.run(on: device)
    for mode in KernelModes(device.launches.map(\.tree)).others {
      try check.run(on: self.device(.sm90a, mode))
    }
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

  /// The modes of kernels with and without asynchronous work, and of those whose warps meet.
  @Test func modesFollowTheKernels() throws {
    func modes(_ kernel: some Kernel) throws -> KernelModes {
      KernelModes([try kernel.tree(for: .sm90a)])
    }
    let product = try modes(BlockwiseGEMM(.small))
    #expect(product.startsWork && product.joinsWarps && product.others.count == 2)
    let maximum = try modes(ScaleMaximum(.bfloat16))
    #expect(!maximum.startsWork && maximum.joinsWarps && maximum.others.count == 1)
    let rows = try modes(
      QuantizeRows(
        QuantizeRule(.deepseek, element: .e4m3, scale: .float32, source: .bfloat16),
        blockColumns: 128))
    #expect(!rows.startsWork && !rows.joinsWarps && rows.others.isEmpty)
  }
}

/// What in kernels depends on how the emulator runs them.
private struct KernelModes {
  /// Whether anything ends later than the instruction that starts it.
  private(set) var startsWork = false
  /// Whether warps wait for each other.
  private(set) var joinsWarps = false

  init(_ trees: [KernelTree]) {
    for tree in Set(trees) { visit(tree.body) }
  }

  /// The modes to run besides late completion in turn.
  var others: [KernelCheckTests.Mode] {
    startsWork ? [.earliest, .random(seed: 1)] : joinsWarps ? [.random(seed: 1)] : []
  }

  private mutating func visit(_ statements: [Statement]) {
    for statement in statements {
      switch statement {
      case .instruction(let instruction, _, _): visit(instruction)
      case .branch(_, let then, let otherwise, _):
        visit(then)
        visit(otherwise)
      case .loop(let body, _): visit(body)
      case .leave, .exit, .comment: break
      }
    }
  }

  private mutating func visit(_ instruction: Instruction) {
    switch instruction {
    case .tensorLoad, .tensorStore, .tensorPrefetch, .bulkLoad, .bulkStore, .wgmma:
      startsWork = true
    case .barrier, .barrierArrive, .clusterArrive, .clusterWait, .mbarrierInitialize,
      .mbarrierArrive, .mbarrierArriveExpecting, .mbarrierExpect, .mbarrierArriveRemote,
      .mbarrierTryWait, .atomic:
      joinsWarps = true
    default: break
    }
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
