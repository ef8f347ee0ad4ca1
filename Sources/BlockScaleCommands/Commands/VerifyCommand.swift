// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import BlockScale
import Checkpoints
import OrderedCollections
import Safetensors
import SystemPackage

struct VerifyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify",
    abstract: "Check a block-scaled checkpoint.",
    usage: "blockscale verify <input> [<options>]",
    discussion: """
      Checks the structure, looks for scales and codes that are not finite and for partners with \
      different tensor scales, and quantizes every tensor again. With --against, the original is \
      quantized and compared byte for byte. The exit code is 1 if anything is violated.
      """)

  @OptionGroup var input: QuantizedInput

  @Option(
    name: .long,
    help: ArgumentHelp("The checkpoint that was quantized.", valueName: "original"),
    completion: .file(extensions: ["safetensors"]))
  var against: String?

  @OptionGroup var report: ReportOptions

  func run() throws {
    let checkpoint = try input.open()
    let original = try against.map { try Checkpoint(path: FilePath($0)) }
    let (verification, _) = try report.withProgress("Verifying", done: "Verified") { progress in
      try Verification(checkpoint, against: original, jobs: report.jobs, onProgress: progress)
    }
    if report.json {
      try JSONOutput.write(command: "verify", document(verification, checkpoint))
    } else if !report.quiet || !verification.isClean {
      Terminal.standardOutput.write(text(verification, checkpoint))
    }
    if !verification.isClean { throw ExitCode(1) }
  }

  private func document(_ verification: Verification, _ checkpoint: Checkpoint) -> JSONValue {
    [
      "path": JSONValue(input.input),
      "layout": checkpoint.layout.map { JSONValue($0.rawValue) } ?? .null,
      "clean": .bool(verification.isClean),
      "violations": .array(verification.violations.map { JSONValue($0) }),
      "tensors": .array(
        verification.tensors.map { tensor in
          var members: OrderedDictionary<String, JSONValue> = [
            "name": JSONValue(tensor.name), "format": JSONValue(tensor.format),
            "violations": .array(tensor.violations.map { JSONValue($0) }),
          ]
          if !tensor.notes.isEmpty {
            members["notes"] = .array(tensor.notes.map { JSONValue($0) })
          }
          if let metrics = tensor.requantized { members["requantized"] = metrics.json }
          if let metrics = tensor.fromOriginal { members["fromOriginal"] = metrics.json }
          if let recipe = tensor.matchingRecipe {
            members["matchingRecipe"] = JSONValue(recipe.rawValue)
          }
          return .object(members)
        }),
    ]
  }

  private func text(_ verification: Verification, _ checkpoint: Checkpoint) -> String {
    var table = TextTable([
      .init("Tensor"), .init("Format"), .init("Requantized", .right), .init("Original", .right),
      .init("Bytes of"),
    ])
    let quantized = verification.tensors.filter { $0.requantized != nil || $0.fromOriginal != nil }
    for tensor in quantized {
      table.addRow([
        tensor.name, tensor.format, tensor.requantized.map { ByteText.sqnr($0.sqnr) } ?? "",
        tensor.fromOriginal.map { ByteText.sqnr($0.sqnr) } ?? "",
        tensor.matchingRecipe?.rawValue ?? "",
      ])
    }
    var lines = quantized.isEmpty ? "" : table.render() + "\n"
    for tensor in verification.tensors {
      for note in tensor.notes { lines += "Note: \(tensor.name): \(note).\n" }
    }
    for violation in verification.violations { lines += "Violation: \(violation).\n" }
    for tensor in verification.tensors {
      for violation in tensor.violations { lines += "Violation: \(tensor.name): \(violation).\n" }
    }
    let count =
      verification.violations.count
      + verification.tensors.reduce(0) { $0 + $1.violations.count }
    let layout = checkpoint.layout.map { "layout \($0.rawValue)" } ?? "not quantized"
    return lines
      + "\(input.input): \(layout); \(verification.tensors.count) tensors, "
      + (count == 0 ? "no violation.\n" : "\(count) violation\(count == 1 ? "" : "s").\n")
  }
}
