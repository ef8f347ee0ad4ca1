// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import BlockScale
import BlockScaleCPU
import Dispatch
import Minifloat

#if canImport(Glibc)
  import Glibc
#endif

struct QuantizeBenchmark: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "quantize",
    abstract: "Quantize and dequantize BF16 matrices in memory, beside a copy of the same bytes.")

  @Option(help: "The number of threads.")
  var threads = 2

  @Option(help: "The number of rounds; medians are printed.")
  var rounds = 15

  @Option(help: "A tier; by default every one of this machine.")
  var tier: String?

  @Option(help: "The number of rows.")
  var rows = 4096

  @Option(help: "The numbers of columns.")
  var columns = [4096, 14336]

  @Option(help: "Measure only what has this in its name.")
  var only = ""

  func run() throws {
    keepFreedMemory()
    for tier in CPUTier.available where self.tier.map({ $0 == tier.rawValue }) ?? true {
      let cpu = try CPUBackend(tier: tier, threads: threads)
      for columns in columns { try measure(cpu, columns) }
    }
  }

  private func measure(_ cpu: CPUBackend, _ columns: Int) throws {
    let count = rows * columns
    var state: UInt64 = 1
    // Sums of four uniform numbers, near enough to weights.
    let values: [BFloat16] = (0..<count).map { _ in
      // A congruential generator, whose upper half is random enough.
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      let bits = state >> 32 &* 0x1_0000_0001
      let sum = (0..<4).reduce(0) { $0 + Int(bits >> (16 * UInt64($1)) & 0xFFFF) }
      return BFloat16(Float(sum - 2 * 0xFFFF) * 1e-6)
    }
    var copy = values
    let wide = Blocking(rows: 1, columns: 128)
    let square = Blocking(rows: 128, columns: 128)

    func fp8(_ recipe: Recipe, _ blocking: Blocking) throws -> Float8Matrix {
      try cpu.quantized(
        values, rows: rows, columns: columns, recipe: recipe, blocking: blocking
      ).matrix
    }
    var row8 = try fp8(.deepseek, wide)
    var row8Divided = try fp8(.modelopt, wide)
    var square8 = try fp8(.deepseek, square)
    var both8 = try cpu.quantizedBothWays(
      values, rows: rows, columns: columns, as: Float8Matrix.self, recipe: .deepseek,
      blocking: wide)
    var bothSquare8 = try cpu.quantizedBothWays(
      values, rows: rows, columns: columns, as: Float8Matrix.self, recipe: .deepseek,
      blocking: square)
    var fp4: NVFP4Matrix = try cpu.quantized(
      values, rows: rows, columns: columns, recipe: .modelopt
    ).matrix
    var fp4TorchAO: NVFP4Matrix = try cpu.quantized(
      values, rows: rows, columns: columns, recipe: .torchao
    ).matrix
    var mx8: MXFP8Matrix = try cpu.quantized(
      values, rows: rows, columns: columns, recipe: .rceil, blocking: Scheme.mxfp8.blocking
    ).matrix
    var mx4: MXFP4Matrix = try cpu.quantized(
      values, rows: rows, columns: columns, recipe: .rceil, blocking: Scheme.mxfp4.blocking
    ).matrix

    let threads = threads
    let all: [(name: String, body: () throws -> Void)] = [
      ("memcpy", { copyBytes(values, to: &copy, threads: threads) }),
      ("FP8 1x128", { try cpu.quantize(values, into: &row8, recipe: .deepseek) }),
      ("FP8 1x128, divided", { try cpu.quantize(values, into: &row8Divided, recipe: .modelopt) }),
      (
        "FP8 1x128, with errors",
        { try cpu.quantize(values, into: &row8, recipe: .deepseek, measures: true) }
      ),
      ("FP8 128x128", { try cpu.quantize(values, into: &square8, recipe: .deepseek) }),
      (
        "FP8 1x128 both ways",
        { try cpu.quantizeBothWays(values, into: &both8, recipe: .deepseek) }
      ),
      (
        "FP8 128x128 both ways",
        { try cpu.quantizeBothWays(values, into: &bothSquare8, recipe: .deepseek) }
      ),
      ("NVFP4, both passes", { try cpu.quantize(values, into: &fp4, recipe: .modelopt) }),
      ("NVFP4, torchao", { try cpu.quantize(values, into: &fp4TorchAO, recipe: .torchao) }),
      (
        "NVFP4, with errors",
        { try cpu.quantize(values, into: &fp4, recipe: .modelopt, measures: true) }
      ),
      ("MXFP8", { try cpu.quantize(values, into: &mx8, recipe: .rceil) }),
      ("MXFP4", { try cpu.quantize(values, into: &mx4, recipe: .rceil) }),
      ("dequantize FP8 1x128", { try cpu.dequantize(row8, into: &copy) }),
      ("dequantize FP8 128x128", { try cpu.dequantize(square8, into: &copy) }),
      ("dequantize NVFP4", { try cpu.dequantize(fp4, into: &copy) }),
      ("dequantize MXFP8", { try cpu.dequantize(mx8, into: &copy) }),
    ]
    let works = all.filter { $0.name.contains(only) && $0.name != "memcpy" }
    print("\(cpu.tier), \(rows)x\(columns) BF16, \(threads) threads: GB/s of BF16, and over memcpy")
    for work in works {
      // One works by turns with memcpy, so that each ratio is of one state of the machine, and the caches hold
      // as much of what the one reads and writes as of the other.
      var times: [(memcpy: Double, work: Double)] = []
      // The portable tier is the reference, which is not made for speed.
      for round in 0...(cpu.tier == .portable ? 1 : rounds) {
        let memcpy = try seconds(all[0].body)
        let work = try seconds(work.body)
        // The first time is not counted.
        if round > 0 { times.append((memcpy, work)) }
      }
      func rate(_ seconds: [Double]) -> String {
        column(Double(2 * count) / middle(seconds) * 1e-9, 2)
      }
      print(
        padded(work.name, 26), rate(times.map(\.work)), " of", rate(times.map(\.memcpy)),
        column(middle(times.map { $0.memcpy / $0.work }), 2))
    }
  }

  private func seconds(_ body: () throws -> Void) rethrows -> Double {
    let start = ContinuousClock.now
    try body()
    return start.duration(to: .now) / .seconds(1)
  }
}

/// Copies values on some threads.
private func copyBytes(_ values: [BFloat16], to copy: inout [BFloat16], threads: Int) {
  values.withUnsafeBytes { source in
    copy.withUnsafeMutableBytes { target in
      nonisolated(unsafe) let (source, target) = (source, target)
      DispatchQueue.concurrentPerform(iterations: threads) { index in
        let part = source.count / threads
        memcpy(target.baseAddress! + index * part, source.baseAddress! + index * part, part)
      }
    }
  }
}
