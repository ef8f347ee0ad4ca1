// SPDX-License-Identifier: Apache-2.0

import PTX

/// Small kernels as the builder makes them, for pinned texts and for the assembler.
enum ExampleTrees {
  static let all = [maximumOfRows, copyTiles, quantizePairs]

  private static func does(_ instruction: Instruction, if guardian: Guard? = nil, _ line: Int)
    -> Statement
  {
    .instruction(
      instruction, guardedBy: guardian, SourceLine(file: "PTXTests/ExampleTrees.swift", line: line))
  }

  private static func line(_ number: Int) -> SourceLine {
    SourceLine(file: "PTXTests/ExampleTrees.swift", line: number)
  }

  /// A loop with two ends, branches and an early exit: the largest magnitude of rows, as E4M3.
  static let maximumOfRows = KernelTree(
    name: "maximumOfRows", target: .sm89,
    parameters: [
      KernelParameter(name: "source", kind: .pointer),
      KernelParameter(name: "result", kind: .pointer),
      KernelParameter(name: "columns", kind: .uint32),
      KernelParameter(name: "factor", kind: .float),
    ],
    sharedBytes: 0, bounds: LaunchBounds(threads: 32), registerCounts: [3, 1, 12, 4],
    body: [
      .comment("One warp a row."),
      does(.loadParameter(d(0), parameter: 0), 10), does(.globalAddress(d(0), d(0)), 10),
      does(.loadParameter(d(1), parameter: 1), 11), does(.globalAddress(d(1), d(1)), 11),
      does(.loadParameter(r(0), parameter: 2), 12), does(.loadParameter(r(1), parameter: 3), 12),
      does(.readSpecial(r(2), .blockX), 13), does(.readSpecial(r(3), .lane), 13),
      does(.compare(.equal, .u32, p(0), .r(0), 0), 14), .exit(Guard(p(0)), line(14)),
      does(.ternary(.multiplyAdd, .u32, r(4), .r(2), .r(0), .r(3)), 15),
      does(.ternary(.multiplyAddWide, .u32, d(2), .r(4), 4, .d(0)), 15),
      does(.move(r(5), .float(0)), 16),
      .loop(
        [
          does(.compare(.greaterOrEqual, .u32, p(0), .r(3), .r(0)), 17),
          .leave(Guard(p(0)), line(17)),
          does(
            .load(
              MemoryAccess(space: .global, type: .f32, cache: .readOnly), to: [r(6)],
              address: Address(d(2))), 18),
          does(.unary(.absolute, .f32, r(6), .r(6)), 18),
          does(.binary(.maximum, .f32, r(5), .r(5), .r(6)), 18),
          does(.binary(.add, .u32, r(3), .r(3), 32), 19),
          does(.binary(.add, .u64, d(2), .d(2), 128), 19),
        ], line(17)),
      does(.move(r(7), 16), 20),
      .loop(
        [
          does(.shuffle(.butterfly, r(6), valid: nil, .r(5), lane: .r(7), clamp: 31, mask: -1), 21),
          does(.binary(.maximum, .f32, r(5), .r(5), .r(6)), 21),
          does(.binary(.shiftRight, .u32, r(7), .r(7), 1), 22),
          does(.compare(.equal, .u32, p(1), .r(7), 0), 22), .leave(Guard(p(1)), line(22)),
        ], line(20)),
      does(.readSpecial(r(8), .lane), 23), does(.compare(.equal, .u32, p(2), .r(8), 0), 23),
      .branch(
        Guard(p(2)),
        then: [
          does(.compare(.unordered, .f32, p(0), .r(5), .r(5)), 24),
          .branch(
            Guard(p(0), is: false),
            then: [
              does(.binary(.multiply, .f32, r(5), .r(5), .r(1)), 25),
              does(.packPair(h(0), .e4m3x2, high: .float(0), low: .r(5)), 25),
            ],
            otherwise: [does(.move(h(0), 0x7F), 26)], line(24)),
          does(.convert(d(3), to: .u64, .r(2), from: .u32, rounding: .none, saturating: false), 27),
          does(.binary(.add, .u64, d(1), .d(1), .d(3)), 27),
          does(
            .store(MemoryAccess(space: .global, type: .u8), from: [.h(0)], address: Address(d(1))),
            27),
        ], otherwise: [], line(23)),
    ])

  /// Barriers, tensor copies with policies, a product and its matrices.
  static let copyTiles = KernelTree(
    name: "copyTiles", target: .sm90a,
    parameters: [
      KernelParameter(name: "input", kind: .tensorMap),
      KernelParameter(name: "output", kind: .tensorMap),
    ],
    sharedBytes: 25_600, bounds: LaunchBounds(threads: 128, minimumBlocks: 1, clusterBlocks: 2),
    registerCounts: [3, 1, 24, 5],
    body: [
      does(.tensorMapAddress(d(0), parameter: 0), 30),
      does(.tensorMapAddress(d(1), parameter: 1), 30),
      does(.sharedAddress(r(0), offset: 0), 31), does(.sharedAddress(r(1), offset: 24_576), 31),
      does(.readSpecial(r(2), .threadX), 32), does(.compare(.equal, .u32, p(0), .r(2), 0), 32),
      does(.readSpecial(r(3), .blockInCluster), 32),
      .branch(
        Guard(p(0)),
        then: [
          does(.prefetchTensorMap(d(0)), 33),
          does(.mbarrierInitialize(Address(r(1)), count: 1), 34),
          does(.fence(.mbarrierInitialization), 34),
        ], otherwise: [], line(33)),
      does(.clusterArrive(relaxed: true), 35), does(.clusterWait, 35),
      .branch(
        Guard(p(0)),
        then: [
          does(.mbarrierArriveExpecting(Address(r(1)), bytes: 16_384), 36),
          does(
            .tensorLoad(
              TensorCopy(
                map: d(0), coordinates: [0, .r(3)], shared: Address(r(0)), policy: .evictLast),
              barrier: Address(r(1)), multicast: nil), 37),
          does(
            .tensorLoad(
              TensorCopy(map: d(0), coordinates: [0, .r(3)], shared: Address(r(0), offset: 8192)),
              barrier: Address(r(1)), multicast: 3), if: Guard(p(0), is: true), 38),
        ], otherwise: [], line(36)),
      .loop(
        [
          does(.mbarrierTryWait(p(1), Address(r(1)), parity: 0), 39), .leave(Guard(p(1)), line(39)),
        ], line(39)),
      does(.binary(.shiftRight, .u32, r(4), .r(0), 4), 40),
      does(.binary(.and, .b32, r(4), .r(4), 0x3FFF), 40),
      does(.convert(d(2), to: .u64, .r(4), from: .u32, rounding: .none, saturating: false), 40),
      does(.binary(.or, .b64, d(2), .d(2), .immediate(0x4000_0040_0001_0000)), 40),
      does(.binary(.add, .u64, d(3), .d(2), 512), 40),
      does(.wgmmaFence, 41),
      does(
        .wgmma(
          MatrixProduct(
            columns: 16, leftElement: .e4m3, rightElement: .e4m3, sums: (8..<16).map(r),
            left: .descriptor(d(2)), right: d(3), adding: false)), 42),
      does(.wgmmaCommit, 43), does(.wgmmaWait(pending: 0), 43),
    ]
      + (0..<4).map {
        does(.packPair(r(16 + $0), .bf16x2, high: .r(9 + 2 * $0), low: .r(8 + 2 * $0)), 44)
      } + [
        does(.binary(.shiftLeft, .u32, r(5), .r(2), 4), 45),
        does(.binary(.add, .u32, r(5), .r(5), .r(0)), 45),
        does(
          .storeMatrix(
            [r(16), r(17), r(18), r(19)], Address(r(5), offset: 16_384), transposed: false), 45),
        does(.fence(.proxyAsyncShared), 46), does(.barrier(id: 1, threads: 128), 46),
        does(
          .tensorStore(
            TensorCopy(
              map: d(1), coordinates: [0, .r(3)], shared: Address(r(0), offset: 16_384),
              policy: .evictFirst),
            adding: true), if: Guard(p(0)), 47),
        does(.bulkCommit, if: Guard(p(0)), 47),
        does(.bulkWait(pending: 0, reading: false), if: Guard(p(0)), 47),
      ])

  /// Four-bit codes, which pass through registers of eight bits, and random rounding.
  static let quantizePairs = KernelTree(
    name: "quantizePairs", target: .sm100a,
    parameters: [
      KernelParameter(name: "values", kind: .pointer),
      KernelParameter(name: "codes", kind: .pointer),
    ],
    sharedBytes: 0, bounds: LaunchBounds(threads: 64, minimumBlocks: 4, maximumRegisters: 64),
    registerCounts: [1, 3, 8, 2],
    body: [
      does(.loadParameter(d(0), parameter: 0), 50), does(.loadParameter(d(1), parameter: 1), 50),
      does(
        .load(
          MemoryAccess(space: .global, type: .f32, count: 4), to: (0..<4).map(r),
          address: Address(d(0))), 51),
      does(.compare(.greater, .f32, p(0), .r(0), .float(1)), 52),
      does(.packPair(h(0), .e2m1x2, high: .r(1), low: .r(0)), if: Guard(p(0)), 53),
      does(.packPair(h(0), .e2m1x2, high: .float(0), low: .r(0)), if: Guard(p(0), is: false), 54),
      does(.unpackPair(r(4), h(0), from: .e2m1x2), 55),
      does(.binary(.add, .f16x2, r(4), .r(4), 0x3C00_3C00), 56),
      does(.packQuadStochastic(h(1), .e2m1x2, (0..<4).map(Operand.r), random: 0x1234_5678), 57),
      does(.packPair(h(2), .ue8m0x2, high: .r(2), low: .r(3)), 58),
      does(.unpackPair(r(5), h(2), from: .ue8m0x2), 58),
      does(
        .store(
          MemoryAccess(space: .global, type: .b16, count: 2), from: [.h(0), .h(1)],
          address: Address(d(1))), 59),
      does(
        .store(
          MemoryAccess(space: .global, type: .b32, count: 2, cache: .evictFirst),
          from: [.r(4), .r(5)],
          address: Address(d(1), offset: 8)), 60),
    ])
}
