// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
import Checkpoints
import Foundation
import Llama
import SystemPackage
import Testing

@testable import BlockScaleCommands

@Suite struct TrainingRunTests {
  static func configuration(ties: Bool = false) throws -> LlamaConfiguration {
    LlamaConfiguration(
      vocabularySize: 256, hiddenSize: 32, intermediateSize: 64, layerCount: 1,
      heads: try AttentionHeads(count: 2, keyValueCount: 1, dimension: 16), maximumPositions: 16,
      tiesHead: ties)
  }

  static func data(share: Double = 0.1, seed: UInt64 = 7) throws -> TrainingData {
    try TrainingData(
      ByteTokenizer().encode(GeneratedText(seed: seed).bytes(3000), addsSpecialTokens: false),
      evaluationShare: share)
  }

  static func options(
    _ recipes: [TrainingRecipe] = [.bf16, .coat], change: (inout TrainingOptions) -> Void = { _ in }
  ) -> [(recipe: TrainingRecipe, options: TrainingOptions)] {
    recipes.map { recipe in
      var options = TrainingOptions(recipe: recipe, steps: 6, sequences: 2, length: 16)
      change(&options)
      return (recipe, options)
    }
  }

  static func run(_ folder: TrainingFolder) throws -> TrainingRun {
    try TrainingRun(
      folder: folder, configuration: configuration(), options: options(), data: data(),
      on: CPUBackend(threads: 2))
  }

  static func resumed(
    _ folder: TrainingFolder, ties: Bool = false, data: TrainingData? = nil,
    options: [(recipe: TrainingRecipe, options: TrainingOptions)] = options()
  ) throws -> TrainingRun {
    try TrainingRun(
      resuming: folder, configuration: configuration(ties: ties), options: options,
      data: data ?? Self.data(), on: CPUBackend(threads: 1))
  }

  /// Everything but the seconds.
  static func measures(_ run: TrainingRun) -> [[Double]] {
    run.arms.map { $0.records.flatMap { [$0.loss, $0.gradientNorm, $0.learningRate] } }
  }

  @Test func aResumedRunIsTheSame() throws {
    let place = TemporaryPlace()
    let (whole, cut) = (
      TrainingFolder(path: place.path.appending("whole")),
      TrainingFolder(path: place.path.appending("cut"))
    )
    var undisturbed = try Self.run(whole)
    try whole.clear()
    while undisturbed.remainingSteps > 0 { _ = try undisturbed.step() }
    try undisturbed.save()

    var run = try Self.run(cut)
    try cut.clear()
    // The first save, and one between the turns of two arms.
    try run.save()
    run = try Self.resumed(cut)
    #expect(run.remainingSteps == 12)
    for _ in 0..<5 { _ = try run.step() }
    #expect(run.arms.map(\.trainer.stepCount) == [3, 2])
    try run.save()
    // These are lost when the run is killed, the table of losses being saved first.
    for _ in 0..<4 { _ = try run.step() }
    try writeFileAtomically(LossTable(run.arms).csv, to: cut.losses)
    run = try Self.resumed(cut)
    #expect(run.arms.map(\.records.count) == [3, 2])
    while run.remainingSteps > 0 { _ = try run.step() }
    try run.save()
    #expect(Self.measures(run) == Self.measures(undisturbed))
    #expect(Self.measures(run)[0].count == 18)
    for recipe in [TrainingRecipe.bf16, .coat] {
      let states = try [whole, cut].map { try readFile(at: $0.checkpoint(recipe)) }
      #expect(states[0] != nil && states[0] == states[1])
    }
    // A finished run can be resumed and has nothing left to do.
    #expect(try Self.resumed(cut).remainingSteps == 0)
  }

  @Test func anArmThatWasNeverSavedBeginsAnew() throws {
    let place = TemporaryPlace()
    let folder = TrainingFolder(path: place.path.appending("run"))
    var run = try Self.run(folder)
    try folder.clear()
    for _ in 0..<12 { _ = try run.step() }
    try run.save()
    let state = try readFile(at: folder.checkpoint(.coat))
    try removeItem(folder.checkpoint(.coat))
    var again = try Self.resumed(folder)
    #expect(again.arms.map(\.trainer.stepCount) == [6, 0])
    while again.remainingSteps > 0 { _ = try again.step() }
    try again.save()
    #expect(try readFile(at: folder.checkpoint(.coat)) == state)
    #expect(Self.measures(again) == Self.measures(run))
  }

  @Test func anotherCommandIsRefused() throws {
    let place = TemporaryPlace()
    let folder = TrainingFolder(path: place.path.appending("run"))
    var run = try Self.run(folder)
    try folder.clear()
    _ = try run.step()
    try run.save()
    func refuses(_ text: String, _ body: () throws -> TrainingRun) {
      do {
        _ = try body()
        Issue.record("Not refused: \(text)")
      } catch {
        #expect("\(error)".contains(text), "\(error)")
      }
    }
    refuses("with other options") {
      try Self.resumed(folder, options: Self.options { $0.steps = 7 })
    }
    refuses("with other options") {
      try Self.resumed(folder, options: Self.options { $0.plan.rules.removeAll() })
    }
    refuses("tied head") { try Self.resumed(folder, ties: true) }
    refuses("with another text") { try Self.resumed(folder, data: Self.data(seed: 8)) }
    // The same text, cut elsewhere, gives other sequences.
    refuses("with another text") { try Self.resumed(folder, data: Self.data(share: 0.2)) }
    refuses("recipes bf16, coat, not bf16;") {
      try Self.resumed(folder, options: Self.options([.bf16]))
    }
    refuses("not bf16, fp8, coat;") {
      try Self.resumed(folder, options: Self.options([.bf16, .fp8, .coat]))
    }
    let state = try #require(try readFile(at: folder.checkpoint(.coat)))
    for count in [0, 5, 300, state.count - 1] {
      try Data(state.prefix(count)).write(
        to: URL(fileURLWithPath: folder.checkpoint(.coat).string))
      refuses("coat.training.safetensors") { try Self.resumed(folder) }
    }
    try writeFileAtomically(Array("step\n".utf8), to: folder.losses)
    refuses("loss.csv") { try Self.resumed(folder) }
    try removeItem(folder.losses)
    refuses("no run to go on with") { try Self.resumed(folder) }
  }

  @Test func foldersAreToldApart() throws {
    let place = TemporaryPlace()
    let folder = TrainingFolder(path: place.path.appending("run"))
    let run = try Self.run(folder)
    try folder.clear()
    #expect(try folder.state == .empty)
    try run.save()
    #expect(try folder.state == .run)
    try writeFileAtomically([1], to: folder.path.appending("notes"))
    try folder.clear()
    // What no run writes stays.
    #expect(try fileNamesSorted(folder.path) == ["notes"])
    #expect(try folder.state == .other)
  }

  @Test func aShortEvaluationIsRefusedFirst() throws {
    let place = TemporaryPlace()
    let run = try Self.run(TrainingFolder(path: place.path.appending("run")))
    let tokens = [Int32](repeating: 65, count: 160)
    #expect(throws: CommandError.self) {
      try run.checkEvaluation(TrainingData(tokens, evaluationShare: 0.1))
    }
    try run.checkEvaluation(TrainingData(tokens + tokens, evaluationShare: 0.1))
  }

  private func fileNamesSorted(_ path: FilePath) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: path.string).sorted()
  }
}

@Suite struct LossTableTests {
  static let path = FilePath("loss.csv")

  @Test func readsWhatItWrote() throws {
    let place = TemporaryPlace()
    let folder = TrainingFolder(path: place.path)
    var run = try TrainingRunTests.run(folder)
    let empty = LossTable(run.arms)
    #expect(try LossTable(csv: empty.csv, path: Self.path).names == ["bf16", "coat"])
    for _ in 0..<3 { _ = try run.step() }
    let table = try LossTable(csv: LossTable(run.arms).csv, path: Self.path)
    #expect(table.csv == LossTable(run.arms).csv)
    #expect(try table.records(.bf16, count: 2) == run.arms[0].records)
    #expect(try table.records(.coat, count: 1) == run.arms[1].records)
    #expect(throws: CommandError.self) { try table.records(.coat, count: 2) }
    #expect(throws: CommandError.self) { try table.records(.fp8, count: 1) }
  }

  @Test(arguments: [
    ("", 1), ("\n", 1), ("step,bf16_loss\n", 1), ("stop,a_loss,a_b,a_c,a_d\n", 1),
    ("step,a_loss,b_gradient_norm,a_learning_rate,a_seconds\n", 1), ("HEAD\n1,1,2,3\n", 2),
    ("HEAD\n1,1,2,3,4\n3,1,2,3,4\n", 3), ("HEAD\n1,1,2,3,x\n", 2), ("HEAD\n1,1,2,,4\n", 2),
    ("HEAD\n1,,,,\n2,1,2,3,4\n", 3), ("HEAD\n1,1,2,3,4,5\n", 2),
  ])
  func refusesOthers(_ text: String, _ line: Int) throws {
    let text = text.replacing(
      "HEAD", with: "step,bf16_loss,bf16_gradient_norm,bf16_learning_rate,bf16_seconds")
    let error = #expect(throws: CommandError.self) {
      try LossTable(csv: Array(text.utf8), path: Self.path)
    }
    #expect(error?.description == "loss.csv: line \(line) is none of a table of losses.")
  }
}

/// A folder that goes with its owner.
final class TemporaryPlace {
  let path: FilePath

  init() {
    path = FilePath(
      FileManager.default.temporaryDirectory.appendingPathComponent(
        "commands-tests-\(UUID().uuidString)"
      ).path)
    try! FileManager.default.createDirectory(
      atPath: path.string, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path.string) }
}
