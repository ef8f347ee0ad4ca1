// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import BlockScaleCPU
import Llama

/// Generation, one token at a time.
struct GenerateBenchmark: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "generate",
    abstract: "Tokens a second of a Llama in each weight format, batch 1, by turns.")

  @Option(help: "Decoder layers.")
  var layers = 6

  @Option(help: "The width of the residual stream.")
  var hidden = 2048

  @Option(help: "The width between the MLP's projections.")
  var intermediate = 5632

  @Option(help: "Tokens of the prompt.")
  var prompt = 64

  @Option(help: "Tokens of a round.")
  var tokens = 16

  @Option(help: "The number of rounds; medians are printed.")
  var rounds = 5

  func run() throws {
    let backend = CPUBackend()
    let shape = LlamaShape(
      layers: layers, hidden: hidden, intermediate: intermediate, heads: hidden / 64,
      keyValueHeads: max(1, hidden / 256), length: prompt + tokens * (rounds + 1))
    let configuration = try shape.configuration()
    let weights = ParameterStore(for: configuration, seed: 1)
    let plans: [(name: String, plan: PrecisionPlan)] = [
      ("bf16", .bfloat16), ("fp8", .float8), ("nvfp4", .nvfp4),
    ]
    var runs = try plans.map { name, plan in
      let model = try LlamaModel(
        configuration, weights: weights, plan: plan, trains: false, on: backend)
      var cache = KeyValueCache(for: model, capacity: configuration.maximumPositions)
      _ = try model.nextLogits(Array(repeating: 1, count: prompt), cache: &cache)
      return (name: name, model: model, cache: cache, times: [Double]())
    }
    for round in 0...rounds {
      for index in runs.indices {
        let start = ContinuousClock.now
        for token in 0..<tokens {
          _ = try runs[index].model.nextLogits([Int32(token)], cache: &runs[index].cache)
        }
        // The first round is not counted.
        if round > 0 { runs[index].times.append(start.duration(to: .now) / .seconds(1)) }
      }
    }
    print(
      "\(layers) layers of \(hidden), \(configuration.parameterCount) parameters, "
        + "\(backend.tier), \(backend.threads) threads")
    print("weights  tokens/s   over BF16")
    for run in runs {
      let ratios = zip(runs[0].times, run.times).map { $0 / $1 }.sorted()
      print(
        padded(run.name, 6), column(Double(tokens) / run.times.sorted()[rounds / 2], 1, 9),
        column(ratios[rounds / 2], 2, 10))
    }
  }
}
