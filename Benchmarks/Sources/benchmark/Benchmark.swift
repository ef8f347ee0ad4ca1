// SPDX-License-Identifier: Apache-2.0

import ArgumentParser

@main
struct Benchmark: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "benchmark",
    abstract: "Measure BlockScale and print rates and ratios.",
    subcommands: [
      ConvertBenchmark.self, GenerateBenchmark.self, LayerBenchmark.self, ModelBenchmark.self,
      ProductBenchmark.self,
      QuantizeBenchmark.self, ServeCommand.self, TrainBenchmark.self,
    ])
}
