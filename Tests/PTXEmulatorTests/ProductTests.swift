// SPDX-License-Identifier: Apache-2.0

import Minifloat
import PTX
import PTXEmulator
import Testing

/// A product as the GEMM kernels make it: tensor loads with swizzle, a transaction barrier, wgmma,
/// `stmatrix` and a tensor store.
@Suite struct ProductTests {
  /// The high word of a descriptor for rows of 128 bytes along K, swizzled.
  static let highWord: UInt64 = 0x4000_0040

  @Test(arguments: Emulator.Completion.allCases, [(8, 128), (64, 256), (96, 100)])
  func multipliesThroughTensorCopies(
    _ completion: Emulator.Completion, _ size: (columns: Int, depth: Int)
  ) throws {
    for seed in 0..<3 {
      var options = Emulator.Options()
      options.completion = completion
      if seed > 0 { options.schedule = .random(seed: UInt64(seed)) }
      let gemm = GEMM(columns: size.columns, depth: size.depth)
      let result = try gemm.run(options)
      #expect(result == gemm.expected)
    }
  }

  @Test func truncatesSums() throws {
    var options = Emulator.Options()
    options.float8Sums = .truncated
    let gemm = GEMM(columns: 64, depth: 256)
    let result = try gemm.run(options)
    let pairs = zip(result, gemm.expected).map { (Float($0), Float($1)) }
    let error = pairs.map { ($0 - $1) * ($0 - $1) }.reduce(0, +)
    let power = pairs.map { $1 * $1 }.reduce(0, +)
    // Cut products are smaller by up to 2^-13 of the largest each; 256 of them show, and stay small.
    #expect(error > 0)
    #expect((error / power).squareRoot() < 0.01)
  }
}

/// What a test leaves out of the GEMM.
enum GEMMFault: CaseIterable {
  case noWaitForLoad, noProductFence, noProductWait, noProxyFence, noStoreWait
  case wrongBytes, noBarrierFence, earlyRelease
}

struct GEMM {
  let columns: Int
  let depth: Int
  var a: [UInt8] = []
  var b: [UInt8] = []
  let tree: KernelTree
  /// The line that the instruction has which a fault is reported at.
  static let faultLine = 4242

  init(columns: Int, depth: Int, fault: GEMMFault? = nil) {
    self.columns = columns
    self.depth = depth
    var random = Random(seed: 7)
    func codes(_ rows: Int) -> [UInt8] {
      (0..<rows * GEMM.padded(depth)).map { index in
        index % GEMM.padded(depth) < depth
          ? Float8E4M3(Float(random.uniform() - 0.5)).bitPattern : 0x7F
      }
    }
    a = codes(64)
    b = codes(columns)

    var k = TreeMaker()
    func mark(_ faults: [GEMMFault], _ line: Int = #line) -> Int {
      if let fault, faults.contains(fault) { GEMM.faultLine } else { line }
    }
    k.threads = 160
    let blocks = (depth + 127) / 128
    let aBytes = 64 * 128
    let bBytes = columns * 128
    let bOffset = aBytes
    let outOffset = (bOffset + bBytes + 1023) & ~1023
    let barrierOffset = outOffset + 64 * 128 * ((columns + 63) / 64)
    k.sharedBytes = barrierOffset + 16
    let mapA = k.parameter("a", .tensorMap)
    let mapB = k.parameter("b", .tensorMap)
    let mapD = k.parameter("d", .tensorMap)
    let thread = k.special(.threadX)
    let lane = k.special(.lane)
    let base = k.register(.bits32)
    k.add(.sharedAddress(base, offset: 0))
    let full = Address(base, offset: barrierOffset)
    let empty = Address(base, offset: barrierOffset + 8)
    let first = k.isBelow(1, thread)
    k.branch(
      first,
      then: { k in
        k.add(.mbarrierInitialize(full, count: .immediate(1)))
        k.add(.mbarrierInitialize(empty, count: .immediate(4)))
        if fault != .noBarrierFence { k.add(.fence(.mbarrierInitialization)) }
      })
    k.add(.barrier(id: .immediate(0), threads: nil))
    let isLoader = k.register(.predicate)
    k.add(.compare(.greaterOrEqual, .u32, isLoader, .register(thread), .immediate(128)))
    k.branch(
      Guard(isLoader),
      then: { k in
        let one = k.register(.predicate)
        k.add(.elect(one, mask: .immediate(0xFFFF_FFFF)))
        k.branch(
          Guard(one),
          then: { k in
            for block in 0..<blocks {
              k.loop { k in
                let done = k.register(.predicate)
                k.add(
                  .mbarrierTryWait(done, empty, parity: .immediate(UInt64((block & 1) ^ 1))))
                k.leave(if: Guard(done))
              }
              let bytes = aBytes + bBytes + (fault == .wrongBytes ? 16 : 0)
              k.add(.mbarrierArriveExpecting(full, bytes: .immediate(UInt64(bytes))))
              let at: [Operand] = [.immediate(UInt64(block * 128)), .immediate(0)]
              k.add(
                .tensorLoad(
                  TensorCopy(map: mapA, coordinates: at, shared: Address(base)), barrier: full,
                  multicast: nil), line: mark([.noBarrierFence, .earlyRelease]))
              k.add(
                .tensorLoad(
                  TensorCopy(map: mapB, coordinates: at, shared: Address(base, offset: bOffset)),
                  barrier: full, multicast: nil))
            }
          })
      },
      otherwise: { k in
        let sums = k.registers(columns / 2)
        let high = k.value(ProductTests.highWord)
        for block in 0..<blocks {
          if fault != .noWaitForLoad {
            k.loop { k in
              let done = k.register(.predicate)
              k.add(
                .mbarrierTryWait(done, full, parity: .immediate(UInt64(block & 1))),
                line: mark([.wrongBytes]))
              k.leave(if: Guard(done))
            }
          }
          if fault != .noProductFence { k.add(.wgmmaFence) }
          for step in 0..<4 {
            func descriptor(_ k: inout TreeMaker, _ offset: Int) -> Register {
              let low = k.register(.bits32)
              k.add(.binary(.add, .u32, low, .register(base), .immediate(UInt64(offset))))
              k.add(.binary(.shiftRight, .u32, low, .register(low), .immediate(4)))
              let descriptor = k.register(.bits64)
              k.add(.pack(descriptor, [low, high]))
              return descriptor
            }
            let left = descriptor(&k, step * 32)
            let right = descriptor(&k, bOffset + step * 32)
            k.add(
              .wgmma(
                MatrixProduct(
                  columns: columns, leftElement: .e4m3, rightElement: .e4m3, sums: sums,
                  left: .descriptor(left), right: right, adding: block + step > 0)),
              line: mark([.noProductFence, .noWaitForLoad]))
          }
          k.add(.wgmmaCommit)
          let isFirst = k.register(.predicate)
          k.add(.compare(.equal, .u32, isFirst, .register(lane), .immediate(0)))
          if fault == .earlyRelease { k.add(.mbarrierArrive(empty), if: Guard(isFirst)) }
          if fault != .noProductWait { k.add(.wgmmaWait(pending: 0)) }
          if fault != .earlyRelease, block + 1 < blocks {
            k.add(.mbarrierArrive(empty), if: Guard(isFirst))
          }
        }
        // Row 16 · warp + lane mod 16 of chunks of 8 columns, swizzled, in tiles of 64 columns.
        let row = k.register(.bits32)
        k.add(.binary(.and, .b32, row, .register(thread), .immediate(0x60)))
        k.add(.binary(.shiftRight, .u32, row, .register(row), .immediate(1)))
        let low = k.register(.bits32)
        k.add(.binary(.and, .b32, low, .register(lane), .immediate(15)))
        k.add(.binary(.add, .u32, row, .register(row), .register(low)))
        let turn = k.register(.bits32)
        k.add(.binary(.and, .b32, turn, .register(lane), .immediate(7)))
        for group in 0..<columns / 8 {
          let chunk = k.register(.bits32)
          k.add(
            .binary(.xor, .b32, chunk, .register(turn), .immediate(UInt64(group % 8))))
          let place = k.register(.bits32)
          k.add(
            .ternary(
              .multiplyAdd, .u32, place, .register(row), .immediate(128), .register(base)))
          k.add(
            .ternary(
              .multiplyAdd, .u32, place, .register(chunk), .immediate(16), .register(place)))
          let pairs = k.registers(2)
          for half in 0..<2 {
            k.add(
              .packPair(
                pairs[half], .bf16x2, high: .register(sums[group * 4 + half * 2 + 1]),
                low: .register(sums[group * 4 + half * 2])), line: mark([.noProductWait]))
          }
          k.add(
            .storeMatrix(
              pairs, Address(place, offset: outOffset + group / 8 * 64 * 128), transposed: false))
        }
        if fault != .noProxyFence { k.add(.fence(.proxyAsyncShared)) }
        k.add(.barrier(id: .immediate(1), threads: 128))
        k.branch(
          k.isBelow(1, thread),
          then: { k in
            for tile in 0..<(columns + 63) / 64 {
              let place = Address(base, offset: outOffset + tile * 64 * 128)
              k.add(
                .tensorStore(
                  TensorCopy(
                    map: mapD, coordinates: [.immediate(UInt64(tile * 64)), .immediate(0)],
                    shared: place), adding: false), line: mark([.noProxyFence, .noStoreWait]))
            }
            k.add(.bulkCommit)
            if fault != .noStoreWait { k.add(.bulkWait(pending: 0, reading: true)) }
          })
      })
    tree = k.tree
  }

  /// Rows are multiples of 16 bytes.
  static func padded(_ depth: Int) -> Int { (depth + 15) & ~15 }

  func run(_ options: Emulator.Options) throws -> [BFloat16] {
    let memory = EmulatedMemory()
    let d = memory.allocate(bytes: 64 * columns * 2)
    func operand(_ codes: [UInt8], _ rows: Int) -> KernelArgument {
      .tensorMap(
        TensorMapLayout(
          base: memory.upload(codes), element: .uint8, extents: [depth, rows],
          strides: [GEMM.padded(depth)], box: [128, rows], swizzle: .bytes128))
    }
    try Emulator(options).launch(
      tree, grid: GridShape(1),
      arguments: [
        ("a", operand(a, 64)), ("b", operand(b, columns)),
        (
          "d",
          .tensorMap(
            TensorMapLayout(
              base: d, element: .bfloat16, extents: [columns, 64], strides: [columns * 2],
              box: [64, 64], swizzle: .bytes128))
        ),
      ], memory: memory)
    return try memory.download(UInt16.self, count: 64 * columns, from: d)
      .map { BFloat16(bitPattern: $0) }
  }

  /// The sums in the order of K, in FP32.
  var expected: [BFloat16] {
    var result: [BFloat16] = []
    for row in 0..<64 {
      for column in 0..<columns {
        var sum: Float = 0
        for k in 0..<depth {
          sum +=
            Float8E4M3(bitPattern: a[row * GEMM.padded(depth) + k]).floatValue
            * Float8E4M3(bitPattern: b[column * GEMM.padded(depth) + k]).floatValue
        }
        result.append(BFloat16(sum))
      }
    }
    return result
  }
}

/// Numbers of a seed.
struct Random: RandomNumberGenerator {
  var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    var z = state
    z = (z ^ z >> 33) &* 0xFF51_AFD7_ED55_8CCD
    return z ^ z >> 29
  }

  /// Below 1.
  mutating func uniform() -> Double { Double(next() >> 11) * 0x1p-53 }
}
