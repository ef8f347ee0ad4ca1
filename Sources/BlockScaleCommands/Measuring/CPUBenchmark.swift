// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
import BlockScaleCUDA
import Minifloat

/// The CPU's quantizers, beside a copy.
struct CPUBenchmark {
  let cpu: CPUBackend
  let rows: Int
  let columns: Int

  /// A benchmark's name, the bytes that it must move, and the work.
  private typealias Case = (name: String, bytes: Int, body: () throws -> Void)

  /// The benchmarks' names.
  var names: [String] {
    [
      "fp8 1x128", "fp8 128x128", "fp8 1x128 both ways", "fp8 128x128 both ways", "nvfp4 1x16",
      "mxfp8 1x32", "mxfp4 1x32",
    ].map { "\($0) \(rows)x\(columns)" }
  }

  var device: String { "CPU, \(cpu.tier.rawValue), \(cpu.threads) threads" }

  /// Medians of rounds in which copy and quantizers take turns, so that they see one state of the
  /// machine.
  func measured(_ selected: (String) -> Bool, rounds: Int) throws -> BenchmarkRun {
    var samples = CPUSamples()
    let count = rows * columns
    let values = (0..<count).map { _ in samples.next() }
    var copied = values
    let (cpu, rows, columns) = (cpu, rows, columns)
    let wide = Blocking(rows: 1, columns: 128), square = Blocking(rows: 128, columns: 128)
    func fp8(_ blocking: Blocking) throws -> Float8Matrix {
      try cpu.quantized(
        values, rows: rows, columns: columns, recipe: .deepseek, blocking: blocking
      ).matrix
    }
    func bothWays(
      _ blocking: Blocking
    ) throws -> (matrix: Float8Matrix, transposed: Float8Matrix) {
      try cpu.quantizedBothWays(
        values, rows: rows, columns: columns, as: Float8Matrix.self, recipe: .deepseek,
        blocking: blocking)
    }
    var wide8 = try fp8(wide), square8 = try fp8(square)
    var bothWide = try bothWays(wide), bothSquare = try bothWays(square)
    var nvfp4: NVFP4Matrix = try cpu.quantized(
      values, rows: rows, columns: columns, recipe: .transformerEngine
    ).matrix
    var mxfp8: MXFP8Matrix = try cpu.quantized(
      values, rows: rows, columns: columns, recipe: .rceil, blocking: Scheme.mxfp8.blocking
    ).matrix
    var mxfp4: MXFP4Matrix = try cpu.quantized(
      values, rows: rows, columns: columns, recipe: .rceil, blocking: Scheme.mxfp4.blocking
    ).matrix
    let bodies: [(bytes: Int, body: () throws -> Void)] = [
      (3 * count + count / 32, { try cpu.quantize(values, into: &wide8, recipe: .deepseek) }),
      (3 * count + count / 4096, { try cpu.quantize(values, into: &square8, recipe: .deepseek) }),
      (
        4 * count + count / 16,
        { try cpu.quantizeBothWays(values, into: &bothWide, recipe: .deepseek) }
      ),
      (
        4 * count + count / 2048,
        { try cpu.quantizeBothWays(values, into: &bothSquare, recipe: .deepseek) }
      ),
      // The tensor's maximum takes a reading of its own.
      (
        4 * count + count / 2 + count / 16,
        { try cpu.quantize(values, into: &nvfp4, recipe: .transformerEngine) }
      ),
      (3 * count + count / 32, { try cpu.quantize(values, into: &mxfp8, recipe: .rceil) }),
      (
        2 * count + count / 2 + count / 32,
        { try cpu.quantize(values, into: &mxfp4, recipe: .rceil) }
      ),
    ]
    let cases: [Case] = zip(names, bodies).filter { selected($0.0) }
      .map { ($0.0, $0.1.bytes, $0.1.body) }
    var copyTimes: [Double] = []
    var times = [[Double]](repeating: [], count: cases.count)
    for round in 0...rounds {
      let copyTime = try seconds { copy(values, to: &copied, threads: cpu.threads) }
      // The first round touches fresh pages.
      if round > 0 { copyTimes.append(copyTime) }
      for (index, work) in cases.enumerated() {
        let time = try seconds(work.body)
        if round > 0 { times[index].append(time) }
      }
    }
    let copyRate = Double(4 * count) / copyTimes.sorted()[rounds / 2]
    return BenchmarkRun(
      device: device, copy: copyRate,
      rows: zip(cases, times).map { work, times in
        Measured(
          group: "quantize", name: work.name, work: .bytes(work.bytes),
          seconds: times.sorted()[rounds / 2], copy: copyRate)
      })
  }

  private func seconds(_ body: () throws -> Void) throws -> Double {
    let start = ContinuousClock.now
    try body()
    return start.duration(to: .now) / .seconds(1)
  }
}

/// Values near enough to weights: sums of four uniform numbers.
private struct CPUSamples {
  private var state: UInt64 = 1

  mutating func next() -> BFloat16 {
    // A congruential generator, whose upper half is random enough.
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    let bits = state >> 32 &* 0x1_0000_0001
    let sum = (0..<4).reduce(0) { $0 + Int(bits >> (16 * UInt64($1)) & 0xFFFF) }
    return BFloat16(Float(sum - 2 * 0xFFFF) * 1e-6)
  }
}

/// Copies values on some threads.
private func copy(_ values: [BFloat16], to target: inout [BFloat16], threads: Int) {
  precondition(target.count >= values.count, "A copy has a place for every value")
  let bytes = values.count * MemoryLayout<BFloat16>.stride
  let part = 1 << 20
  // Both arrays outlive the call, and parts lie within them and do not overlap.
  unsafe values.withUnsafeBytes { source in
    unsafe target.withUnsafeMutableBytes { target in
      nonisolated(unsafe) let (source, target) = unsafe (source, target)
      parallelFor((bytes + part - 1) / part, threads: threads) { index in
        let range = index * part..<min((index + 1) * part, bytes)
        unsafe UnsafeMutableRawBufferPointer(rebasing: target[range])
          .copyMemory(from: UnsafeRawBufferPointer(rebasing: source[range]))
      }
    }
  }
}
