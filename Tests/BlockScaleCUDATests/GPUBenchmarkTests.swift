// SPDX-License-Identifier: Apache-2.0

import BlockScaleCUDA
import PTX
import PTXEmulator
import Testing

/// What `bench` measures, in the emulator and small.
@Suite struct GPUBenchmarkTests {
  private static let small =
    GPUBenchmark.activationFlow(rows: 144, columns: 256)
    + GPUBenchmark.quantizers(rows: 144, columns: 256)
    + GPUBenchmark.dequantizers(rows: 144, columns: 256)

  @Test func namesAreDistinct() {
    let names = GPUBenchmark.all.map(\.name)
    #expect(Set(names).count == names.count)
  }

  /// The operation's launches come back in their order, and run again on memory that is still there.
  @Test(arguments: small.map(\.name))
  func runsAgain(_ name: String) throws {
    let benchmark = try #require(Self.small.first { $0.name == name })
    let device = EmulatedDevice(target: .sm90a, multiprocessors: 2)
    let prepared = try benchmark.prepare(device)
    #expect(!prepared.launches.isEmpty && prepared.launches == device.launches)
    for launch in prepared.launches {
      #expect(KernelCatalog.named(launch.tree.name)?.name == launch.tree.name)
    }
    for launch in prepared.launches { try device.launch(launch) }
    withExtendedLifetime(prepared) {}
    guard case .bytes(let count) = benchmark.work else {
      Issue.record("\(benchmark.name) counts no bytes")
      return
    }
    #expect(count >= 144 * 256 * 2)
  }
}
