// SPDX-License-Identifier: Apache-2.0

import PTX

/// Every instruction, by family, in each of its forms.
enum Samples {
  static let families: [(name: String, instructions: [Instruction])] = [
    ("registers", registers), ("arithmetic", arithmetic), ("conversions", conversions),
    ("memory", memory), ("atomics", atomics), ("warps", warps), ("barriers", barriers),
    ("transactionBarriers", transactionBarriers), ("bulkCopies", bulkCopies),
    ("products", products), ("matrices", matrices), ("flow", flow),
  ]

  static let registers: [Instruction] =
    [
      .move(r(0), 7), .move(r(0), .r(1)), .move(d(0), .immediate(.max)), .move(h(0), -1),
      .move(p(0), 1), .move(p(0), .register(of: .predicate, 1)),
      .loadParameter(d(0), parameter: 0), .loadParameter(r(0), parameter: 1),
      .loadParameter(d(0), parameter: 2), .loadParameter(r(0), parameter: 3),
      .tensorMapAddress(d(0), parameter: 4),
      .sharedAddress(r(0), offset: 0), .sharedAddress(r(0), offset: 1024),
      .globalAddress(d(0), d(1)),
      .pack(r(0), [h(0), h(1)]), .pack(d(0), [r(0), r(1)]), .pack(d(0), [h(0), h(1), h(2), h(3)]),
      .unpack([h(0), h(1)], r(0)), .unpack([r(0), r(1)], d(0)),
      .unpack([h(0), h(1), h(2), h(3)], d(0)),
      .select(r(0), .r(1), 5, p(0)), .select(h(0), 1, .h(1), p(0)), .select(d(0), .d(1), -1, p(0)),
      .permuteBytes(r(0), .r(1), .r(2), selector: 0x5140),
      .permuteBytes(r(0), 0, .r(2), selector: .r(3)),
      .logic3(r(0), .r(1), 0x000F_000F, 0x4300_4300, table: 0xEA),
    ] + SpecialRegister.allCases.map { .readSpecial(r(0), $0) }

  static let arithmetic: [Instruction] = [
    .unary(.negate, .f32, r(0), .r(1)), .unary(.absolute, .bf16x2, r(0), .r(1)),
    .binary(.add, .f32, r(0), .r(1), .float(1)), .binary(.add, .u32, r(0), .r(1), -1),
    .binary(.add, .s32, r(0), .r(1), -1), .binary(.add, .s64, d(0), .d(1), .immediate(1 << 63)),
    .binary(.add, .f16, h(0), .h(1), 0x3C00), .binary(.multiply, .bf16x2, r(0), .r(1), 0x3F80_3F80),
    .binary(.shiftRight, .u64, d(0), .d(1), 4), .binary(.shiftRight, .s32, r(0), .r(1), .r(2)),
    .binary(.shiftLeft, .u16, h(0), .h(1), 4), .binary(.multiplyWide, .u32, d(0), .r(1), 4),
    .ternary(.multiplyAdd, .f32, r(0), .r(1), .r(2), .float(-0.5)),
    .ternary(.multiplyAdd, .f64, d(0), .d(1), .d(2), .immediate(1.5.bitPattern)),
    .ternary(.multiplyAdd, .u32, r(0), .r(1), 3, .r(2)),
    .ternary(.multiplyAddWide, .s32, d(0), .r(1), -4, .d(1)),
    .ternary(.funnelShiftRight, .b32, r(0), .r(1), .r(2), 8),
    .compare(.lessOrEqual, .f32, p(0), .r(1), .float(.infinity)),
    .compare(.equal, .b64, p(0), .d(1), 0),
    .predicateLogic(.and, p(0), p(1), p(2)), .predicateLogic(.or, p(0), p(1), p(2)),
    .predicateLogic(.xor, p(0), p(1), p(2)), .predicateLogic(.not, p(0), p(1), nil),
  ]

  static let conversions: [Instruction] =
    [
      .convert(r(0), to: .f32, .r(1), from: .u32, rounding: .nearestEven, saturating: false),
      .convert(r(0), to: .u32, .r(1), from: .f32, rounding: .towardZeroInteger, saturating: true),
      .convert(h(0), to: .bf16, .float(1), from: .f32, rounding: .nearestEven, saturating: false),
      .convert(r(0), to: .f32, .h(1), from: .bf16, rounding: .none, saturating: false),
      .convert(r(0), to: .f32, 0x3C00, from: .f16, rounding: .none, saturating: false),
      .convert(h(0), to: .bf16, .r(1), from: .s32, rounding: .nearestEven, saturating: false),
    ]
    + PairFormat.allCases.map {
      .packPair(Register(kind: $0.registerKind, index: 0), $0, high: .r(1), low: .float(1))
    }
    + PairFormat.allCases.filter { $0.registerKind == .bits16 }.map {
      .unpackPair(r(0), h(1), from: $0)
    }
    + [
      .packQuadStochastic(r(0), .e4m3x2, [.r(1), .r(2), .r(3), .float(1)], random: .r(5)),
      .packQuadStochastic(r(0), .e5m2x2, [.r(1), .r(2), .r(3), .r(4)], random: 5),
      .packQuadStochastic(h(0), .e2m1x2, [.r(1), .r(2), .r(3), .r(4)], random: .r(5)),
    ]

  static let memory: [Instruction] = [
    .load(MemoryAccess(space: .global, type: .u8), to: [h(0)], address: Address(d(0))),
    .load(
      MemoryAccess(space: .global, type: .u8, count: 4), to: [h(0), h(1), h(2), h(3)],
      address: Address(d(0))),
    .load(
      MemoryAccess(space: .global, type: .bf16), to: [h(0)], address: Address(d(0), offset: -2)),
    .load(
      MemoryAccess(space: .global, type: .b32, count: 4, cache: .readOnly),
      to: [r(0), r(1), r(2), r(3)],
      address: Address(d(0), offset: 16)),
    .load(
      MemoryAccess(space: .global, type: .f32, cache: .readOnly), to: [r(0)], address: Address(d(0))
    ),
    .load(
      MemoryAccess(space: .global, type: .u32, isVolatile: true), to: [r(0)], address: Address(d(0))
    ),
    .load(
      MemoryAccess(space: .shared, type: .f64, count: 2), to: [d(0), d(1)], address: Address(r(0))),
    .load(MemoryAccess(space: .sharedCluster, type: .f16x2), to: [r(0)], address: Address(r(1))),
    .store(MemoryAccess(space: .global, type: .u8), from: [0xFF], address: Address(d(0))),
    .store(
      MemoryAccess(space: .global, type: .b32, count: 4, cache: .evictFirst),
      from: [.r(0), .r(1), 0, 7],
      address: Address(d(0), offset: 32)),
    .store(
      MemoryAccess(space: .global, type: .f32, count: 2), from: [.float(1), .r(1)],
      address: Address(d(0))),
    .store(
      MemoryAccess(space: .global, type: .u32, isVolatile: true), from: [1], address: Address(d(0))),
    .store(
      MemoryAccess(space: .shared, type: .bf16), from: [.h(0)], address: Address(r(0), offset: 2)),
    .store(MemoryAccess(space: .shared, type: .f16x2), from: [.r(1)], address: Address(r(0))),
    .store(MemoryAccess(space: .sharedCluster, type: .u64), from: [.d(1)], address: Address(r(0))),
    .prefetchL2(Address(d(0), offset: 128)),
  ]

  static let atomics: [Instruction] = [
    .atomic(.add, .f32, .global, to: nil, address: Address(d(0)), .r(1), compare: nil),
    .atomic(.add, .u64, .global, to: d(1), address: Address(d(0)), 1, compare: nil),
    .atomic(.add, .bf16x2, .global, to: nil, address: Address(d(0)), .r(1), compare: nil),
    .atomic(.add, .f16x2, .global, to: nil, address: Address(d(0)), 0x3C00_3C00, compare: nil),
    .atomic(.maximum, .u32, .shared, to: nil, address: Address(r(0)), .r(1), compare: nil),
    .atomic(.or, .u32, .shared, to: r(2), address: Address(r(0)), .r(1), compare: nil),
    .atomic(.exchange, .b32, .global, to: r(2), address: Address(d(0)), .r(1), compare: nil),
    .atomic(.compareAndSwap, .b32, .global, to: r(2), address: Address(d(0)), 0, compare: .r(1)),
    .atomic(.add, .u32, .sharedCluster, to: nil, address: Address(r(0)), 1, compare: nil),
  ]

  static let warps: [Instruction] =
    ShuffleMode.allCases.map {
      .shuffle($0, r(0), valid: nil, .r(1), lane: 16, clamp: 31, mask: -1)
    } + [
      .shuffle(.down, r(0), valid: p(0), .r(1), lane: .r(2), clamp: 31, mask: .r(3)),
      .ballot(r(0), p(0), mask: -1), .vote(.all, p(0), p(1), mask: -1),
      .vote(.any, p(0), p(1), mask: -1),
      .reduceWarp(.add, .s32, r(0), .r(1), mask: -1),
      .reduceWarp(.maximum, .u32, r(0), .r(1), mask: -1),
      .reduceWarp(.or, .u32, r(0), .r(1), mask: -1),
      .elect(p(0), mask: -1), .synchronizeWarp(mask: -1),
    ]

  static let barriers: [Instruction] =
    [
      .barrier(id: 0, threads: nil), .barrier(id: 1, threads: 64),
      .barrier(id: .r(0), threads: 128),
      .barrierArrive(id: 15, threads: 64), .clusterArrive(relaxed: true),
      .clusterArrive(relaxed: false),
      .clusterWait, .mapToCluster(r(0), .r(1), block: .r(2)), .mapToCluster(r(0), .r(1), block: 0),
    ] + Fence.allCases.map { .fence($0) }

  static let transactionBarriers: [Instruction] = [
    .mbarrierInitialize(Address(r(0), offset: 8), count: 2), .fence(.mbarrierInitialization),
    .mbarrierArrive(Address(r(0))),
    .mbarrierArriveExpecting(Address(r(0), offset: 8), bytes: 49152),
    .mbarrierExpect(Address(r(0)), bytes: .r(1)),
    .mbarrierTryWait(p(0), Address(r(0)), parity: .r(1)),
    .mbarrierTryWait(p(0), Address(r(0), offset: 8), parity: 1), .mbarrierInvalidate(Address(r(0))),
    .mbarrierArriveRemote(Address(r(0), offset: 16)),
  ]

  static let bulkCopies: [Instruction] =
    (1...5).map { rank in
      .tensorLoad(
        TensorCopy(map: d(0), coordinates: (0..<rank).map { .r($0) }, shared: Address(r(8))),
        barrier: Address(r(9)), multicast: nil)
    } + [
      .tensorLoad(
        TensorCopy(
          map: d(0), coordinates: [.r(1), -8], shared: Address(r(8), offset: 1024),
          policy: .evictFirst),
        barrier: Address(r(9), offset: 8), multicast: nil),
      .tensorLoad(
        TensorCopy(map: d(0), coordinates: [.r(1), .r(2)], shared: Address(r(8))),
        barrier: Address(r(9)), multicast: .h(0)),
      .tensorLoad(
        TensorCopy(
          map: d(0), coordinates: [.r(1), .r(2)], shared: Address(r(8)), policy: .evictLast),
        barrier: Address(r(9)), multicast: 3),
      .tensorStore(
        TensorCopy(map: d(0), coordinates: [.r(1), .r(2)], shared: Address(r(8))), adding: false),
      .tensorStore(
        TensorCopy(
          map: d(0), coordinates: [.r(1), .r(2)], shared: Address(r(8)), policy: .evictNormal),
        adding: true),
      .tensorPrefetch(map: d(0), coordinates: [.r(1), 0]), .prefetchTensorMap(d(0)),
      .bulkLoad(shared: Address(r(0)), global: d(1), bytes: 512, barrier: Address(r(1))),
      .bulkStore(global: d(1), shared: Address(r(0)), bytes: .r(2), adding: nil),
      .bulkStore(global: d(1), shared: Address(r(0)), bytes: 16, adding: .f32),
      .bulkStore(global: d(1), shared: Address(r(0)), bytes: 16, adding: .bf16),
      .bulkStore(global: d(1), shared: Address(r(0)), bytes: 16, adding: .s64),
      .bulkCommit, .bulkWait(pending: 1, reading: true), .bulkWait(pending: 0, reading: false),
    ]

  /// Each product between its own fence and wait, so that `ptxas` has nothing to mend.
  static let products: [Instruction] =
    [
      product(8, .e4m3, .e5m2), product(256, .e4m3, .e4m3), product(128, .bf16, .bf16),
      product(64, .f16, .f16, rightTransposed: true),
      product(64, .bf16, .bf16, leftTransposed: true),
      product(96, .e5m2, .e4m3, fromRegisters: true),
      product(16, .bf16, .bf16, fromRegisters: true),
      product(24, .f16, .f16, fromRegisters: true, rightTransposed: true),
    ].flatMap { [.wgmmaFence, .wgmma($0), .wgmmaCommit, .wgmmaWait(pending: 0)] }

  static func product(
    _ columns: Int, _ left: MatrixProduct.Element, _ right: MatrixProduct.Element,
    fromRegisters: Bool = false, leftTransposed: Bool = false, rightTransposed: Bool = false
  ) -> MatrixProduct {
    MatrixProduct(
      columns: columns, leftElement: left, rightElement: right, sums: (0..<columns / 2).map(r),
      left: fromRegisters ? .registers((150..<154).map(r)) : .descriptor(d(0)), right: d(1),
      adding: false,
      leftTransposed: leftTransposed, rightTransposed: rightTransposed)
  }

  static let matrices: [Instruction] = [1, 2, 4].flatMap { count in
    [false, true].flatMap { transposed -> [Instruction] in
      let registers = (0..<count).map(r)
      return [
        .loadMatrix(registers, Address(r(8), offset: 16), transposed: transposed),
        .storeMatrix(registers, Address(r(8)), transposed: transposed),
      ]
    }
  }

  static let flow: [Instruction] = [
    .setMaximumRegisters(40, increasing: false), .setMaximumRegisters(232, increasing: true),
    .waitForPriorGrids, .launchDependentGrids, .trap,
  ]
}
