// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
@_spi(Benchmarking) import BlockScaleCPU
import Llama

/// Answers one request a line, so that a script can time this process and a peer by turns.
struct ServeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve",
    abstract: "Time operations on request: the other half of peers.py.",
    discussion: """
      Requests on standard input, one a line; answers on standard output:
        prepare NAME OPERATION M N K [TIER]   makes data and answers `ready TIER THREADS`
        run NAME COUNT                        answers the median of COUNT runs in seconds
        ceiling TIER ROUNDS                   answers operations a second, the best of ROUNDS of 5 ms
      OPERATION is one of those that `benchmark product --help` lists, `layer-bf16`, `layer-fp8` or
      `layer-nvfp4` for a step of a linear layer, `train-bf16`, `train-fp8` or `train-coat` for a
      training step of a Llama of 4 layers with M tokens in sequences of 512, the hidden size N and the
      vocabulary K, or one of `quantize-` and `dequantize-` with
      `fp8-1x128`, `fp8-128x128` or `nvfp4` for a matrix of M x K.
      """)

  func run() throws {
    keepFreedMemory()
    var cases: [String: any TimedCase] = [:]
    while let line = readLine() {
      let words = line.split(separator: " ").map(String.init)
      switch words.first {
      case "prepare" where words.count >= 6:
        let backend =
          try words.count > 6 ? CPUBackend(tier: Self.tier(words[6])) : CPUBackend()
        guard let m = Int(words[3]), let n = Int(words[4]), let k = Int(words[5]),
          let work = try Self.work(words[2], m: m, n: n, k: k, backend: backend)
        else { throw ValidationError("This is no request: \(line)") }
        cases[words[1]] = work
        print("ready \(backend.tier) \(backend.threads)")
      case "run" where words.count == 3:
        guard let work = cases[words[1]], let count = Int(words[2]) else {
          throw ValidationError("This is no request: \(line)")
        }
        print(try median(count) { try work.run() })
      case "ceiling" where words.count == 3:
        guard let rounds = Int(words[2]), rounds > 0 else {
          throw ValidationError("This is no request: \(line)")
        }
        print(try CPUBackend(tier: Self.tier(words[1])).productCeiling(rounds: rounds))
      default: throw ValidationError("This is no request: \(line)")
      }
      flushOutput()
    }
  }

  private static func work(
    _ operation: String, m: Int, n: Int, k: Int, backend: CPUBackend
  ) throws -> (any TimedCase)? {
    if let product = ProductOperation(rawValue: operation) {
      return try ProductCase(product, m: m, n: n, k: k, backend: backend)
    }
    if operation.hasPrefix("layer-") {
      return try LayerCase(
        String(operation.dropFirst("layer-".count)), m: m, n: n, k: k, backend: backend)
    }
    if operation.hasPrefix("train-") {
      guard
        let recipe = TrainingRecipe(rawValue: String(operation.dropFirst("train-".count)))
      else { return nil }
      let shape = LlamaShape(
        hidden: n, intermediate: n * 11 / 4, heads: n / 64, keyValueHeads: max(1, n / 128),
        vocabulary: k, sequences: max(1, m / 512), length: min(m, 512))
      return try TrainCase(recipe, shape, backend: backend)
    }
    return try QuantizeCase(operation, rows: m, columns: k, backend: backend)
  }

  private static func tier(_ name: String) throws -> CPUTier {
    guard let tier = CPUTier(rawValue: name) else {
      throw ValidationError("There is no tier '\(name)'.")
    }
    return tier
  }
}
