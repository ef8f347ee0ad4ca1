// SPDX-License-Identifier: Apache-2.0

public import ArgumentParser
import BlockScale
import BlockScaleCPU
import BlockScaleLayers
import Checkpoints
public import Llama
import SystemPackage

extension TrainingRecipe: ExpressibleByArgument {}

struct TrainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "train",
    abstract: "Train a small Llama in FP8 beside BF16, quantize it to NVFP4 and compare.",
    discussion: """
      Every recipe begins with the same weights and sees the same text in the same order; they take \
      turns step by step. The output is a folder with the trained models in Hugging Face's form, \
      the last one quantized to NVFP4 as well, the losses as CSV and SVG, and a report in JSON. \
      Ctrl-C saves the state, and the same command with --resume goes on, bit for bit as if it had \
      not been interrupted.

      Example: blockscale train --recipe fp8 --recipe coat --steps 1000
      """)

  @OptionGroup(title: "Text") var text: TextOptions
  @OptionGroup(title: "Model") var shape: ShapeOptions
  @OptionGroup(title: "Training") var training: TrainingArguments

  @Option(
    name: [.short, .long], help: ArgumentHelp("Write to this folder.", valueName: "folder"),
    completion: .directory)
  var output = "blockscale-train"

  @Flag(name: .long, help: "Go on with the interrupted run in the output folder.")
  var resume = false

  @Flag(name: .long, help: "Replace the run in the output folder.")
  var overwrite = false

  @OptionGroup var report: ReportOptions

  func validate() throws {
    if resume && overwrite {
      throw ValidationError("--resume goes on with what --overwrite replaces; give one of them.")
    }
    guard !output.isEmpty else { throw ValidationError("--output must name a folder.") }
    try training.checkPlan(shape.configuration(vocabularySize: 256, length: training.length))
  }

  func run() throws {
    keepFreedMemory()
    let folder = TrainingFolder(path: FilePath(output))
    try checkOutput(folder)
    let tokenizer = try text.tokenizer.map { try ModelTokenizer(file: FilePath($0)) } ?? .bytes
    let data = try text.data(tokenizer)
    let configuration = try shape.configuration(
      vocabularySize: tokenizer.tokenizer.vocabularySize, length: training.length)
    let options = try training.arms
    let cpu = CPUBackend(threads: report.jobs)
    var run =
      resume
      ? try TrainingRun(
        resuming: folder, configuration: configuration, options: options, data: data, on: cpu)
      : try TrainingRun(
        folder: folder, configuration: configuration, options: options, data: data, on: cpu)
    try run.checkEvaluation(data)

    let interrupt = InterruptFlag()
    interrupt.install(notice: "Stopping when this step is saved; once more stops at once.")
    if !resume {
      try folder.clear()
      // A disk that is full, or refuses, is to be known before anything is trained.
      try run.save()
    }
    try take(&run, interrupt)
    let session = TrainingSession(
      run: run, data: data, tokenizer: tokenizer, cpu: cpu, jobs: report.jobs,
      prompt: text.text == nil ? "Ada sold " : "…")
    let result = try session.finish { if interrupt.isRaised { throw stopped(interrupt) } }
    let terminal = Terminal.standardOutput
    if report.json {
      try terminal.writeResult(JSONOutput.text(command: "train", result.json))
    } else if !report.quiet {
      try terminal.writeResult(
        result.text(width: terminal.isTerminal ? terminal.width : 80, color: terminal.usesColor))
    }
  }

  /// Refuses to mix a new run with what is not one.
  private func checkOutput(_ folder: TrainingFolder) throws {
    switch try FileKind(of: folder.path) {
    case .missing: break
    case .file: throw CommandError("\(output): is a file, not the folder of a run.")
    case .folder:
      let state = try folder.state
      guard resume || overwrite || state == .empty else {
        throw CommandError(
          state == .run
            ? "\(output) is there already: --resume goes on with the run in it, --overwrite "
              + "replaces it."
            : "\(output) holds other things than a run; --output names another folder.")
      }
      guard !overwrite || state != .other else {
        throw CommandError("\(output) holds no run that could be replaced.")
      }
    }
  }

  /// Says how to go on, all being saved.
  private func stopped(_ interrupt: InterruptFlag) -> ExitCode {
    Terminal.standardError.write(
      "Saved in '\(output)'; the same command with --resume goes on.\n")
    return ExitCode(interrupt.exitCode)
  }

  /// Takes all steps that are left; saves now and then, at the end, and when interrupted.
  private func take(_ run: inout TrainingRun, _ interrupt: InterruptFlag) throws {
    let terminal = Terminal.standardError
    let reporter = ProgressReporter(
      mode: ProgressReporter.Mode(
        isTerminal: terminal.isTerminal, quiet: report.quiet, noProgress: report.noProgress),
      terminal: terminal, total: run.remainingSteps,
      unit: .steps(tokens: run.arms[0].trainer.options.tokensPerStep), verb: "Training")
    var latest: [String: Double] = [:]
    do {
      while run.remainingSteps > 0 {
        let arm = try run.step()
        latest[arm.recipe.rawValue] = arm.records.last?.loss
        let losses = run.arms.compactMap { arm in
          latest[arm.recipe.rawValue].map {
            "\(arm.recipe.rawValue) \(DecimalText.fixed($0, digits: 4))"
          }
        }
        reporter.advance(by: 1, item: "loss \(losses.joined(separator: ", "))")
        let step = arm.trainer.stepCount
        let isTurn = run.arms.allSatisfy { $0.trainer.stepCount == step }
        let isDue = training.checkpointEvery > 0 && step % training.checkpointEvery == 0
        if interrupt.isRaised || isTurn && isDue && run.remainingSteps > 0 { try run.save() }
        if interrupt.isRaised {
          reporter.abandon()
          throw stopped(interrupt)
        }
      }
      try run.save()
      reporter.finish("Trained \(run.arms.map(\.recipe.rawValue).joined(separator: " and "))")
    } catch {
      reporter.abandon()
      throw error
    }
  }
}

/// What a model is trained on.
struct TextOptions: ParsableArguments {
  @Option(
    name: .long,
    help: ArgumentHelp(
      "Train on this text instead of a generated one.", valueName: "file"), completion: .file())
  var text: String?

  @Option(
    name: .long,
    help: ArgumentHelp(
      "The tokens of this file instead of bytes.", valueName: "tokenizer.json"),
    completion: .file(extensions: ["json"]))
  var tokenizer: String?

  @Option(name: .long, help: "The bytes of the generated text.")
  var textBytes = 1 << 20

  @Option(name: .long, help: "The share of the text that is kept for evaluation.")
  var evaluationShare = 0.05

  func validate() throws {
    guard (1...1 << 32).contains(textBytes) else {
      throw ValidationError("--text-bytes must be between 1 and \(1 << 32).")
    }
    guard evaluationShare > 0, evaluationShare < 1 else {
      throw ValidationError("--evaluation-share must lie between 0 and 1.")
    }
  }

  func data(_ tokenizer: ModelTokenizer) throws -> TrainingData {
    let bytes: [UInt8]
    if let text {
      bytes = try readInput(FilePath(text))
    } else {
      bytes = GeneratedText(seed: 1).bytes(textBytes)
    }
    return try TrainingData(
      tokenizer.tokenizer.encode(bytes, addsSpecialTokens: false),
      evaluationShare: evaluationShare)
  }
}

/// The size of a model.
struct ShapeOptions: ParsableArguments {
  @Option(name: .long, help: "The width of the residual stream.")
  var hidden = 256

  @Option(name: .long, help: "The number of layers.")
  var layers = 4

  @Option(name: .long, help: "The number of attention heads.")
  var heads = 4

  @Option(name: .long, help: "The number of key and value heads (default: half of the heads).")
  var keyValueHeads: Int?

  @Option(name: .long, help: "The width of the MLP (default: three times the hidden width).")
  var intermediate: Int?

  @Flag(name: .long, help: "Use the embedding as the head.")
  var tieHead = false

  func validate() throws {
    for (name, value) in [
      ("hidden", hidden), ("layers", layers), ("heads", heads),
      ("key-value-heads", keyValueHeads ?? 1), ("intermediate", intermediate ?? 1),
    ] where !Self.sizes.contains(value) {
      throw ValidationError(
        "--\(name) must be between \(Self.sizes.lowerBound) and \(Self.sizes.upperBound).")
    }
    // The weights are quantized to NVFP4 in the end.
    for (name, value) in [("hidden", hidden), ("intermediate", intermediate ?? 16)]
    where value % 16 != 0 {
      throw ValidationError("--\(name) \(value) does not divide into NVFP4's blocks of 16.")
    }
    guard hidden % heads == 0, hidden / heads % 2 == 0 else {
      throw ValidationError(
        "--hidden \(hidden) does not divide into \(heads) heads of an even width.")
    }
    guard heads % sharedHeads == 0 else {
      throw ValidationError(
        "--heads \(heads) cannot share \(sharedHeads) key and value heads evenly.")
    }
  }

  /// Products of two of these are far from overflowing.
  private static let sizes = 1...1 << 20

  private var sharedHeads: Int { keyValueHeads ?? max(1, heads / 2) }

  func configuration(vocabularySize: Int, length: Int) throws -> LlamaConfiguration {
    LlamaConfiguration(
      vocabularySize: vocabularySize, hiddenSize: hidden,
      intermediateSize: intermediate ?? 3 * hidden, layerCount: layers,
      heads: try AttentionHeads(
        count: heads, keyValueCount: sharedHeads,
        dimension: hidden / heads),
      // As long as what it was trained on, so that nobody asks more of it.
      maximumPositions: length, tiesHead: tieHead)
  }
}

/// How a model is trained.
struct TrainingArguments: ParsableArguments {
  @Option(
    name: .long, parsing: .singleValue,
    help: ArgumentHelp(
      "Train in fp8 (blocks) or coat (its flow and moments) beside bf16; may be repeated.",
      discussion: "By default fp8; bf16 trains nothing else.", valueName: "recipe"))
  var recipe: [TrainingRecipe] = []

  @Option(
    name: .long, parsing: .singleValue,
    help: ArgumentHelp(
      "Numerics of the linear layers whose names match; may be repeated.",
      discussion: "Such as 'model.layers.0.*=bf16'; for all recipes but bf16.",
      valueName: "pattern=precision"))
  var plan: [String] = []

  @Option(name: .long, help: "The number of optimizer steps.")
  var steps = 200

  @Option(name: .long, help: "The sequences of a step.")
  var batch = 16

  @Option(name: .long, help: "The sequences that are computed at once (default: the batch).")
  var microBatch: Int?

  @Option(name: .long, help: "The tokens of a sequence.")
  var length = 128

  @Option(name: .long, help: "The largest learning rate.")
  var learningRate = 1e-3

  @Option(name: .long, help: "The steps until it is reached (default: a tenth of the steps).")
  var warmup: Int?

  @Option(name: .long, help: "The last learning rate over the largest, at the end of a cosine.")
  var finalShare = 0.1

  @Option(name: .long, help: "AdamW's weight decay.")
  var weightDecay: Float = 0.1

  @Option(name: .long, help: "The norm that gradients are clipped to.")
  var clip = 1.0

  @Option(name: .long, help: "What weights and the order of the text follow from.")
  var seed: UInt64 = 0

  @Option(name: .long, help: "Save the state every so many steps; 0 only at the end.")
  var checkpointEvery = 50

  func validate() throws {
    guard checkpointEvery >= 0 else {
      throw ValidationError("--checkpoint-every must not be negative.")
    }
    for arm in try arms {
      do throws(LlamaError) {
        try arm.options.check()
      } catch {
        throw ValidationError(error.description)
      }
    }
  }

  /// Refuses rules that no layer of the model follows.
  func checkPlan(_ configuration: LlamaConfiguration) throws {
    let names = configuration.linearNames
    for (rule, text) in zip(try rules, plan) where !names.contains(where: rule.matches) {
      throw ValidationError(
        "--plan '\(text)' matches no linear layer; they are named as '\(names[0])' and 'lm_head'.")
    }
  }

  private var rules: [PrecisionPlan.Rule] {
    get throws {
      try plan.map { text in
        guard let equals = text.lastIndex(of: "="),
          let precision = LinearPrecision(String(text[text.index(after: equals)...]))
        else {
          throw ValidationError(
            "--plan '\(text)' is not of the form PATTERN=PRECISION with bf16, fp8-block, fp8-tensor or "
              + "nvfp4 for the precision.")
        }
        return PrecisionPlan.Rule(String(text[..<equals]), precision)
      }
    }
  }

  /// BF16 first, then the others, each once.
  var arms: [(recipe: TrainingRecipe, options: TrainingOptions)] {
    get throws {
      let asked = recipe.isEmpty ? [.fp8] : recipe
      let recipes = [.bf16] + TrainingRecipe.allCases.filter { $0 != .bf16 && asked.contains($0) }
      return try recipes.map { recipe in
        var options = TrainingOptions(
          recipe: recipe, steps: steps, sequences: batch, length: length, microBatch: microBatch,
          schedule: LearningRateSchedule(
            peak: learningRate, warmupSteps: warmup ?? max(1, steps / 10), finalShare: finalShare),
          optimizer: AdamW(beta2: 0.95, weightDecay: weightDecay), clipNorm: clip, seed: seed)
        if recipe != .bf16 { options.plan.rules.insert(contentsOf: try rules, at: 0) }
        return (recipe, options)
      }
    }
  }
}
