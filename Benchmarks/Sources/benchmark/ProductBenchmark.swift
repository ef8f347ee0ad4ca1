// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import BlockScale
@_spi(Benchmarking) import BlockScaleCPU
import Minifloat

/// Products by shape and tier.
struct ProductBenchmark: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "product",
    abstract: "Matrix products by operation, shape and tier, beside the tier's ceiling.")

  @Option(parsing: .upToNextOption, help: "Rows of X.")
  var m: [Int] = [1, 8, 64, 512, 2048]

  @Option(parsing: .upToNextOption, help: "Outputs.")
  var n: [Int] = [4096]

  @Option(help: "Depth of the sums.")
  var k = 4096

  @Option(parsing: .upToNextOption, help: "What is multiplied.")
  var operation: [ProductOperation] = [.bf16, .nvfp4, .fp8Block]

  @Option(parsing: .upToNextOption, help: "Tiers; all that the machine has by default.")
  var tier: [String] = []

  @Option(help: "Threads of one product.")
  var threads: Int?

  func run() throws {
    keepFreedMemory()
    let tiers =
      try tier.isEmpty
      ? CPUTier.available
      : tier.map { name in
        guard let tier = CPUTier(rawValue: name) else {
          throw ValidationError("There is no tier '\(name)'.")
        }
        return tier
      }
    print("tier      operation    M      N      K         ms     GFLOP/s  of ceiling")
    for tier in tiers {
      let backend = try CPUBackend(tier: tier, threads: threads)
      for n in n {
        for operation in operation {
          for m in m {
            let work = try ProductCase(operation, m: m, n: n, k: k, backend: backend)
            let count = max(3, min(30, 4_000_000_000 / (m * n * k)))
            // A few rows wait for memory: what of its rate do they reach, by turns with reading?
            let readsMemory = m <= 4 && work.packedByteCount > 0
            let rounds = try (0..<(readsMemory ? 15 : 1)).map { _ in
              (
                reading: readsMemory ? readRate(backend) : 0,
                seconds: try median(count) { try work.run() }
              )
            }
            let seconds = middle(rounds.map(\.seconds))
            let rate = Double(2 * m * n * k) / seconds
            let bytes = Double(work.packedByteCount)
            let share = middle(rounds.map { bytes / $0.seconds / $0.reading })
            let ofReading =
              readsMemory
              ? "  \(column(bytes / seconds * 1e-9, 1, 0)) GB/s, \(column(share, 2, 0)) of reading"
              : ""
            print(
              padded(tier.rawValue, 9), padded(operation.rawValue, 10), column(Double(m), 0, 4),
              column(Double(n), 0, 6), column(Double(k), 0, 6), column(seconds * 1e3, 3, 10),
              column(rate * 1e-9, 1, 10), column(rate / backend.productCeiling(), 2, 8) + ofReading)
          }
        }
      }
    }
  }

  /// The rate at which all threads read memory that no cache holds, in bytes a second.
  private func readRate(_ backend: CPUBackend) -> Double {
    Double(2 * Self.memory.values.count)
      / median(3) { _ = backend.maximumMagnitude(of: Self.memory) }
  }

  private static let memory = Matrix<BFloat16>.zeros(rows: 1 << 14, columns: 1 << 14)
}
