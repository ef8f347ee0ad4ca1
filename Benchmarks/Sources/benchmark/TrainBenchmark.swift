// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import BlockScaleCPU
import Llama

/// Training steps of a Llama.
struct TrainBenchmark: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "train",
    abstract: "Training steps of a Llama in each recipe, by turns.")

  @Option(help: "Decoder layers.")
  var layers = 4

  @Option(help: "The width of the residual stream.")
  var hidden = 1024

  @Option(help: "The width between the MLP's projections.")
  var intermediate = 2816

  @Option(help: "The number of tokens.")
  var vocabulary = 4096

  @Option(help: "Sequences of a step.")
  var sequences = 2

  @Option(help: "Tokens of a sequence.")
  var length = 512

  @Option(parsing: .upToNextOption, help: "What the runs compute in: bf16, fp8, coat.")
  var recipe = ["bf16", "fp8", "coat"]

  @Option(help: "The number of rounds; medians are printed.")
  var rounds = 5

  func run() throws {
    keepFreedMemory()
    let backend = CPUBackend()
    let shape = LlamaShape(
      layers: layers, hidden: hidden, intermediate: intermediate, heads: hidden / 64,
      keyValueHeads: max(1, hidden / 128), vocabulary: vocabulary, sequences: sequences,
      length: length)
    let cases = try recipe.map { name in
      guard let recipe = TrainingRecipe(rawValue: name) else {
        throw ValidationError("There is no recipe '\(name)'.")
      }
      return try TrainCase(recipe, shape, backend: backend)
    }
    var times = [[Double]](repeating: [], count: cases.count)
    for _ in 0..<rounds {
      for index in cases.indices { times[index].append(try median(1) { try cases[index].run() }) }
    }
    let operations = try shape.productOperations()
    print(
      "\(layers) layers of \(hidden), \(try shape.configuration().parameterCount) parameters, "
        + "\(sequences)x\(length) tokens, \(backend.tier), \(backend.threads) threads")
    print("recipe        ms    tokens/s    GFLOP/s of linear layers")
    for (index, name) in recipe.enumerated() {
      let middle = times[index].sorted()[rounds / 2]
      print(
        padded(name, 6), column(middle * 1e3, 1, 9),
        column(Double(sequences * length) / middle, 0, 11),
        column(operations / middle * 1e-9, 0, 10))
    }
  }
}
