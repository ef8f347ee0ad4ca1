// SPDX-License-Identifier: Apache-2.0

import PTX
import Testing

@Suite struct ValidationTests {
  @Test func limitsOfLaunches() {
    func complaint(_ bounds: LaunchBounds, sharedBytes: Int = 0, for target: Target = .sm90a)
      -> String?
    {
      PTXTests.complaint(of: tree(for: target, sharedBytes: sharedBytes, bounds: bounds, []))
    }
    #expect(complaint(LaunchBounds(threads: 1024)) == nil)
    #expect(
      complaint(LaunchBounds(threads: 1056))
        == "Kernel sample asks for 1056 threads a block; a block has 1 to 1024.")
    #expect(complaint(LaunchBounds(threads: 0)) != nil)
    #expect(complaint(LaunchBounds(threads: 128), sharedBytes: 232_448) == nil)
    #expect(
      complaint(LaunchBounds(threads: 128), sharedBytes: 200_000, for: .sm120a)
        == "Kernel sample asks for 200000 bytes of shared memory; sm_120a has 101376 for a block.")
    #expect(complaint(LaunchBounds(threads: 128, clusterBlocks: 2)) == nil)
    #expect(
      complaint(LaunchBounds(threads: 128, clusterBlocks: 2), for: .sm80)
        == "Kernel sample needs clusters, which sm_80 lacks.")
    #expect(complaint(LaunchBounds(threads: 128, clusterBlocks: 16)) != nil)
    #expect(complaint(LaunchBounds(threads: 128, maximumRegisters: 256)) != nil)
    #expect(complaint(LaunchBounds(threads: 128, minimumBlocks: 0)) != nil)
  }

  @Test func featuresAreNamedWithKernelAndTarget() {
    #expect(
      complaint(of: tree(named: "gemm", for: .sm120a, [.wgmmaFence]))
        == "Kernel gemm (PTXTests/Samples.swift:1) uses wgmma.fence, which needs warpgroup matrix products; "
        + "sm_120a lacks that.")
    #expect(
      complaint(
        of: tree(named: "quantize", for: .sm80, [.packPair(h(0), .e4m3x2, high: .r(0), low: .r(1))])
      )
        == "Kernel quantize (PTXTests/Samples.swift:1) uses cvt to e4m3x2, which needs conversions of E4M3 "
        + "and E5M2; sm_80 lacks that.")
  }

  /// Each with the words that its sentence must have.
  static let misfits: [(Instruction, String)] = [
    (
      .setMaximumRegisters(236, increasing: true),
      "setmaxnreg for 236 registers, which should be 24 to 256 in steps of 8"
    ),
    (.setMaximumRegisters(16, increasing: false), "setmaxnreg for 16 registers"),
    (
      .wgmma(Samples.product(12, .e4m3, .e4m3)),
      "of 12 columns, which should be 8 to 256 in steps of 8"
    ),
    (.wgmma(Samples.product(264, .e4m3, .e4m3)), "of 264 columns"),
    (
      .wgmma(Samples.product(64, .e4m3, .e4m3, rightTransposed: true)),
      "with an operand of eight bits transposed"
    ),
    (.wgmma(Samples.product(64, .bf16, .f16)), "of bf16 by f16"),
    (.wgmma(Samples.product(64, .e4m3, .bf16)), "of operands of different widths"),
    (.wgmmaWait(pending: 8), "a number of groups of 8, which should be 0 to 7"),
    (.barrier(id: 16, threads: 128), "with number 16, which should be 0 to 15"),
    (.barrier(id: 1, threads: 48), "with 48 threads, which should be a multiple of 32"),
    (.barrierArrive(id: 1, threads: 256), "a number of threads of 256, which should be 32 to 128"),
    (
      .load(
        MemoryAccess(space: .global, type: .f32, count: 3), to: [r(0), r(1), r(2)],
        address: Address(d(0))), "with 3 values"
    ),
    (
      .load(
        MemoryAccess(space: .global, type: .b64, count: 4), to: [d(0), d(1), d(2), d(3)],
        address: Address(d(0))), "more than 16 bytes"
    ),
    (
      .load(MemoryAccess(space: .global, type: .f32, count: 2), to: [r(0)], address: Address(d(0))),
      "with 1 registers for 2 values"
    ),
    (
      .load(MemoryAccess(space: .global, type: .f32), to: [r(0)], address: Address(r(0))),
      "with %r0 as its address, which should be a register of b64"
    ),
    (
      .load(
        MemoryAccess(space: .shared, type: .f32, cache: .readOnly), to: [r(0)],
        address: Address(r(0))), "with a cache hint"
    ),
    (
      .load(MemoryAccess(space: .global, type: .predicate), to: [p(0)], address: Address(d(0))),
      "of predicates"
    ),
    (
      .binary(.add, .f32, r(0), .r(1), .d(0)),
      "add of f32 with %d0 as its second source, which should be a register of b32"
    ),
    (
      .binary(.multiplyHigh, .f32, r(0), .r(1), .r(2)),
      "with values of f32, which PTX does not have"
    ),
    (.unary(.reciprocal, .f16, h(0), .h(1)), "with values of f16"),
    (
      .convert(h(0), to: .bf16, .r(0), from: .f32, rounding: .none, saturating: false),
      "without a rounding, which it needs"
    ),
    (
      .convert(r(0), to: .f32, .h(0), from: .f16, rounding: .nearestEven, saturating: false),
      "rounding by rn, which it does not take"
    ),
    (.pack(d(0), [r(0), h(1)]), "with %h1 as its part"),
    (.pack(r(0), [h(0), h(1), h(2)]), "with 3 parts"),
    (.select(p(0), .r(0), .r(1), p(1)), "of predicates"),
    (.loadParameter(d(0), parameter: 4), "of map, which is a tensor map"),
    (.tensorMapAddress(d(0), parameter: 0), "of input, which is no tensor map"),
    (.loadParameter(d(0), parameter: 5), "of parameter 5, of 5"),
    (.sharedAddress(r(0), offset: 4096), "of byte 4096 of shared memory, which has 4096"),
    (
      .bulkLoad(shared: Address(r(0)), global: d(0), bytes: 24, barrier: Address(r(1))),
      "with 24 bytes, which should be a multiple of 16"
    ),
    (.tensorPrefetch(map: d(0), coordinates: []), "with 0 coordinates"),
    (.mbarrierInitialize(Address(r(0)), count: 0), "with count 0"),
    (.mbarrierTryWait(p(0), Address(r(0)), parity: 2), "with parity 2"),
    (.mapToCluster(r(0), .r(1), block: 1), "with block 1, which should be 0 to 0"),
    (.loadMatrix([r(0), r(1), r(2)], Address(r(3)), transposed: false), "with 3 matrices"),
    (
      .atomic(.exchange, .u32, .global, to: nil, address: Address(d(0)), .r(0), compare: nil),
      "without a result"
    ),
    (
      .atomic(
        .compareAndSwap, .u32, .global, to: r(0), address: Address(d(0)), .r(0), compare: nil),
      "too few sources"
    ),
    (.move(r(160), 0), "names the register %r160, of 160 of its kind"),
    (.reduceWarp(.multiply, .u32, r(0), .r(1), mask: -1), "by mul, which PTX does not have"),
    (
      .packQuadStochastic(r(0), .f16x2, [.r(0), .r(1), .r(2), .r(3)], random: .r(4)),
      "cvt.rs to f16x2"
    ),
    (.unpackPair(r(0), h(0), from: .f16x2), "which is no conversion"),
    (.predicateLogic(.and, p(0), p(1), nil), "too few sources"),
  ]

  @Test(arguments: misfits.indices)
  func misfitIsNamed(index: Int) throws {
    let (instruction, words) = Self.misfits[index]
    // Stochastic conversions are of Blackwell alone.
    let target: Target = instruction.requirement == .stochasticConversion ? .sm100a : .sm90a
    let sentence = try #require(complaint(of: tree(for: target, [instruction])))
    #expect(sentence.contains(words), "\(sentence)")
    #expect(sentence.hasPrefix("Kernel sample (PTXTests/Samples.swift:1) "))
  }

  @Test func flowAndNames() {
    #expect(
      complaint(of: tree([.leave(nil, at(1))]))!.contains("leaves a loop where there is none"))
    #expect(complaint(of: tree([.loop([], at(1))]))!.contains("loop without end"))
    #expect(
      complaint(of: tree([.exit(Guard(r(0)), at(3))]))!.contains(
        "%r0 as a condition, which is no predicate"))
    #expect(
      complaint(of: tree([.branch(Guard(p(20)), then: [], otherwise: [], at(1))]))!.contains("%p20")
    )
    #expect(
      complaint(
        of: tree([
          .loop([.branch(Guard(p(0)), then: [.leave(nil, at(2))], otherwise: [], at(1))], at(1))
        ])) == nil)
    #expect(complaint(of: tree(named: "1st", []))!.contains("name"))
    var twice = tree([])
    twice.parameters.append(twice.parameters[0])
    #expect(complaint(of: twice)!.contains("two parameters called input"))
  }

  @Test func modules() throws {
    #expect(throws: KernelError("A module needs a kernel.")) { try Renderer().text(of: []) }
    #expect(throws: KernelError.self) {
      try Renderer().text(of: [tree(named: "a", []), tree(named: "a", [])])
    }
    #expect(throws: KernelError.self) {
      try Renderer().text(of: [tree(named: "a", []), tree(named: "b", for: .sm80, [])])
    }
  }
}
