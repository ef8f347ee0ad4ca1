// SPDX-License-Identifier: Apache-2.0

import BlockScaleCUDA
import CUDADriver
import PTX
import SystemPackage
import Testing

/// Kernels on their way from Swift to a GPU: compiled once, whatever the number of launches and runs.
@Suite struct ExecutorTests {
  /// Stores a number; with registers handed over, as products do it.
  private struct Constant: Kernel {
    var handsRegistersOver = false

    var name: String { handsRegistersOver ? "constant_registers" : "constant" }
    var bounds: LaunchBounds { LaunchBounds(threads: 128, maximumRegisters: 64) }

    func body(_ k: KernelBuilder) {
      let result = k.pointer("result", to: Float.self)
      if handsRegistersOver { k.append(.setMaximumRegisters(40, increasing: false)) }
      result[k.thread].store(Value<Float>(1))
    }
  }

  /// Runs a test with a driver that has these kernels, each with one pointer.
  private func withKernels(_ body: (MockDriver) throws -> Void) throws {
    try MockDriver.run { mock in
      mock.withState {
        $0.kernels = ["constant", "constant_registers"]
        $0.parameters = [8]
      }
      try body(mock)
    }
  }

  /// The kernels' origins in a new executor.
  private func origins(
    _ kernels: [Constant], cache: ModuleCache?
  ) throws -> [ModuleCache.Origin] {
    let executor = try CUDAExecutor(Driver(.mock()).device(at: 0), cache: cache)
    let result = try DeviceBuffer(byteCount: 512, on: executor)
    for _ in 0..<2 {
      for kernel in kernels {
        try executor.launch(
          KernelLaunch(
            kernel.tree(for: executor.target), grid: GridShape(1),
            arguments: ["result": .pointer(result.address)]))
      }
    }
    #expect(executor.loads.map(\.name) == kernels.map(\.name))
    #expect(executor.loads.allSatisfy { $0.seconds > 0 })
    return executor.loads.map(\.origin)
  }

  @Test func compilesInTheFirstRunAlone() throws {
    try withKernels { mock in
      let folder = try TemporaryFolder()
      let cache = ModuleCache(directory: folder.path.appending("cache"))
      let kernels = [Constant(), Constant(handsRegistersOver: true)]
      #expect(try origins(kernels, cache: cache) == [.compiled, .driver])
      #expect(try origins(kernels, cache: cache) == [.cache, .driver])
      #expect(mock.calls.filter { $0 == "cuLinkCreate" }.count == 1)
      #expect(mock.live == [])
    }
  }

  @Test func compilesWithoutACache() throws {
    try withKernels { mock in
      let origins = try origins([Constant()], cache: nil)
      #expect(origins == [.notCached("there is no cache")])
      #expect(!mock.calls.contains("cuLinkCreate"))
    }
  }

  /// A damaged entry is compiled anew, and whole again for the next run.
  @Test func compilesWhatIsDamaged() throws {
    try withKernels { _ in
      let folder = try TemporaryFolder()
      let cache = ModuleCache(directory: folder.path.appending("cache"))
      #expect(try origins([Constant()], cache: cache) == [.compiled])
      let path = cache.directory.appending(try #require(try names(in: cache.directory).first))
      var bytes = try contents(of: path)
      bytes[bytes.count / 2] ^= 1
      try write(bytes, to: path)
      #expect(try origins([Constant()], cache: cache) == [.compiled])
      #expect(try origins([Constant()], cache: cache) == [.cache])
    }
  }

  /// The first figure is of a compilation even where caches hold the kernel, and nothing stays behind.
  @Test func measuresPreparations() throws {
    try withKernels { mock in
      let folder = try TemporaryFolder()
      let cache = ModuleCache(directory: folder.path.appending("cache"))
      #expect(try origins([Constant()], cache: cache) == [.compiled])
      let kept = try names(in: cache.directory)
      let executor = try CUDAExecutor(Driver(.mock()).device(at: 0), cache: cache)
      let linked = mock.calls.count { $0 == "cuLinkComplete" }
      for round in 1...2 {
        let cost = try executor.preparation(of: Constant().tree(for: executor.target))
        #expect(cost.name == "constant" && cost.textSeconds == nil)
        #expect(cost.compileSeconds > 0 && cost.loadSeconds > 0 && cost.origin == .cache)
        #expect(mock.calls.count { $0 == "cuLinkComplete" } == linked + round)
      }
      #expect(try names(in: cache.directory) == kept)
      #expect(executor.loads.isEmpty)
      let entry = try #require(
        KernelCatalog.entries.first { $0.targets.contains(executor.target) })
      mock.withState { _ = $0.kernels.insert(entry.name) }
      let listed = try executor.preparation(of: entry.kernel.tree(for: executor.target))
      #expect(try #require(listed.textSeconds) > 0)

      let registers = try executor.preparation(
        of: Constant(handsRegistersOver: true).tree(for: executor.target))
      #expect(registers.origin == .driver)
      let images = mock.withState { $0.images.suffix(2) }
      // The driver's cache goes by the text, so that the second one must be the first.
      #expect(images.first == images.last)
    }
  }
}
