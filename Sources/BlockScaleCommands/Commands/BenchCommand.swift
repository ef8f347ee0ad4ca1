// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import BlockScaleCPU
import BlockScaleCUDA
import CUDADriver
import PTX
import Safetensors

struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench",
    abstract: "Measure kernels, beside a copy in the same run.",
    discussion: """
      Random data, buffers larger than the caches, medians. Rates count the bytes that must move \
      once, or the operations of a product. The last column compares with the last release on the \
      same GPU: 1 is as fast, “–” is not known. A second table tells what each kernel costs before its \
      first launch: its PTX text, compiling it, and loading it in later runs. --device cpu measures \
      the CPU's quantizers.
      """)

  enum Place: String, CaseIterable, ExpressibleByArgument {
    case cuda, cpu
  }

  @Argument(
    help: """
      Measure only these groups: \(Self.groupNames(on: .cuda).joined(separator: ", ")); the CPU has \
      \(Self.groupNames(on: .cpu).joined(separator: ", ")).
      """)
  var groups: [String] = []

  @Option(help: "Where to measure.")
  var device = Place.cuda

  @Option(help: "Measure only what has this in its name.")
  var only = ""

  @Option(help: "Rounds that count.")
  var rounds = 20

  @OptionGroup var caching: KernelCacheOptions

  @Flag(name: .long, help: "Print the result as JSON.")
  var json = false

  /// The groups that can be measured.
  static func groupNames(on place: Place) -> [String] {
    switch place {
    case .cuda:
      GPUBenchmark.all.map(\.group).reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
    case .cpu: ["quantize"]
    }
  }

  func validate() throws {
    let known = Self.groupNames(on: device)
    if let unknown = groups.first(where: { !known.contains($0) }) {
      throw ValidationError(
        "There is no group \(unknown) on \(device.rawValue); there are \(known.joined(separator: ", "))."
      )
    }
    guard rounds > 0 else { throw ValidationError("--rounds is at least 1.") }
  }

  func run() throws {
    let run: BenchmarkRun
    switch device {
    case .cpu: run = try measuredOnCPU(CPUBenchmark(cpu: CPUBackend(), rows: 4096, columns: 8192))
    case .cuda: run = try measured(on: firstGPU())
    }
    if json {
      try JSONOutput.write(command: "bench", run.value)
    } else {
      try Terminal.standardOutput.writeResult(run.text)
    }
  }

  private func firstGPU() throws(CommandError) -> Device {
    do throws(CUDAError) {
      return try Driver.load().device(at: 0)
    } catch {
      throw CommandError("\(error) `--device cpu` measures the CPU.")
    }
  }

  func measuredOnCPU(_ benchmark: CPUBenchmark) throws -> BenchmarkRun {
    let names = try selected(benchmark.names.map { (group: "quantize", name: $0) })
    return try benchmark.measured({ names.contains($0) }, rounds: rounds)
  }

  private func measured(on device: Device) throws -> BenchmarkRun {
    let names = try selected(GPUBenchmark.all.map { (group: $0.group, name: $0.name) })
    let executor = try CUDAExecutor(device, cache: caching.cache)
    var kernels: [KernelPreparation] = []
    let copied = 1 << 30
    let copy = 2 * Double(copied) / (try executor.medianSecondsOfCopy(byteCount: copied))
    let rows = try GPUBenchmark.all.filter { names.contains($0.name) }.map { benchmark in
      let prepared = try benchmark.prepare(executor)
      for tree in prepared.launches.map(\.tree)
      where !kernels.contains(where: { $0.name == tree.name }) {
        kernels.append(try executor.preparation(of: tree))
      }
      let launches = try prepared.launches.map { try executor.prepared($0) }
      let seconds = try executor.medianSeconds(rounds: rounds, launches)
      withExtendedLifetime(prepared) {}
      var measured = Measured(
        group: benchmark.group, name: benchmark.name, work: benchmark.work, seconds: seconds,
        copy: copy)
      measured.ratioToRelease = ReleaseFigures.last.ratio(
        of: measured.figure, benchmark.name, on: device.name)
      return measured
    }
    return BenchmarkRun(device: device.name, copy: copy, rows: rows, kernels: kernels)
  }

  /// The names that groups and `--only` leave.
  func selected(_ benchmarks: [(group: String, name: String)]) throws -> Set<String> {
    let names = benchmarks.filter {
      (groups.isEmpty || groups.contains($0.group)) && (only.isEmpty || $0.name.contains(only))
    }
    guard !names.isEmpty else {
      throw ValidationError("No benchmark of these groups has “\(only)” in its name.")
    }
    return Set(names.map(\.name))
  }
}
