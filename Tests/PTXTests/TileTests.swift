// SPDX-License-Identifier: Apache-2.0

import Minifloat
import PTX
import Testing

@Suite struct TileTests {
  // MARK: Layouts

  @Test func panelsFollowFromTheSwizzle() {
    let codes = TileLayout<Float8E4M3>(rows: 64, columns: 128, swizzle: .bytes128)
    #expect((codes.panels, codes.panelColumns) == (1, 128))
    #expect((codes.byteCount, codes.alignment) == (8192, 1024))
    let sums = TileLayout<BFloat16>(rows: 64, columns: 128, swizzle: .bytes128)
    #expect((sums.panels, sums.panelColumns, sums.panelBytes) == (2, 64, 8192))
    let scales = TileLayout<Float>(rows: 1, columns: 256)
    #expect((scales.panels, scales.panelRowBytes, scales.alignment) == (1, 1024, 128))
  }

  @Test func theHostCopiesPanels() throws {
    let tile = TileLayout<BFloat16>(rows: 96, columns: 128, swizzle: .bytes128)
    let map = try tile.tensorMap(
      base: 4096, rows: 1000, columns: 70, rowBytes: 144, operand: "Y")
    #expect(
      map
        == TensorMapLayout(
          base: 4096, element: .bfloat16, extents: [70, 1000], strides: [144], box: [64, 96],
          swizzle: .bytes128))
    for (base, rowBytes) in [(4100, 144), (4096, 140), (4096, 128)] as [(UInt64, Int)] {
      #expect(throws: KernelError.self) {
        try tile.tensorMap(base: base, rows: 1000, columns: 70, rowBytes: rowBytes, operand: "Y")
      }
    }
    #expect(throws: KernelError.self) {
      try tile.tensorMap(base: 0, rows: 0, columns: 70, rowBytes: 144, operand: "Y")
    }
  }

  // MARK: Pipelines

  /// Loads a tile of 64x128 codes and one of scales into each slot; blocks of a cluster share the first.
  struct Copying: Kernel {
    var stages = 2
    var clusterBlocks = 1
    var releases = 1
    var registers = 232
    let name = "copying"
    var bounds: LaunchBounds { LaunchBounds(threads: 384, clusterBlocks: clusterBlocks) }

    func body(_ k: KernelBuilder) {
      let codes = TileLayout<Float8E4M3>(rows: 64, columns: 128, swizzle: .bytes128)
      let map = k.tensorMap("codes", of: codes.rows(64 / clusterBlocks))
      let scales = k.tensorMap("scales", of: TileLayout<Float>(rows: 1, columns: 64))
      let cluster = k.cluster()
      let ring = k.pipeline(stages: stages, consumers: 2, cluster: cluster) { memory in
        (codes: memory.tile(codes), scales: memory.tile(scales.layout))
      }
      k.barrier(of: cluster)
      k.roles(
        Producer(registers: 40) {
          ring.produce { slots in
            slots.fill { slot, arrival in
              let zero = Value<UInt32>(0)
              slot.codes.load(
                from: map, row: k.special(.blockY), column: zero, sharedBy: cluster,
                arrival: arrival)
              slot.scales.load(from: scales, row: zero, column: zero, arrival: arrival)
            }
          }
        },
        Consumers(warpgroups: 2, registers: registers) { _ in
          ring.consume { slots in
            slots.next { _, release in
              for _ in 0..<releases { release() }
            }
          }
        })
    }
  }

  @Test(arguments: [1, 2])
  func barriersCountWhatTheCopiesBring(clusterBlocks: Int) throws {
    let tree = try Copying(clusterBlocks: clusterBlocks).tree(for: .sm90a)
    let instructions = Self.instructions(of: tree.body)
    // Both blocks bring half a tile each to both, so each waits for the whole.
    let announced = instructions.compactMap { instruction -> UInt64? in
      guard case .mbarrierArriveExpecting(_, .immediate(let bytes)) = instruction else {
        return nil
      }
      return bytes
    }
    let bytes: UInt64 = 64 * 128 + 64 * 4
    #expect(announced == [bytes])
    let counts = instructions.compactMap { instruction -> UInt64? in
      guard case .mbarrierInitialize(_, .immediate(let count)) = instruction else { return nil }
      return count
    }
    let readers = UInt64(8 * clusterBlocks)
    #expect(counts == [1, readers, 1, readers])
    let multicasts = instructions.compactMap { instruction -> UInt64? in
      guard case .tensorLoad(_, _, .immediate(let blocks)) = instruction else { return nil }
      return blocks
    }
    #expect(multicasts == (clusterBlocks == 1 ? [] : [0b11]))
    // The slot, once filled, and with a cluster one lap of both stages more.
    let waits = instructions.count { if case .mbarrierTryWait = $0 { true } else { false } }
    #expect(waits == 2 + (clusterBlocks == 1 ? 0 : 2))
  }

  @Test func slotsThatDoNotFitAreAnError() {
    #expect(throws: KernelError.self) { try Copying(stages: 30).tree(for: .sm90a) }
  }

  @Test func slotsAreReleasedOnce() async {
    await #expect(processExitsWith: .failure) {
      _ = try Copying(releases: 0).tree(for: .sm90a)
    }
    await #expect(processExitsWith: .failure) {
      _ = try Copying(releases: 2).tree(for: .sm90a)
    }
  }

  /// 128 · (40 + 2 · 240) registers are more than a multiprocessor has, and would be waited for forever.
  @Test func rolesShareTheRegistersThatThereAre() async {
    await #expect(processExitsWith: .failure) {
      _ = try Copying(registers: 240).tree(for: .sm90a)
    }
  }

  private static func instructions(of statements: [Statement]) -> [Instruction] {
    statements.flatMap { statement -> [Instruction] in
      switch statement {
      case .instruction(let instruction, _, _): [instruction]
      case .branch(_, let then, let otherwise, _):
        instructions(of: then) + instructions(of: otherwise)
      case .loop(let body, _): instructions(of: body)
      case .leave, .exit, .comment: []
      }
    }
  }
}
