// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import BlockScale
import Checkpoints
import SystemPackage

struct ConvertCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "convert",
    abstract: "Store a block-scaled checkpoint in another layout.",
    discussion: """
      Codes stay as they are; nothing is quantized again. Partners with different tensor scales \
      (q, k and v; gate and up) are brought to one, which the result reports. MXFP4 becomes NVFP4 \
      where the layout stores only that, or with --scheme nvfp4.
      """)

  @OptionGroup var input: QuantizedInput
  @OptionGroup var output: OutputOptions

  @Option(name: .long, help: "The layout to write.")
  var layout: Layout

  @Option(name: .long, help: "nvfp4 to turn MXFP4 into NVFP4.")
  var scheme: Scheme?

  @OptionGroup var report: ReportOptions

  func run() throws {
    let checkpoint = try input.open()
    let (tensors, seconds) = try report.withProgress("Converting", done: "Converted") { progress in
      try report.converter(output, onProgress: progress).convert(
        checkpoint, to: FilePath(output.output), layout: layout, scheme: scheme)
    }
    try ConversionSummary(
      command: "convert", output: output.output, tensors: tensors, seconds: seconds,
      details: [("layout", layout.rawValue)]
    ).print(report)
  }
}
