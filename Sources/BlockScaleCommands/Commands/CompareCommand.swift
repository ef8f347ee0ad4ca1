// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import BlockScale
import Checkpoints
import Safetensors
import SystemPackage

struct CompareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare",
    abstract: "Measure how far a checkpoint lies from another.",
    usage: "blockscale compare <reference> <candidate> [<options>]",
    discussion: """
      Both are decoded and compared value by value. SQNR is the ratio of signal to error in \
      decibels, NMSE the normalized mean squared error. The exit code is 1 if a tensor is missing \
      on either side.
      """)

  @Argument(
    help: "The checkpoint to compare with.", completion: .file(extensions: ["safetensors"]))
  var reference: String

  @Argument(help: "The checkpoint to judge.", completion: .file(extensions: ["safetensors"]))
  var candidate: String

  @Option(
    name: .long,
    help: ArgumentHelp(
      "Read the candidate in this layout instead of detecting it.", valueName: "layout"))
  var from: Layout?

  @Option(
    name: .long,
    help: ArgumentHelp("Draw the SQNR of every tensor as an SVG picture.", valueName: "file.svg"),
    completion: .file(extensions: ["svg"]))
  var plot: String?

  @OptionGroup var report: ReportOptions

  func run() throws {
    let left = try Checkpoint(path: FilePath(reference))
    let right = try Checkpoint(path: FilePath(candidate), layout: from)
    let (comparison, _) = try report.withProgress("Comparing", done: "Compared") { progress in
      try Comparison(reference: left, candidate: right, jobs: report.jobs, onProgress: progress)
    }
    if let plot {
      // Tensors that were not quantized would only crowd the upper edge.
      let points = comparison.tensors.filter { $0.error.errorPower > 0 || $0.isQuantized }
        .map { (name: $0.name, sqnr: $0.error.sqnr) }
      let picture = SQNRPlot.svg(
        points: points, title: "SQNR of \(candidate) against \(reference)")
      try writeFileAtomically(Array(picture.utf8), to: FilePath(plot))
    }
    if report.json {
      try JSONOutput.write(command: "compare", document(comparison))
    } else if !report.quiet {
      Terminal.standardOutput.write(text(comparison))
    }
    if !comparison.missing.isEmpty || !comparison.extra.isEmpty { throw ExitCode(1) }
  }

  private func document(_ comparison: Comparison) -> JSONValue {
    [
      "reference": JSONValue(reference), "candidate": JSONValue(candidate),
      "missing": .array(comparison.missing.map { JSONValue($0) }),
      "extra": .array(comparison.extra.map { JSONValue($0) }),
      "tensors": .array(
        comparison.tensors.map { tensor in
          [
            "name": JSONValue(tensor.name), "referenceFormat": JSONValue(tensor.referenceFormat),
            "candidateFormat": JSONValue(tensor.candidateFormat),
            "shape": .array(tensor.shape.map { JSONValue($0) }), "error": tensor.error.json,
          ]
        }),
    ]
  }

  private func text(_ comparison: Comparison) -> String {
    var table = TextTable([
      .init("Tensor"), .init("Formats"), .init("SQNR", .right), .init("NMSE", .right),
      .init("Max error", .right), .init("Not finite", .right),
    ])
    let different = comparison.tensors.filter {
      $0.error.errorPower > 0 || $0.error.nonFiniteCount > 0
    }
    for tensor in different {
      table.addRow([
        tensor.name, "\(tensor.referenceFormat) \(tensor.candidateFormat)",
        ByteText.sqnr(tensor.error.sqnr), ByteText.small(tensor.error.nmse),
        ByteText.small(Double(tensor.error.maximumError)),
        tensor.error.nonFiniteCount == 0 ? "" : String(tensor.error.nonFiniteCount),
      ])
    }
    var lines = different.isEmpty ? "" : table.render() + "\n"
    for name in comparison.missing { lines += "Missing in \(candidate): \(name)\n" }
    for name in comparison.extra { lines += "Only in \(candidate): \(name)\n" }
    let ratios = different.map(\.error.sqnr).sorted()
    if let worst = ratios.first {
      lines +=
        "SQNR: worst \(ByteText.sqnr(worst)), median "
        + "\(ByteText.sqnr(ratios[ratios.count / 2])). "
    }
    return lines
      + "\(comparison.tensors.count - different.count) of \(comparison.tensors.count) tensors have "
      + "equal values.\n"
  }
}

extension Comparison.Tensor {
  /// Whether either side is block-scaled.
  fileprivate var isQuantized: Bool {
    Scheme(rawValue: referenceFormat) != nil || Scheme(rawValue: candidateFormat) != nil
  }
}
