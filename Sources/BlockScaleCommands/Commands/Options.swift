// SPDX-License-Identifier: Apache-2.0

public import ArgumentParser
public import BlockScale
import BlockScaleCPU
import CUDADriver
public import Checkpoints
import Synchronization
import SystemPackage

extension Scheme: ExpressibleByArgument {}
extension Layout: ExpressibleByArgument {}
extension Recipe: ExpressibleByArgument {}

/// How a command reports what it does.
struct ReportOptions: ParsableArguments {
  @Flag(name: .long, help: "Print the result as JSON.")
  var json = false

  @Flag(name: [.short, .long], help: "Print errors only.")
  var quiet = false

  @Flag(name: .long, help: "Do not show progress.")
  var noProgress = false

  @Option(
    name: [.short, .long], help: ArgumentHelp("Use that many threads.", valueName: "n"))
  var jobs = CPUBackend.processorCount

  func validate() throws {
    guard jobs > 0 else { throw ValidationError("--jobs must be at least 1.") }
  }
}

/// Where compiled kernels are kept between runs.
struct KernelCacheOptions: ParsableArguments {
  @Flag(
    name: .customLong("no-cache"),
    help: "Compile all kernels, and keep none (default: $XDG_CACHE_HOME/blockscale).")
  var isOff = false

  /// The cache, or nil for none.
  var cache: ModuleCache? { isOff ? nil : .ofUser() }
}

/// Where a conversion writes, and what it may replace.
struct OutputOptions: ParsableArguments {
  @Option(
    name: [.short, .long],
    help: ArgumentHelp(
      "Write to this file, or to this folder if the input is one.", valueName: "path"),
    completion: .file())
  var output: String

  @Flag(name: .long, help: "Continue an interrupted conversion.")
  var resume = false

  @Flag(name: .long, help: "Replace an existing output.")
  var overwrite = false
}

/// A checkpoint to read.
struct InputArgument: ParsableArguments {
  @Argument(
    help: "A .safetensors file or a model folder.",
    completion: .file(extensions: ["safetensors"]))
  var input: String
}

/// A checkpoint with quantized tensors to read.
struct QuantizedInput: ParsableArguments {
  @OptionGroup var path: InputArgument

  @Option(
    name: .long,
    help: ArgumentHelp(
      "Read quantized tensors in this layout instead of detecting it.", valueName: "layout"))
  var from: Layout?

  var input: String { path.input }

  func open() throws -> Checkpoint { try Checkpoint(path: FilePath(input), layout: from) }
}

extension ReportOptions {
  /// Runs work that reports its progress, and tells how long it took.
  func withProgress<Result>(
    _ verb: String, done: String,
    _ body: (@escaping @Sendable (Converter.Progress) -> Void) throws -> Result
  ) throws -> (result: Result, seconds: Double) {
    let terminal = Terminal.standardError
    let mode = ProgressReporter.Mode(
      isTerminal: terminal.isTerminal, quiet: quiet, noProgress: noProgress)
    // The total is known once the work has been planned.
    let reporter = Mutex<ProgressReporter?>(nil)
    let start = ContinuousClock.now
    do {
      let result = try body { progress in
        switch progress {
        case .began(let bytes):
          reporter.withLock {
            $0 = ProgressReporter(mode: mode, terminal: terminal, total: bytes, verb: verb)
          }
        case .advanced(let bytes, let tensor):
          reporter.withLock { $0 }?.advance(by: bytes, item: tensor)
        }
      }
      reporter.withLock { $0 }?.finish(done)
      return (result, start.duration(to: .now) / .seconds(1))
    } catch {
      reporter.withLock { $0 }?.abandon()
      throw error
    }
  }

  /// A converter with these options, which tells on an interrupt how to go on.
  func converter(
    _ output: OutputOptions, onProgress: @escaping @Sendable (Converter.Progress) -> Void
  ) -> Converter {
    InterruptNotice.install(output: output.output)
    return Converter(
      jobs: jobs, resume: output.resume, overwrite: output.overwrite, onProgress: onProgress)
  }
}
