// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
import BlockScaleLayers
import Llama
import Minifloat
import RealModule
import SystemPackage
import Testing
import _BlockScaleTestSupport

/// A small model of transformers: `Tools/llama_vectors.py`.
@Suite struct HuggingFaceTests {
  static let folder = FilePath(#filePath).removingLastComponent().removingLastComponent()
    .appending("Vectors").appending("llama")

  let expected: Vectors
  let sequences: [[Int32]]

  init() throws {
    expected = try Vectors("llama_expected.safetensors")
    let tokens = try expected.integers("tokens", as: Int32.self)
    sequences = [Array(tokens[..<48]), Array(tokens[48...])]
  }

  @Test(arguments: CPUTier.available)
  func logitsAreThoseOfTransformers(_ tier: CPUTier) throws {
    let model = try LlamaModel(folder: Self.folder, on: CPUBackend(tier: tier))
    let exact = try expected.floats("logits").map { Double($0) }
    let theirs = try expected.bfloats("logits_bfloat16").map { Double($0) }
    var logits: [Double] = []
    for sequence in sequences {
      logits += try model.logits(Array(sequence.dropLast())).values.map { Double($0) }
    }
    // As near to the FP32 model as transformers in BF16.
    let own = decibels(logits, against: exact)
    #expect(own > decibels(theirs, against: exact) - 1, "\(own)")
    #expect(own > 34)
  }

  @Test func theReferenceAgrees() throws {
    let tokens = Array(sequences[0].prefix(20))
    let cpu = try LlamaModel(folder: Self.folder, on: CPUBackend()).logits(tokens)
    let reference = try LlamaModel(folder: Self.folder, on: ReferenceBackend()).logits(tokens)
    #expect(
      decibels(cpu.values.map { Double($0) }, against: reference.values.map { Double($0) }) > 40)
  }

  @Test(arguments: CPUTier.available)
  func gradientsAreThoseOfAutograd(_ tier: CPUTier) throws {
    let configuration = try LlamaConfiguration(folder: Self.folder)
    let weights = try ParameterStore(folder: Self.folder)
    let model = try LlamaModel(
      configuration, weights: weights, plan: .bfloat16, on: CPUBackend(tier: tier))
    var gradients = ParameterStore(zerosFor: configuration)
    let batch = try TokenBatch(sequences)
    let loss = try model.loss(batch, addingGradientsTo: &gradients)
    let expectedLoss = Double(try expected.floats("loss")[0])
    #expect(abs(loss - expectedLoss) < 2e-3 * expectedLoss)
    #expect(abs(try model.loss(batch) - loss) < 1e-6)
    for parameter in gradients.parameters {
      let theirs = try expected.bfloats("gradient.\(parameter.name)").map { Double($0) }
      let ours = gradients[parameter.name].values.map { Double($0) }
      // The worst of transformers itself in BF16 is 30.7 dB.
      #expect(decibels(ours, against: theirs) > 31, "\(parameter.name)")
    }
  }

  @Test func microBatchesAddUp() throws {
    let configuration = try LlamaConfiguration(folder: Self.folder)
    let weights = try ParameterStore(folder: Self.folder)
    let model = try LlamaModel(
      configuration, weights: weights, plan: .bfloat16, on: CPUBackend())
    var together = ParameterStore(zerosFor: configuration)
    var apart = together
    let loss = try model.loss(TokenBatch(sequences), addingGradientsTo: &together)
    var losses = 0.0
    for sequence in sequences {
      losses += try model.loss(TokenBatch([sequence]), addingGradientsTo: &apart, share: 0.5)
    }
    #expect(abs(losses / 2 - loss) < 1e-5)
    for parameter in apart.parameters {
      let reference = together[parameter.name].values.map { Double($0) }
      #expect(
        decibels(apart[parameter.name].values.map { Double($0) }, against: reference) > 35)
    }
  }

  @Test func generationIsTheForwardPass() throws {
    let model = try LlamaModel(folder: Self.folder, on: CPUBackend())
    let tokens = Array(sequences[0].prefix(40))
    let whole = try model.logits(tokens)
    var cache = KeyValueCache(for: model, capacity: 40)
    // A prompt, then steps of one token and of some.
    let ends = [17, 18, 19, 25, 26, 40]
    var first = 0
    for end in ends {
      let logits = try model.nextLogits(Array(tokens[first..<end]), cache: &cache)
      let row = whole.values[(end - 1) * 96..<end * 96].map { Double($0) }
      #expect(decibels(logits.map { Double($0) }, against: row) > 38, "\(end)")
      first = end
    }
    #expect(cache.count == 40)
  }

  @Test(arguments: [1, 15, 16])
  func theLastTokenOfTheContextIsWritten(_ promptCount: Int) throws {
    let model = try LlamaModel(folder: Self.folder, contextLength: 16, on: CPUBackend())
    let prompt = Array(sequences[0].prefix(promptCount))
    var generator = try TokenGenerator(model, prompt: prompt, sampler: Sampler())
    var text = prompt
    while !generator.isFull { text.append(try generator.next()) }
    // What follows from a full context is written, and nothing after it.
    #expect(text.count == 17 && generator.count == 17 - promptCount)
    var sampler = try Sampler()
    for end in promptCount...16 {
      let logits = try model.logits(Array(text[..<end])).values.suffix(96)
      let best = sampler.pick(Array(logits))
      // Whole and step by step differ in the order of sums.
      #expect(
        logits[logits.startIndex + Int(text[end])] > logits[logits.startIndex + Int(best)] - 0.05)
    }
    #expect(throws: LlamaError.self) {
      try TokenGenerator(model, prompt: Array(sequences[0].prefix(17)), sampler: Sampler())
    }
  }

  @Test func tokenLossesAreThoseOfTheLogits() throws {
    let model = try LlamaModel(folder: Self.folder, on: CPUBackend())
    let batch = try TokenBatch(sequences)
    let losses = try model.tokenLosses(batch)
    #expect(losses.count == 94)
    let logits = try expected.floats("logits").map { Double($0) }
    for (place, target) in batch.targets.enumerated() {
      let row = logits[place * 96..<(place + 1) * 96]
      let loss =
        Double.log(row.reduce(0) { $0 + Double.exp($1) }) - row[row.startIndex + Int(target)]
      #expect(abs(Double(losses[place]) - loss) < 0.2, "\(place)")
    }
    let mean = losses.reduce(0.0) { $0 + Double($1) } / 94
    #expect(try abs(model.loss(batch) - mean) < 1e-12)
    let text = try model.evaluationLoss(sequences[0], length: 20)
    #expect(text.tokenLosses.count == 40)
    #expect(abs(text.loss - text.tokenLosses.reduce(0.0) { $0 + Double($1) } / 40) < 1e-12)
  }

  @Test func theConfigurationSurvives() throws {
    let configuration = try LlamaConfiguration(folder: Self.folder)
    #expect(configuration.heads.dimension == 18 && configuration.rotaryBase == 5000)
    #expect(configuration.rotaryScaling?.factor == 8)
    let again = try LlamaConfiguration(json: configuration.json)
    #expect(again.parameters == configuration.parameters)
    #expect(again.rotaryScaling == configuration.rotaryScaling)
    let text = String(decoding: configuration.json, as: UTF8.self)
    #expect(text.contains("transformers_version") && text.contains("rope_parameters"))
    var changed = configuration
    changed.rotaryScaling = nil
    changed.rotaryBase = 77
    let back = try LlamaConfiguration(json: changed.json)
    #expect(back.rotaryBase == 77 && back.rotaryScaling == nil)
  }

  @Test(arguments: [
    (#""model_type": "llama""#, #""model_type": "mistral""#, "model_type"),
    (#""attention_bias": false"#, #""attention_bias": true"#, "attention_bias"),
    (#""hidden_act": "silu""#, #""hidden_act": "gelu""#, "gelu"),
    (#""rope_type": "llama3""#, #""rope_type": "yarn""#, "yarn"),
    (#""num_key_value_heads": 2"#, #""num_key_value_heads": 3"#, "heads"),
    (#""hidden_size": 64"#, #""hidden_size": -64"#, "hidden_size"),
    (#""vocab_size": 96"#, #""words": 96"#, "vocab_size"),
    (#""head_dim": 18"#, #""head_dim": 17"#, "pairs"),
  ])
  func whatIsNotSupportedIsRefused(_ old: String, _ new: String, _ word: String) throws {
    let text = String(
      decoding: try LlamaConfiguration(folder: Self.folder).json, as: UTF8.self)
    let parts = text.split(separator: old, maxSplits: 1, omittingEmptySubsequences: false)
    try #require(parts.count == 2, "\(old)")
    let error = #expect(throws: LlamaError.self) {
      try LlamaConfiguration(json: Array((parts[0] + new + parts[1]).utf8))
    }
    #expect(error?.description.contains(word) == true)
  }
}
