// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import BlockScale
import Checkpoints
import SystemPackage

struct DequantizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dequantize",
    abstract: "Decode a block-scaled checkpoint to plain values.",
    discussion: "Tensors that are not quantized are copied as they are.")

  /// The names that users give the formats of values.
  enum ValueType: String, ExpressibleByArgument, CaseIterable {
    case bf16
    case f16
    case f32

    var format: SourceFormat {
      switch self {
      case .bf16: .bfloat16
      case .f16: .float16
      case .f32: .float32
      }
    }
  }

  @OptionGroup var input: QuantizedInput
  @OptionGroup var output: OutputOptions

  @Option(name: .long, help: "What the values are stored as.")
  var dtype: ValueType

  @OptionGroup var report: ReportOptions

  func run() throws {
    let checkpoint = try input.open()
    let (tensors, seconds) = try report.withProgress("Decoding", done: "Decoded") { progress in
      try report.converter(output, onProgress: progress).dequantize(
        checkpoint, to: FilePath(output.output), as: dtype.format)
    }
    try ConversionSummary(
      command: "dequantize", output: output.output, tensors: tensors, seconds: seconds,
      details: [("dtype", dtype.rawValue)]
    ).print(report)
  }
}
