// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
import Checkpoints
import Llama
import Safetensors
import SystemPackage

/// What was measured of one step.
struct StepRecord: Sendable, Hashable {
  var loss: Double
  var gradientNorm: Double
  var learningRate: Double
  var seconds: Double
}

/// A model that is trained under one recipe.
struct TrainingArm {
  let recipe: TrainingRecipe
  var trainer: Trainer<CPUBackend>
  /// One for each step taken.
  var records: [StepRecord]

  var curve: LossCurve { LossCurve(name: recipe.rawValue, losses: records.map(\.loss)) }

  /// Tokens a second, from the median step: a machine that pauses says nothing of the recipe.
  var tokensPerSecond: Double {
    let seconds = records.map(\.seconds).sorted()
    guard !seconds.isEmpty else { return .nan }
    return Double(trainer.options.tokensPerStep) / seconds[seconds.count / 2]
  }

  mutating func step() throws(LlamaError) {
    let start = ContinuousClock.now
    let report = try trainer.step()
    records.append(
      StepRecord(
        loss: report.loss, gradientNorm: report.gradientNorm, learningRate: report.learningRate,
        seconds: start.duration(to: .now) / .seconds(1)))
  }
}

/// The names in the folder of a training run.
struct TrainingFolder {
  let path: FilePath

  /// The state of an arm.
  func checkpoint(_ recipe: TrainingRecipe) -> FilePath {
    path.appending("\(recipe.rawValue).training.safetensors")
  }

  /// What was measured, step by step.
  var losses: FilePath { path.appending("loss.csv") }
  var lossPicture: FilePath { path.appending("loss.svg") }
  var throughputPicture: FilePath { path.appending("throughput.svg") }
  var noisePicture: FilePath { path.appending("sqnr.svg") }
  var report: FilePath { path.appending("report.json") }

  /// A trained model in Hugging Face's form.
  func model(_ name: String) -> FilePath { path.appending(name) }

  /// What is in a folder.
  enum State {
    case empty
    case run
    case other
  }

  /// What is in the folder, which is there.
  var state: State {
    get throws {
      let names = try fileNames(in: path)
      // The first thing that a run writes.
      let isRun = names.contains { $0.hasPrefix(losses.lastComponent?.string ?? "") }
      return names.isEmpty ? .empty : isRun ? .run : .other
    }
  }

  /// The names of the models: the trained ones, and those quantized with and without a search.
  static let quantized = (plain: "nvfp4", searched: "nvfp4-scale-search")

  /// The models that a run has in the folder.
  var models: [FilePath] {
    get throws {
      try modelNames.map(model).filter { try FileKind(of: $0) != .missing }
    }
  }

  private var modelNames: [String] {
    TrainingRecipe.allCases.map(\.rawValue) + [Self.quantized.plain, Self.quantized.searched]
  }

  /// Makes the folder, or removes the files of the run in it.
  func clear() throws {
    guard try FileKind(of: path) != .missing else { return try makeFolder(path) }
    // The table of losses last: it tells that this is the folder of a run.
    for item in TrainingRecipe.allCases.map(checkpoint) + modelNames.map(model)
      + [lossPicture, throughputPicture, noisePicture, report, losses]
    where try FileKind(of: item) != .missing {
      try removeItem(item)
    }
  }
}

/// Some arms that begin with the same weights and see the same text in the same order.
struct TrainingRun {
  let folder: TrainingFolder
  var arms: [TrainingArm]

  /// The steps that are still to be taken, of all arms together.
  var remainingSteps: Int {
    arms.reduce(0) { $0 + $1.trainer.options.steps - $1.trainer.stepCount }
  }

  /// Begins anew.
  init(
    folder: TrainingFolder, configuration: LlamaConfiguration,
    options: [(recipe: TrainingRecipe, options: TrainingOptions)], data: TrainingData,
    on cpu: CPUBackend
  ) throws {
    self.folder = folder
    arms = try options.map { recipe, options in
      TrainingArm(
        recipe: recipe, trainer: try Trainer(configuration, options, data, on: cpu), records: [])
    }
  }

  /// Goes on with the runs that a folder holds.
  ///
  /// An arm that was never saved begins anew.
  ///
  /// - Throws: ``CommandError`` if they were begun with another model or other options, or if what
  ///   was measured is missing.
  init(
    resuming folder: TrainingFolder, configuration: LlamaConfiguration,
    options: [(recipe: TrainingRecipe, options: TrainingOptions)], data: TrainingData,
    on cpu: CPUBackend
  ) throws {
    self.folder = folder
    guard let bytes = try readFile(at: folder.losses) else {
      throw CommandError("\(folder.losses): there is no run to go on with.")
    }
    let table = try LossTable(csv: bytes, path: folder.losses)
    let names = options.map(\.recipe.rawValue)
    guard table.names == names else {
      throw CommandError(
        "\(folder.losses): the run was begun with the recipes \(table.names.joined(separator: ", ")), "
          + "not \(names.joined(separator: ", ")); --resume needs the same command.")
    }
    arms = try options.map { recipe, options in
      let path = folder.checkpoint(recipe)
      switch try FileKind(of: path) {
      case .file: break
      case .folder: throw CommandError("\(path): is a folder, not the state of a run.")
      case .missing:
        return TrainingArm(
          recipe: recipe, trainer: try Trainer(configuration, options, data, on: cpu), records: [])
      }
      let trainer = try Trainer(resuming: path, data, on: cpu)
      let stored = trainer.model.configuration
      guard stored.parameters == configuration.parameters, stored.heads == configuration.heads
      else {
        throw CommandError(
          "\(path): the run was begun with a model of \(stored.summary), not of "
            + "\(configuration.summary).")
      }
      guard trainer.options == options else {
        throw CommandError(
          "\(path): the run was begun with other options; --resume needs the same command.")
      }
      return TrainingArm(
        recipe: recipe, trainer: trainer,
        records: try table.records(recipe, count: trainer.stepCount))
    }
  }

  /// Refuses a text of which too little is kept for evaluation, before anything is trained.
  func checkEvaluation(_ data: TrainingData) throws(CommandError) {
    let length = arms[0].trainer.options.length
    guard data.evaluation.count > length else {
      throw CommandError(
        "The text leaves \(data.evaluation.count) tokens for evaluation, which is less than one "
          + "sequence of \(length + 1).")
    }
  }

  /// Takes one step with the arm that has taken the fewest.
  ///
  /// Arms take turns, so that all see the same machine.
  ///
  /// - Returns: The arm.
  mutating func step() throws(CommandError) -> TrainingArm {
    let next = arms.indices.min { arms[$0].trainer.stepCount < arms[$1].trainer.stepCount }
    guard let next, !arms[next].trainer.isFinished else {
      preconditionFailure("All arms have taken all their steps")
    }
    do throws(LlamaError) {
      try arms[next].step()
    } catch {
      throw CommandError("\(arms[next].recipe.rawValue): \(error.description)")
    }
    return arms[next]
  }

  /// Saves the state of all arms; what was there is replaced file by file, each when it is whole.
  func save() throws {
    // First, so that no state is without its past.
    try writeFileAtomically(LossTable(arms).csv, to: folder.losses)
    for arm in arms { try arm.trainer.save(to: folder.checkpoint(arm.recipe)) }
  }

  /// Saves a trained model in Hugging Face's form.
  func saveModel(_ arm: TrainingArm, _ tokenizer: ModelTokenizer, on cpu: CPUBackend) throws {
    let target = folder.model(arm.recipe.rawValue)
    try arm.trainer.weights.save(to: target, arm.trainer.model.configuration, on: cpu)
    if let file = tokenizer.file {
      try writeFileAtomically(file, to: target.appending("tokenizer.json"))
    }
  }
}

extension LlamaConfiguration {
  /// The model's shape in a few words.
  var summary: String {
    "\(layerCount) \(layerCount == 1 ? "layer" : "layers") of \(hiddenSize) and "
      + "\(intermediateSize), \(heads.count) heads on \(heads.keyValueCount), "
      + "\(vocabularySize) tokens" + (tiesHead ? ", tied head" : "")
  }
}
