// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
import BlockScaleLayers
import Foundation
import Minifloat
import RealModule
import Safetensors
import SystemPackage
import Testing
import _BlockScaleTestSupport

@testable import Llama

@Suite struct TrainerTests {
  static func configuration(ties: Bool = false) throws -> LlamaConfiguration {
    LlamaConfiguration(
      vocabularySize: 128, hiddenSize: 64, intermediateSize: 160, layerCount: 2,
      heads: try AttentionHeads(count: 4, keyValueCount: 2, dimension: 16), maximumPositions: 128,
      tiesHead: ties)
  }

  static let data = try! TrainingData(
    // ASCII, and longer than a sequence.
    ByteTokenizer().encode(GeneratedText(seed: 7).bytes(60_000), addsSpecialTokens: false))

  static func options(_ recipe: TrainingRecipe, steps: Int) -> TrainingOptions {
    TrainingOptions(
      recipe: recipe, steps: steps, sequences: 8, length: 64, microBatch: 4,
      schedule: LearningRateSchedule(peak: 5e-3, warmupSteps: 5), seed: 3)
  }

  @Test(arguments: TrainingRecipe.allCases, [false, true])
  func theLossFalls(_ recipe: TrainingRecipe, _ ties: Bool) throws {
    var trainer = try Trainer(
      Self.configuration(ties: ties), Self.options(recipe, steps: 140), Self.data,
      on: CPUBackend())
    let first = try trainer.evaluationLoss(sequences: 16)
    #expect(abs(first - Double.log(128)) < 0.2)
    var last = 0.0
    while !trainer.isFinished { last = try trainer.step().loss }
    let evaluation = try trainer.evaluationLoss(sequences: 16)
    // One table for both ends learns more slowly.
    let bound = Self.data.unigramEntropy - (ties ? 0.3 : 1)
    #expect(last < bound, "\(last)")
    #expect(evaluation < bound, "\(evaluation)")
  }

  @Test func aTiedHeadHasBothGradients() throws {
    let (tied, apart) = try (Self.configuration(ties: true), Self.configuration())
    let weights = ParameterStore(for: tied, seed: 1)
    var others = ParameterStore(for: apart, seed: 1)
    for parameter in weights.parameters { others[parameter.name] = weights[parameter.name] }
    others["lm_head.weight"] = weights["model.embed_tokens.weight"]
    let batch = try TokenBatch([Array(Self.data.training[..<65])])
    var gradients = ParameterStore(zerosFor: tied)
    var otherGradients = ParameterStore(zerosFor: apart)
    gradients.clear()
    let loss = try LlamaModel(tied, weights: weights, plan: .bfloat16, on: CPUBackend())
      .loss(batch, addingGradientsTo: &gradients)
    let otherLoss = try LlamaModel(apart, weights: others, plan: .bfloat16, on: CPUBackend())
      .loss(batch, addingGradientsTo: &otherGradients)
    #expect(loss == otherLoss)
    let sums = zip(
      otherGradients["model.embed_tokens.weight"].values, otherGradients["lm_head.weight"].values
    ).map { Double($0) + Double($1) }
    let both = gradients["model.embed_tokens.weight"].values.map { Double($0) }
    #expect(decibels(both, against: sums) > 100)
    let name = "model.layers.0.mlp.gate_proj.weight"
    #expect(gradients[name] == otherGradients[name])
  }

  @Test func recipesFollowEachOther() throws {
    let losses = try TrainingRecipe.allCases.map { recipe in
      var options = Self.options(recipe, steps: 40)
      options.schedule.peak = 1e-3
      var trainer = try Trainer(Self.configuration(), options, Self.data, on: CPUBackend())
      return try (0..<40).map { _ in try trainer.step().loss }
    }
    #expect(losses[0] != losses[1] && losses[0] != losses[2])
    for other in losses.dropFirst() {
      #expect(abs(other[39] - losses[0][39]) < 0.01 * losses[0][39], "\(other[39]) \(losses[0])")
    }
  }

  @Test(arguments: MomentFormat.allCases)
  func aResumedRunIsTheSame(_ moments: MomentFormat) throws {
    var options = Self.options(moments == .float8 ? .coat : .fp8, steps: 6)
    options.moments = moments
    options.plan.rules.insert(.init("*.down_proj", .nvfp4), at: 0)
    let configuration = try Self.configuration()
    var whole = try Trainer(configuration, options, Self.data, on: CPUBackend())
    let folder = TemporaryPlace()
    let path = folder.path.appending("run.safetensors")
    var reports: [Trainer<CPUBackend>.StepReport] = []
    for step in 1...6 {
      reports.append(try whole.step())
      if step == 3 { try whole.save(to: path) }
    }
    // What a killed run leaves under the other name changes nothing.
    try Data([1, 2, 3]).write(to: URL(fileURLWithPath: "\(path).partial"))
    var resumed = try Trainer(resuming: path, Self.data, on: CPUBackend())
    #expect(resumed.stepCount == 3 && resumed.options.json == options.json)
    for step in 4...6 { #expect(try resumed.step() == reports[step - 1]) }
    #expect(resumed.weights == whole.weights && resumed.isFinished)
    try resumed.save(to: path)
    #expect(!FileManager.default.fileExists(atPath: "\(path).partial"))
  }

  @Test func whatDoesNotBelongIsRefused() throws {
    let folder = TemporaryPlace()
    let path = folder.path.appending("run.safetensors")
    let trainer = try Trainer(
      Self.configuration(), Self.options(.bf16, steps: 2), Self.data, on: CPUBackend())
    try trainer.save(to: path)
    let other = try TrainingData(
      ByteTokenizer().encode(GeneratedText(seed: 8).bytes(9000), addsSpecialTokens: false))
    #expect(throws: LlamaError.self) { try Trainer(resuming: path, other, on: CPUBackend()) }
    let bytes = try Data(contentsOf: URL(fileURLWithPath: path.string))
    try bytes.dropLast(5).write(to: URL(fileURLWithPath: path.string))
    #expect(throws: (any Error).self) {
      try Trainer(resuming: path, Self.data, on: CPUBackend())
    }
    let short = try TrainingData(
      ByteTokenizer().encode(GeneratedText(seed: 8).bytes(100), addsSpecialTokens: false))
    var options = Self.options(.bf16, steps: 2)
    options.length = 5000
    let error = #expect(throws: LlamaError.self) {
      try Trainer(Self.configuration(), options, short, on: CPUBackend())
    }
    #expect(error?.description.contains("less than one sequence") == true)
    options = Self.options(.bf16, steps: 2)
    options.microBatch = 3
    #expect(throws: LlamaError.self) {
      try Trainer(Self.configuration(), options, Self.data, on: CPUBackend())
    }
  }

  @Test(arguments: TrainingRecipe.allCases)
  func anOverflowingLayerIsNamed(_ recipe: TrainingRecipe) throws {
    let configuration = try Self.configuration()
    var weights = ParameterStore(for: configuration, seed: 1)
    // Finite, and so large that what it multiplies is not.
    let values = weights["model.layers.1.post_attention_layernorm.weight"].values.map { _ in
      Float.greatestFiniteMagnitude
    }
    weights["model.layers.1.post_attention_layernorm.weight"].values = values
    var trainer = try Trainer(
      configuration, Self.options(recipe, steps: 2), Self.data, weights: weights,
      on: CPUBackend())
    let error = #expect(throws: LlamaError.self) { try trainer.step() }
    #expect(error?.code == .nonFinite)
    let text = error?.description ?? ""
    #expect(text.hasPrefix("Step 1: model.layers.1.") && text.contains("NaN or an infinity"))
  }

  /// Weights that linear layers, normalizations and the embedding have; its last row is that of a byte
  /// that the text has not.
  static let poisoned = [
    ("model.layers.0.mlp.up_proj", 7), ("model.layers.1.input_layernorm", 7),
    ("model.layers.0.post_attention_layernorm", 7), ("model.norm", 7), ("lm_head", 7),
    ("model.embed_tokens", 128 * 64 - 1),
  ]

  @Test(arguments: poisoned, [Float.nan, .infinity])
  func aPoisonedWeightIsNamed(_ place: (module: String, index: Int), _ value: Float) throws {
    let configuration = try Self.configuration()
    var weights = ParameterStore(for: configuration, seed: 1)
    var model = try LlamaModel(
      configuration, weights: weights, plan: .bfloat16, on: CPUBackend())
    weights["\(place.module).weight"].values[place.index] = value
    func isNamed(_ error: LlamaError?) -> Bool {
      error?.code == .nonFinite
        && error?.description.hasPrefix("\(place.module): The weight") == true
    }
    // At the start, and after a step that made it so.
    let first = #expect(throws: LlamaError.self) {
      try LlamaModel(configuration, weights: weights, plan: .bfloat16, on: CPUBackend())
    }
    #expect(isNamed(first), "\(String(describing: first))")
    let second = #expect(throws: LlamaError.self) { try model.update(weights) }
    #expect(isNamed(second), "\(String(describing: second))")
  }

  @Test(arguments: MomentFormat.allCases)
  func aPoisonedStateIsRefused(_ moments: MomentFormat) throws {
    var options = Self.options(.bf16, steps: 3)
    options.moments = moments
    var trainer = try Trainer(Self.configuration(), options, Self.data, on: CPUBackend())
    _ = try trainer.step()
    let folder = TemporaryPlace()
    let path = folder.path.appending("run.safetensors")
    try trainer.save(to: path)
    _ = try Trainer(resuming: path, Self.data, on: CPUBackend())
    let file = try SafetensorsFile(path: path)
    let names = ["weight.lm_head.weight", "first.model.norm.weight", "second.lm_head.weight"]
    for name in names + (moments == .float8 ? ["second.lm_head.weight.scales"] : []) {
      let info = try file.tensor(named: name)
      let size = info.byteCount / info.elementCount
      let nan: [UInt8] = [1: [0x7F], 2: [0xC0, 0x7F], 4: [0, 0, 0xC0, 0x7F]][size] ?? []
      var bytes = try Data(contentsOf: URL(fileURLWithPath: path.string))
      let start = file.header.dataOffset + info.byteRange.lowerBound
      bytes.replaceSubrange(start..<start + size, with: nan)
      let other = folder.path.appending("poisoned.safetensors")
      try bytes.write(to: URL(fileURLWithPath: other.string))
      let error = #expect(throws: LlamaError.self) {
        try Trainer(resuming: other, Self.data, on: CPUBackend())
      }
      #expect(
        error?.description == "\(other): tensor '\(name)' holds a NaN or an infinity.")
    }
  }

  @Test func aDivergingRunStops() throws {
    var options = Self.options(.bf16, steps: 60)
    options.schedule = LearningRateSchedule(peak: 30, warmupSteps: 0)
    var trainer = try Trainer(Self.configuration(), options, Self.data, on: CPUBackend())
    let error = #expect(throws: LlamaError.self) {
      while !trainer.isFinished { _ = try trainer.step() }
    }
    let text = error?.description ?? ""
    #expect(error?.code == .diverged || error?.code == .nonFinite)
    #expect(text.hasPrefix("Step ") && (text.contains("model.") || text.contains("lm_head")))
  }

  @Test func theOrderOfSequencesIsAPermutation() throws {
    var order = try SequenceOrder(tokens: 101, length: 10, seed: 5)
    let first = (0..<10).map { order.start(of: $0) }
    let second = (10..<20).map { order.start(of: $0) }
    #expect(first.sorted() == (0..<10).map { $0 * 10 } && second.sorted() == first.sorted())
    #expect(first != second)
    var again = try SequenceOrder(tokens: 101, length: 10, seed: 5)
    #expect(again.start(of: 13) == second[3] && again.start(of: 2) == first[2])
  }

  @Test func theScheduleRisesAndFalls() {
    let schedule = LearningRateSchedule(peak: 2, warmupSteps: 4, finalShare: 0.25)
    let rates = (0..<20).map { schedule.rate(step: $0, of: 20) }
    #expect(rates.prefix(4) == [0.5, 1, 1.5, 2] && rates[4] == 2)
    #expect(abs(rates[19] - 0.5) < 1e-12)
    #expect(zip(rates[4...], rates[5...]).allSatisfy { $0 > $1 })
  }

  @Test func clippingBoundsTheStep() throws {
    // With moments that do not matter yet, the first step of AdamW does not depend on the norm; the
    // moments themselves tell.
    var options = Self.options(.bf16, steps: 1)
    options.moments = .float32
    options.clipNorm = 1e-3
    var trainer = try Trainer(Self.configuration(), options, Self.data, on: CPUBackend())
    let report = try trainer.step()
    #expect(report.gradientNorm > 0.01)
    guard case .float32(let states) = trainer.optimizer else { return }
    let sum = states.reduce(0.0) { $0 + CPUBackend().sumOfSquares($1.first.values) }
    // m = (1 − β₁)·g.
    #expect(abs(sum.squareRoot() - 1e-4) < 1e-7)
  }

  @Test func generatedTextIsAPrefixOfItself() throws {
    let text = GeneratedText(seed: 1)
    let long = text.bytes(5000)
    #expect(long.count >= 5000 && long.starts(with: text.bytes(1000)))
    #expect(long.allSatisfy { $0 < 128 } && GeneratedText(seed: 2).bytes(5000) != long)
    #expect(
      try ByteTokenizer().decode(ByteTokenizer().encode(long, addsSpecialTokens: false)) == long)
  }

  @Test func plansTakeTheFirstRule() {
    let plan = PrecisionPlan(rules: [
      .init("model.layers.0.*", .bfloat16), .init("*.mlp.*_proj", .nvfp4),
      .init("model.layers.*", .float8Blocks),
    ])
    #expect(plan.precision(of: "model.layers.0.mlp.up_proj") == .bfloat16)
    #expect(plan.precision(of: "model.layers.1.mlp.up_proj") == .nvfp4)
    #expect(plan.precision(of: "model.layers.1.self_attn.q_proj") == .float8Blocks)
    #expect(plan.precision(of: "lm_head") == .bfloat16)
    for precision in [
      LinearPrecision.bfloat16, .float8Blocks, .float8Tensor(.coat), .nvfp4(.torchao),
      .float8Blocks(.init(recipe: .deepseek, gradientFormat: .e5m2)),
    ] {
      #expect(LinearPrecision(precision.description) == precision)
    }
    #expect(LinearPrecision("fp8-block:none") == nil && LinearPrecision("bf16:") == nil)
  }
}

/// A folder that goes with its owner.
final class TemporaryPlace {
  let path: FilePath

  init() {
    let name = "llama-tests-\(UUID().uuidString)"
    path = FilePath(FileManager.default.temporaryDirectory.appendingPathComponent(name).path)
    try! FileManager.default.createDirectory(
      atPath: path.string, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path.string) }
}
