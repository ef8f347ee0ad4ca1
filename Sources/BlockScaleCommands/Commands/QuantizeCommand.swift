// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import BlockScale
import Checkpoints
import SystemPackage

struct QuantizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "quantize",
    abstract: "Quantize the weights of a checkpoint.",
    discussion: """
      Embeddings, heads, norms, routers and tensors that are no matrices stay as they are, unless \
      --include names what to quantize. Weights that inference engines fuse (q, k and v; gate and \
      up) share a tensor scale.

      Example: blockscale quantize Llama-3.1-8B --output Llama-3.1-8B-NVFP4 --scheme nvfp4
      """)

  @OptionGroup var input: InputArgument
  @OptionGroup var output: OutputOptions

  @Option(name: .long, help: "What weights become.")
  var scheme: Scheme

  @Option(
    name: .long,
    help: """
      How they are stored (default: modelopt for nvfp4, deepseek for fp8-block, else \
      compressed-tensors).
      """)
  var layout: Layout?

  @Option(
    name: .long,
    help: "Whose numerics to reproduce byte for byte (default: the layout's own producer).")
  var recipe: Recipe?

  @Option(
    name: .long, parsing: .singleValue,
    help: ArgumentHelp(
      "Quantize only tensors whose names match a shell pattern; may be repeated.",
      valueName: "glob"))
  var include: [String] = []

  @Option(
    name: .long, parsing: .singleValue,
    help: ArgumentHelp(
      "Leave tensors whose names match a shell pattern; may be repeated.", valueName: "glob"))
  var exclude: [String] = []

  @Flag(
    name: .long,
    help: "Pick each NVFP4 block's scale by least squared error (slower, more accurate).")
  var scaleSearch = false

  @OptionGroup var report: ReportOptions

  private var chosenLayout: Layout { layout ?? .usual(for: scheme) }
  private var chosenRecipe: Recipe { recipe ?? chosenLayout.usualRecipe(for: scheme) }

  func validate() throws {
    do throws(CheckpointError) {
      try Converter.check(
        scheme: scheme, layout: chosenLayout, recipe: chosenRecipe, searchesScales: scaleSearch)
    } catch {
      throw ValidationError(error.description)
    }
  }

  func run() throws {
    let checkpoint = try Checkpoint(path: FilePath(input.input))
    let (tensors, seconds) = try report.withProgress("Quantizing", done: "Quantized") { progress in
      try report.converter(output, onProgress: progress).quantize(
        checkpoint, to: FilePath(output.output), scheme: scheme, layout: chosenLayout,
        recipe: chosenRecipe, selection: TensorSelection(include: include, exclude: exclude),
        searchesScales: scaleSearch)
    }
    try ConversionSummary(
      command: "quantize", output: output.output, tensors: tensors, seconds: seconds,
      details: [
        ("scheme", scheme.rawValue), ("layout", chosenLayout.rawValue),
        ("recipe", chosenRecipe.rawValue),
      ]
    ).print(report)
  }
}
