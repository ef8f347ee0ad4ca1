// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import BlockScaleCPU

/// Steps of linear layers.
struct LayerBenchmark: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "layer",
    abstract: "Forward and backward steps of linear layers, quantizing included, by turns.")

  @Option(help: "Tokens.")
  var m = 2048

  @Option(help: "Outputs.")
  var n = 4096

  @Option(help: "Inputs.")
  var k = 4096

  @Option(help: "The number of rounds; medians are printed.")
  var rounds = 5

  func run() throws {
    keepFreedMemory()
    let backend = CPUBackend()
    let kinds = ["bf16", "fp8", "nvfp4"]
    let cases = try kinds.map { try LayerCase($0, m: m, n: n, k: k, backend: backend) }
    var times = [[Double]](repeating: [], count: kinds.count)
    for _ in 0..<rounds {
      for index in cases.indices { times[index].append(try median(1) { try cases[index].run() }) }
    }
    print("\(m)x\(k) -> \(n), \(backend.tier), \(backend.threads) threads, forward and backward")
    print("layer          ms    GFLOP/s   over BF16")
    for (index, kind) in kinds.enumerated() {
      let middle = times[index].sorted()[rounds / 2]
      let ratios = zip(times[0], times[index]).map { $0 / $1 }.sorted()
      print(
        padded(kind, 8), column(middle * 1e3, 2, 9),
        column(Double(6 * m * n * k) / middle * 1e-9, 0, 9), column(ratios[rounds / 2], 2, 10))
    }
  }
}
