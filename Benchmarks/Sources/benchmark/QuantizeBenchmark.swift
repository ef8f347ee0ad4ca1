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

  @Option(
    help: """
      The number of equal tensors that are worked on in turn; by default four, or as many as take 1 GiB with \
      their copies, so that no cache holds what is read or written next. With one, all that fits stays in the \
      caches.
      """)
  var tensors: Int?

  @Option(help: "Measure only what has this in its name.")
  var only = ""

  func validate() throws {
    guard tensors ?? 1 > 0 else { throw ValidationError("There must be at least one tensor.") }
    guard rows > 0, columns.allSatisfy({ $0 > 0 }) else {
      throw ValidationError("There must be at least one row and one column.")
    }
    guard rounds > 0 else { throw ValidationError("There must be at least one round.") }
  }

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
    let tensors = tensors ?? max(4, (1 << 30) / (4 * count))
    let sources = (0..<tensors).map { _ in values.withUnsafeBufferPointer { Array($0) } }
    var copies = sources.map { $0.withUnsafeBufferPointer { Array($0) } }
    let threads = threads

    /// A way of quantizing into earlier results of its own.
    func quantizing<Result>(
      _ name: String, first: @escaping ([BFloat16]) throws -> Result,
      again: @escaping ([BFloat16], inout Result) throws -> Void
    ) -> Work {
      Work(name: name) {
        var results = try sources.map(first)
        return { try again(sources[$0], &results[$0]) }
      }
    }
    func quantizing<Element, Scale>(
      _ name: String, _ type: BlockScaledMatrix<Element, Scale>.Type, _ recipe: Recipe,
      _ blocking: Blocking? = nil, measures: Bool = false
    ) -> Work {
      quantizing(name) {
        try cpu.quantized(
          $0, rows: rows, columns: columns, as: type, recipe: recipe, blocking: blocking
        ).matrix
      } again: {
        _ = try cpu.quantize($0, into: &$1, recipe: recipe, measures: measures)
      }
    }
    func quantizingBothWays(_ name: String, _ blocking: Blocking) -> Work {
      quantizing(name) {
        try cpu.quantizedBothWays(
          $0, rows: rows, columns: columns, as: Float8Matrix.self, recipe: .deepseek,
          blocking: blocking)
      } again: {
        try cpu.quantizeBothWays($0, into: &$1, recipe: .deepseek)
      }
    }
    func dequantizing<Element, Scale>(
      _ name: String, _ type: BlockScaledMatrix<Element, Scale>.Type, _ recipe: Recipe,
      _ blocking: Blocking? = nil
    ) -> Work {
      Work(name: name) {
        let matrices = try sources.map {
          try cpu.quantized(
            $0, rows: rows, columns: columns, as: type, recipe: recipe, blocking: blocking
          ).matrix
        }
        return { try cpu.dequantize(matrices[$0], into: &copies[$0]) }
      }
    }
    let wide = Blocking(rows: 1, columns: 128)
    let square = Blocking(rows: 128, columns: 128)
    let all = [
      quantizing("FP8 1x128", Float8Matrix.self, .deepseek, wide),
      quantizing("FP8 1x128, divided", Float8Matrix.self, .modelopt, wide),
      quantizing("FP8 1x128, with errors", Float8Matrix.self, .deepseek, wide, measures: true),
      quantizing("FP8 128x128", Float8Matrix.self, .deepseek, square),
      quantizingBothWays("FP8 1x128 both ways", wide),
      quantizingBothWays("FP8 128x128 both ways", square),
      quantizing("NVFP4, both passes", NVFP4Matrix.self, .modelopt),
      quantizing("NVFP4, torchao", NVFP4Matrix.self, .torchao),
      quantizing("NVFP4, with errors", NVFP4Matrix.self, .modelopt, measures: true),
      quantizing("MXFP8", MXFP8Matrix.self, .rceil, Scheme.mxfp8.blocking),
      quantizing("MXFP4", MXFP4Matrix.self, .rceil, Scheme.mxfp4.blocking),
      dequantizing("dequantize FP8 1x128", Float8Matrix.self, .deepseek, wide),
      dequantizing("dequantize FP8 128x128", Float8Matrix.self, .deepseek, square),
      dequantizing("dequantize NVFP4", NVFP4Matrix.self, .modelopt),
      dequantizing("dequantize MXFP8", MXFP8Matrix.self, .rceil, Scheme.mxfp8.blocking),
    ]
    print(
      "\(cpu.tier), \(rows)x\(columns) BF16, \(tensors) in turn, \(threads) threads: GB/s of BF16, and over "
        + "memcpy")
    for work in all where work.name.contains(only) {
      let body = try work.prepare()
      // Works by turns with memcpy, so that each ratio is of one state of the machine, and the caches hold
      // as much of what the one reads and writes as of the other.
      var times: [(memcpy: Double, work: Double)] = []
      // The portable tier is the reference, which is not made for speed.
      for round in 0...(cpu.tier == .portable ? 1 : rounds) {
        let memcpy = seconds {
          copyBytes(sources[round % tensors], to: &copies[round % tensors], threads: threads)
        }
        // As far as can be from the tensors that were used last.
        let work = try seconds { try body((round + tensors / 2) % tensors) }
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

/// Something to be measured.
private struct Work {
  let name: String
  /// Makes its results for all tensors, then works on one of them.
  let prepare: () throws -> (_ tensor: Int) throws -> Void
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
