// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import BlockScale
import Checkpoints
import SystemPackage

#if canImport(Glibc)
  import Glibc
#endif

struct ConvertBenchmark: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "convert",
    abstract: "Quantize a synthetic Llama checkpoint, beside a copy of the same file.")

  @Option(help: "The number of layers; 14 make 1.97 GB.")
  var layers = 14

  @Option(help: "The number of threads.")
  var jobs = 2

  @Option(help: "The number of rounds; medians are printed.")
  var rounds = 3

  @Option(help: "A folder for the files, which are removed at the end.")
  var folder = "/tmp"

  /// Seconds that other tools took for the same model on two cores, measured once.
  private static let peers: [Scheme: [(name: String, seconds: Double)]] = [
    .nvfp4: [("llm-compressor", 59.3), ("ModelOpt", 39.6)],
    .fp8Block: [("llm-compressor", 17.5)],
  ]

  func run() throws {
    let source = FilePath(folder).appending("blockscale-benchmark.safetensors")
    let target = FilePath(folder).appending("blockscale-benchmark-output.safetensors")
    defer {
      unlink(source.string)
      unlink(target.string)
    }
    let bytes = try SyntheticModel(layers: layers).write(to: source)
    let gigabytes = Double(bytes) * 1e-9
    print("synthetic Llama, \(layers) layers, BF16:\(column(gigabytes, 2)) GB; \(jobs) threads")
    print("scheme       recipe               seconds     GB/s     cp=1   own MB  peers")
    for scheme in Scheme.allCases {
      let layout = Layout.usual(for: scheme)
      var copies: [Double] = []
      var times: [Double] = []
      var most = 0
      // Rounds alternate, so that both see the same machine.
      for _ in 0..<rounds {
        copies.append(try measured { try copy(source, to: target) }.seconds)
        unlink(target.string)
        let result = try measured {
          let converter = Converter(jobs: jobs)
          _ = try converter.quantize(Checkpoint(path: source), to: target, scheme: scheme)
        }
        unlink(target.string)
        times.append(result.seconds)
        most = max(most, result.ownBytes)
      }
      let seconds = times.sorted()[rounds / 2]
      let copySeconds = copies.sorted()[rounds / 2]
      let peers = (Self.peers[scheme] ?? []).map {
        "\($0.name) \(column($0.seconds, 1, 0)) s =\(column($0.seconds / seconds, 1, 5))x"
      }
      let recipe = layout.usualRecipe(for: scheme).rawValue
      print(
        pad(scheme.rawValue, 12), pad(recipe, 18), column(seconds, 2),
        column(gigabytes / seconds, 2), column(seconds / copySeconds, 2),
        column(Double(most) * 1e-6, 1), "", layers == 14 ? peers.joined(separator: ", ") : "")
    }
    print(
      "peers: the same model on two cores of a Sapphire Rapids Xeon, quoted; see docs/performance.")
  }

  private func pad(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }

  /// Copies as `cp` does, without flushing.
  private func copy(_ source: FilePath, to target: FilePath) throws {
    let input = try FileDescriptor.open(source, .readOnly)
    try input.closeAfter {
      let output = try FileDescriptor.open(
        target, .writeOnly, options: [.create, .truncate], permissions: .ownerReadWrite)
      try output.closeAfter {
        var buffer = [UInt8](repeating: 0, count: 1 << 18)
        while true {
          let count = try buffer.withUnsafeMutableBytes { try input.read(into: $0) }
          if count == 0 { break }
          _ = try output.writeAll(buffer[..<count])
        }
      }
    }
  }
}
