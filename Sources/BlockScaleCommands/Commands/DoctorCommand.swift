// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import BlockScaleCUDA
import CUDADriver
import OrderedCollections
import PTX
import PTXEmulator
import Safetensors

struct DoctorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Show what this machine has, and check every kernel against the CPU.",
    discussion: """
      Kernels run on the first GPU. Without one nothing is run, unless --emulate asks for the \
      emulator, which runs the same kernels on the CPU and takes minutes. Compiled kernels are kept \
      for later runs. The exit code is 1 if a check failed.
      """)

  @Flag(help: "Run the kernels in the emulator.")
  var emulate = false

  @Option(help: "Check only what has this in its name.")
  var only = ""

  @OptionGroup var caching: KernelCacheOptions

  @Flag(name: .long, help: "Print the result as JSON.")
  var json = false

  func run() throws {
    let checks = try selectedChecks()
    let machine = Machine()
    if !json { try Terminal.standardOutput.writeResult(machine.text) }
    var results: [CheckResult] = []
    let executor = try executor(machine)
    if let executor {
      for check in checks {
        let result = CheckResult(of: check, on: executor, isEmulated: emulate)
        results.append(result)
        if !json { try Terminal.standardOutput.writeResult(result.text) }
      }
    }
    let loads = (executor as? CUDAExecutor).map { KernelLoads($0.loads, cache: $0.cache) }
    if json {
      try JSONOutput.write(command: "doctor", document(machine, results, loads))
    } else {
      try Terminal.standardOutput.writeResult((loads?.text ?? "") + summary(machine, results))
    }
    if results.contains(where: { $0.outcome == .failed }) { throw ExitCode.failure }
  }

  /// The checks that `--only` leaves.
  func selectedChecks() throws -> [KernelCheck] {
    let checks = KernelCheck.all.filter { only.isEmpty || $0.name.contains(only) }
    guard !checks.isEmpty else {
      throw ValidationError("No check has “\(only)” in its name.")
    }
    return checks
  }

  private func executor(_ machine: Machine) throws -> (any KernelExecutor)? {
    if emulate { return EmulatedDevice() }
    guard let device = machine.devices.first else { return nil }
    return try CUDAExecutor(device, cache: caching.cache)
  }

  /// The last line.
  func summary(_ machine: Machine, _ results: [CheckResult]) -> String {
    if results.isEmpty {
      return "No kernels were run: there is no GPU; --emulate runs them on the CPU.\n"
    }
    func count(_ outcome: CheckResult.Outcome) -> Int { results.count { $0.outcome == outcome } }
    let skipped = count(.skipped)
    return "\(count(.passed)) of \(results.count - skipped) checks passed"
      + (skipped > 0 ? ", \(skipped) skipped\n" : "\n")
  }

  /// What `--json` prints.
  func document(
    _ machine: Machine, _ results: [CheckResult], _ loads: KernelLoads? = nil
  ) -> JSONValue {
    var members = machine.members
    if let loads { members["kernels"] = loads.value }
    members["checks"] = .array(results.map(\.value))
    return .object(members)
  }
}

/// What became of one check.
struct CheckResult {
  enum Outcome: String {
    case passed, failed, skipped
  }

  let name: String
  let outcome: Outcome
  /// Why it failed or was skipped.
  let reason: String?

  init(name: String, _ outcome: Outcome, reason: String? = nil) {
    self.name = name
    self.outcome = outcome
    self.reason = reason
  }

  /// Runs a check, or finds why not.
  init(of check: KernelCheck, on executor: any KernelExecutor, isEmulated: Bool) {
    if isEmulated, let reason = check.needsGPU {
      self.init(name: check.name, .skipped, reason: reason)
      return
    }
    guard check.targets.contains(executor.target) else {
      self.init(
        name: check.name, .skipped, reason: "there is no such kernel for \(executor.target.name)")
      return
    }
    do {
      try check.run(on: executor)
      self.init(name: check.name, .passed)
    } catch {
      self.init(name: check.name, .failed, reason: "\(error)")
    }
  }

  /// A line.
  var text: String {
    let word =
      switch outcome {
      case .passed: "pass"
      case .failed: "FAIL"
      case .skipped: "skip"
      }
    return "\(word)  \(name)" + (reason.map { ": \($0)" } ?? "") + "\n"
  }

  var value: JSONValue {
    var members: OrderedDictionary<String, JSONValue> = [
      "name": JSONValue(name), "outcome": JSONValue(outcome.rawValue),
    ]
    if let reason { members["reason"] = JSONValue(reason) }
    return .object(members)
  }
}
