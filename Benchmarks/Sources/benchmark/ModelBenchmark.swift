// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import BlockScale
import Checkpoints
import SystemPackage

#if canImport(Glibc)
  import Glibc
#endif

struct ModelBenchmark: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "model",
    abstract: "Quantize a real checkpoint with every scheme and print what became of it.")

  @Argument(help: "A .safetensors file.")
  var input: String

  @Option(help: "The number of threads.")
  var jobs = 2

  func run() throws {
    let target = FilePath("/tmp/blockscale-benchmark-output.safetensors")
    defer { unlink(target.string) }
    print("| scheme | layout | recipe | file, MB | weights, MB | worst SQNR, dB | median | s |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for scheme in Scheme.allCases {
      try row(scheme, target, searched: false)
      if scheme == .nvfp4 { try row(scheme, target, searched: true) }
    }
  }

  private func row(_ scheme: Scheme, _ target: FilePath, searched: Bool) throws {
    let layout = Layout.usual(for: scheme)
    var reports: [TensorReport] = []
    let (seconds, _) = try measured {
      reports = try Converter(jobs: jobs, overwrite: true).quantize(
        Checkpoint(path: FilePath(input)), to: target, scheme: scheme, searchesScales: searched)
    }
    let quantized = reports.filter { $0.action == .quantized }
    let ratios = quantized.compactMap { $0.error?.sqnr }.sorted()
    func megabytes(_ bytes: Int) -> String { column(Double(bytes) * 1e-6, 2, 0) }
    let file =
      megabytes(reports.reduce(0) { $0 + $1.bytesBefore }) + " → "
      + megabytes(reports.reduce(0) { $0 + $1.bytesAfter })
    let weights =
      megabytes(quantized.reduce(0) { $0 + $1.bytesBefore }) + " → "
      + megabytes(quantized.reduce(0) { $0 + $1.bytesAfter })
    let recipe = layout.usualRecipe(for: scheme).rawValue + (searched ? ", scale search" : "")
    print(
      "| \(scheme.rawValue) | \(layout.rawValue) | \(recipe) | \(file) | \(weights) "
        + "| \(column(ratios.first ?? 0, 2, 0)) | \(column(ratios[ratios.count / 2], 2, 0)) "
        + "| \(column(seconds, 2, 0)) |")
  }
}
