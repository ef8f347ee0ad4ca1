// SPDX-License-Identifier: Apache-2.0

import PTX
import PTXEmulator
import Testing

/// Faults of the GEMM, and of operands of its products.
@Suite struct ProductFaultTests {
  @Test(arguments: GEMMFault.allCases, Emulator.Completion.allCases)
  func findsFaultsOfTheGEMM(_ fault: GEMMFault, _ completion: Emulator.Completion) {
    let kinds: [EmulatorError.Kind] =
      switch fault {
      // The bytes are on their way, or have come without anybody having waited.
      case .noWaitForLoad: [completion == .latest ? .inFlight : .race]
      case .noProductFence: [.missingProductFence]
      case .noProductWait: [.registerInFlight]
      case .noProxyFence: [.notVisibleToAsyncProxy]
      case .noStoreWait: [.unfinished]
      case .wrongBytes: [.transactionCount]
      case .noBarrierFence: [.notVisibleToAsyncProxy]
      // The next load comes while the product reads, or after it and unordered.
      case .earlyRelease: [.inFlight, .race]
      }
    var options = Emulator.Options()
    options.completion = completion
    do {
      // With a second step, its load would meet the product that nobody waited for.
      let depth = fault == .noProductWait ? 128 : 256
      _ = try GEMM(columns: 16, depth: depth, fault: fault).run(options)
      Issue.record("no fault for \(fault)")
    } catch let error as EmulatorError {
      #expect(kinds.contains(error.kind), "\(error)")
      #expect(error.line?.line == GEMM.faultLine, "\(error)")
    } catch {
      Issue.record("another error")
    }
  }

  private func product(_ bits: UInt64) -> TreeMaker {
    var k = TreeMaker()
    k.threads = 128
    k.sharedBytes = 1024
    let descriptor = k.value(bits, .bits64)
    k.add(.wgmmaFence)
    k.add(
      .wgmma(
        MatrixProduct(
          columns: 8, leftElement: .e4m3, rightElement: .e4m3, sums: k.registers(4),
          left: .descriptor(descriptor), right: descriptor, adding: false)), line: FaultTests.line)
    return k
  }

  @Test func decodesDescriptorsBitByBit() {
    // Bit 52 means nothing.
    expectFault(.descriptor, line: FaultTests.line, product(1 << 52 | 64))
    // Rows 8 KiB apart leave the shared memory.
    expectFault(.outOfBounds, line: FaultTests.line, product(1 << 62 | 512 << 32 | 64))
    expectFault(.uninitializedShared, line: FaultTests.line, product(1 << 62 | 1 << 32 | 64))
  }

  @Test func tensorMapsThatTheDriverWouldRefuse() {
    var k = TreeMaker()
    _ = k.parameter("x", .tensorMap)
    let good = TensorMapLayout(
      base: 0x1000, element: .uint8, extents: [128, 8], strides: [128], box: [128, 8],
      swizzle: .bytes128)
    var bad: [TensorMapLayout] = []
    for change: (inout TensorMapLayout) -> Void in [
      { $0.base = 0x1008 }, { $0.strides = [100] }, { $0.box = [128, 512] }, { $0.box = [8, 8] },
      { $0.swizzle = .bytes64 }, { $0.extents = [128] }, { $0.extents = [0, 8] },
    ] {
      var map = good
      change(&map)
      bad.append(map)
    }
    for map in bad {
      do throws(EmulatorError) {
        try Emulator().launch(
          k.tree, grid: GridShape(1), arguments: [("x", .tensorMap(map))], memory: EmulatedMemory())
        Issue.record("\(map) is taken")
      } catch {
        #expect(error.kind == .tensorMap, "\(error)")
      }
    }
    // An address that is no map's.
    var other = TreeMaker()
    other.add(.prefetchTensorMap(other.value(0x1000, .bits64)), line: FaultTests.line)
    expectFault(.tensorMap, line: FaultTests.line, other)
  }
}
