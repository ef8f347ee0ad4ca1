// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import BlockScaleCPU
import BlockScaleCUDA
import CUDADriver
import OrderedCollections
import PTX
import PTXEmulator
import Safetensors
import SystemPackage
import Testing

@testable import BlockScaleCommands

/// `ptx`, `doctor` and `bench` on machines without a GPU.
@Suite struct KernelCommandTests {
  private func command<Command: ParsableCommand>(
    _ type: Command.Type = Command.self, _ arguments: String...
  ) throws -> Command {
    try #require(BlockScaleCommand.parseAsRoot(arguments) as? Command)
  }

  /// The message and the exit code of what a command throws.
  private func refusal(
    _ arguments: [String], body: (any ParsableCommand) throws -> Void = { _ in }
  ) -> (message: String, code: Int32)? {
    do {
      try body(BlockScaleCommand.parseAsRoot(arguments))
      return nil
    } catch {
      return (
        BlockScaleCommand.message(for: error), BlockScaleCommand.exitCode(for: error).rawValue
      )
    }
  }

  @Test func helpNamesThem() {
    let help = BlockScaleCommand.helpMessage(columns: 100)
    #expect(help.contains("  doctor                  Show what this machine has, and check every"))
    #expect(
      help.contains("  bench                   Measure kernels, beside a copy in the same run."))
    #expect(help.contains("  ptx                     Print a GPU kernel as PTX text, or list the"))
  }

  @Test func helpOfBench() {
    let help = BlockScaleCommand.helpMessage(for: BenchCommand.self, columns: 80)
    #expect(help.contains("USAGE: blockscale bench [<groups> ...] [--device <device>]"))
    #expect(help.contains("(values: cuda, cpu; default: cuda)"))
  }

  // MARK: ptx

  @Test func ptxLists() throws {
    let lists = try ["sm_80", "sm_90a"].map { arch in
      try command(PTXCommand.self, "ptx", "--arch", arch).text().split(separator: "\n")
        .map(String.init)
    }
    #expect(Set(lists[1]).count == KernelCatalog.entries.count)
    let onlyHopper = Set(lists[1]).subtracting(lists[0])
    #expect(onlyHopper == Set(BlockwiseGEMM.Configuration.all.map { BlockwiseGEMM($0).name }))
  }

  @Test func ptxPrints() throws {
    let name = "quantize_1x128_e4m3_float32_deepseek_bfloat16_linear"
    let text = try command(PTXCommand.self, "ptx", name, "--arch", "sm_89").text()
    #expect(text.contains(".target sm_89"))
    #expect(text.contains(".visible .entry \(name)("))
  }

  @Test func ptxRefuses() throws {
    func refusal(_ arguments: String...) -> (message: String, code: Int32)? {
      self.refusal(arguments) { _ = try ($0 as? PTXCommand)?.text() }
    }
    let kernel = refusal("ptx", "nothing")
    #expect(
      kernel?.message.contains("There is no kernel nothing; `blockscale ptx` lists all.") == true)
    #expect(kernel?.code == 64)
    let arch = refusal("ptx", "--arch", "sm_75")
    #expect(
      arch?.message.contains(
        "There is no architecture sm_75; there are sm_80, sm_89, sm_90a, sm_100a, sm_120a.") == true
    )
    #expect(arch?.code == 64)
    let name = BlockwiseGEMM(.small).name
    let lacking = refusal("ptx", name, "--arch", "sm_120a")
    #expect(lacking?.message.contains(name) == true)
    #expect(lacking?.message.contains("sm_120a") == true)
    #expect(lacking?.code == 1)
  }

  // MARK: doctor

  private func machine() throws -> Machine {
    let failure = #expect(throws: CUDAError.self) {
      _ = try Driver.load(path: "/nothing/libcuda.so")
    }
    return Machine(tiers: [.portable], failure: try #require(failure))
  }

  @Test func doctorWithoutAGPU() throws {
    let doctor = try command(DoctorCommand.self, "doctor")
    let machine = try machine()
    #expect(machine.text.hasPrefix("CPU tiers: portable\nCUDA driver: No NVIDIA driver was found"))
    #expect(
      doctor.summary(machine, [])
        == "No kernels were run: there is no GPU; --emulate runs them on the CPU.\n")
    let members = JSONOutput.document(command: "doctor", doctor.document(machine, [])).members
    #expect(members?["command"] == JSONValue("doctor"))
    #expect(members?["gpus"] == .array([]))
    #expect(members?["checks"] == .array([]))
    #expect(members?["driverFailure"] != nil)
  }

  @Test func doctorSelects() throws {
    let doctor = try command(
      DoctorCommand.self, "doctor", "--emulate", "--only", "dequantize every code")
    let checks = try doctor.selectedChecks()
    #expect(checks.count == 2)
    let results = checks.map { CheckResult(of: $0, on: EmulatedDevice(), isEmulated: true) }
    #expect(results[0].text == "pass  dequantize every code of e4m3\n")
    #expect(doctor.summary(try machine(), results) == "2 of 2 checks passed\n")
    let nothing = refusal(["doctor", "--only", "nothing"]) {
      _ = try ($0 as? DoctorCommand)?.selectedChecks()
    }
    #expect(nothing?.message.contains("No check has “nothing” in its name.") == true)
    #expect(nothing?.code == 64)
  }

  @Test func doctorTellsOutcomes() throws {
    struct Fault: Error, CustomStringConvertible { let description = "the first row differs" }
    let checks = [
      KernelCheck("good") { _ in },
      KernelCheck("bad") { _ in throw Fault() },
      KernelCheck("large", needsGPU: "too long") { _ in },
      KernelCheck("foreign", targets: [.sm80]) { _ in },
    ]
    let results = checks.map { CheckResult(of: $0, on: EmulatedDevice(), isEmulated: true) }
    #expect(
      results.map(\.text) == [
        "pass  good\n", "FAIL  bad: the first row differs\n", "skip  large: too long\n",
        "skip  foreign: there is no such kernel for sm_90a\n",
      ])
    let doctor = try command(DoctorCommand.self, "doctor")
    #expect(try doctor.summary(machine(), results) == "1 of 2 checks passed, 2 skipped\n")
    #expect(
      results[1].value
        == .object([
          "name": JSONValue("bad"), "outcome": JSONValue("failed"),
          "reason": JSONValue("the first row differs"),
        ]))
    // On a GPU large inputs are no reason to skip.
    #expect(CheckResult(of: checks[2], on: EmulatedDevice(), isEmulated: false).outcome == .passed)
  }

  @Test func doctorTellsWhereKernelsCameFrom() throws {
    let cache = ModuleCache(directory: "/cache/blockscale")
    let loads = KernelLoads(
      [
        KernelLoad(name: "a", origin: .compiled, seconds: 0.25),
        KernelLoad(name: "b", origin: .cache, seconds: 0.25),
        KernelLoad(name: "c", origin: .notCached("/cache: full"), seconds: 0.5),
        KernelLoad(name: "d", origin: .driver, seconds: 1),
        KernelLoad(name: "e", origin: .notCached("/cache: full"), seconds: 0),
      ], cache: cache)
    #expect(
      loads.text == "5 kernels: 3 compiled in 0.75 s, 1 from /cache/blockscale in 0.25 s, "
        + "1 by the driver and its cache in 1.00 s\nNot kept: /cache: full\n")
    #expect(
      loads.value
        == .object([
          "cache": JSONValue("/cache/blockscale"),
          "compiled": .object(["count": JSONValue(3), "seconds": JSONValue(0.75)]),
          "cached": .object(["count": JSONValue(1), "seconds": JSONValue(0.25)]),
          "driver": .object(["count": JSONValue(1), "seconds": JSONValue(1.0)]),
          "notKept": .array([JSONValue("/cache: full")]),
        ]))
    // What `--no-cache` asked for is no news.
    let off = KernelLoads(
      [KernelLoad(name: "a", origin: .notCached("there is no cache"), seconds: 1)], cache: nil)
    #expect(off.text == "1 kernels: 1 compiled in 1.00 s\n")
    #expect(off.value.members?["cache"] == .null)
    #expect(try command(DoctorCommand.self, "doctor", "--no-cache").caching.cache == nil)
  }

  // MARK: bench

  @Test func benchTellsWhatKernelsCostBeforeTheirLaunch() throws {
    let kernels = [
      KernelPreparation(
        name: "quantize", textSeconds: 0.001, compileSeconds: 0.1, loadSeconds: 0.0005,
        origin: .cache),
      KernelPreparation(
        name: "multiply", textSeconds: nil, compileSeconds: 0.15, loadSeconds: 0.002,
        origin: .driver),
    ]
    #expect(kernels[0].cells == ["quantize", "1.00 ms", "100.00 ms", "0.50 ms", "cached"])
    #expect(kernels[1].cells == ["multiply", "–", "150.00 ms", "2.00 ms", "driver"])
    let run = BenchmarkRun(device: "GPU", copy: 1e12, rows: [], kernels: kernels)
    #expect(run.text.contains("\nBefore the first launch\nKernel"))
    #expect(
      run.value.members?["kernels"]
        == .array([
          .object([
            "name": JSONValue("quantize"), "textSeconds": JSONValue(0.001),
            "compileSeconds": JSONValue(0.1), "loadSeconds": JSONValue(0.0005),
            "loadedFrom": JSONValue("cached"),
          ]),
          .object([
            "name": JSONValue("multiply"), "compileSeconds": JSONValue(0.15),
            "loadSeconds": JSONValue(0.002), "loadedFrom": JSONValue("driver"),
          ]),
        ]))
    #expect(!BenchmarkRun(device: "CPU", copy: 1e12, rows: []).text.contains("launch"))
    #expect(try command(BenchCommand.self, "bench", "--no-cache").caching.cache == nil)
  }

  @Test func benchRefuses() {
    #expect(
      refusal(["bench", "everything"])?.message.contains("There is no group everything on cuda")
        == true)
    #expect(
      refusal(["bench", "product", "--device", "cpu"])?.message.contains(
        "There is no group product on cpu; there are quantize.") == true)
    #expect(
      refusal(["bench", "--rounds", "0"])?.message.contains("--rounds is at least 1.") == true)
    #expect(refusal(["bench", "--device", "tpu"])?.code == 64)
  }

  @Test func benchOnTheCPU() throws {
    let bench = try command(
      BenchCommand.self, "bench", "--device", "cpu", "--only", "128x128", "--rounds", "1")
    let benchmark = CPUBenchmark(cpu: CPUBackend(threads: 1), rows: 128, columns: 256)
    let run = try bench.measuredOnCPU(benchmark)
    #expect(run.rows.map(\.name) == ["fp8 128x128 128x256", "fp8 128x128 both ways 128x256"])
    #expect(run.rows.allSatisfy { $0.seconds > 0 && $0.figure > 0 })
    let text = run.text
    #expect(text.contains("Benchmark") && text.contains("Of copy") && text.contains("GB/s"))
    let members = run.value.members
    #expect(members?["device"] == JSONValue(benchmark.device))
    #expect(throws: ValidationError.self) {
      try command(BenchCommand.self, "bench", "--device", "cpu", "--only", "nothing")
        .measuredOnCPU(benchmark)
    }
  }

  @Test func figuresAreComparedWithTheRelease() {
    let figures = ReleaseFigures(figures: ["GPU": ["fp8": 0.5, "product": 2e12]])
    #expect(figures.ratio(of: 0.75, "fp8", on: "GPU") == 1.5)
    #expect(figures.ratio(of: 0.75, "fp8", on: "another") == nil)
    #expect(figures.ratio(of: 0.75, "another", on: "GPU") == nil)
    var row = Measured(
      group: "product", name: "product", work: .operations(3_000_000), seconds: 1e-6, copy: 1e12)
    #expect(row.cells == ["product", "1.0 us", "3.0 TFLOP/s", "–", "–"])
    row.ratioToRelease = figures.ratio(of: row.figure, row.name, on: "GPU")
    #expect(row.cells.last == "1.500")
    let bytes = Measured(
      group: "quantize", name: "fp8", work: .bytes(1_000_000), seconds: 1e-6, copy: 2e12)
    #expect(bytes.cells == ["fp8", "1.0 us", "1000.0 GB/s", "50.0 %", "–"])
  }
}

extension JSONValue {
  /// The members of an object.
  fileprivate var members: [String: JSONValue]? {
    guard case .object(let members) = self else { return nil }
    return Dictionary(uniqueKeysWithValues: members.map { ($0.key, $0.value) })
  }
}
