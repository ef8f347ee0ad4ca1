// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
import Llama

/// A Llama of one width, to be trained or run again and again.
struct LlamaShape {
  var layers = 4
  var hidden = 1024
  var intermediate = 2816
  var heads = 16
  var keyValueHeads = 8
  var vocabulary = 4096
  var sequences = 2
  var length = 512

  func configuration() throws -> LlamaConfiguration {
    LlamaConfiguration(
      vocabularySize: vocabulary, hiddenSize: hidden, intermediateSize: intermediate,
      layerCount: layers,
      heads: try AttentionHeads(
        count: heads, keyValueCount: keyValueHeads, dimension: hidden / heads),
      maximumPositions: length)
  }

  /// The operations of the products of one training step: six for each weight of a linear layer and
  /// token.
  func productOperations() throws -> Double {
    let weights = try configuration().parameters.reduce(0) { total, parameter in
      parameter.isVector || parameter.name.contains("embed_tokens")
        ? total : total + parameter.rows * parameter.columns
    }
    return 6 * Double(weights) * Double(sequences * length)
  }
}

/// One training step of a Llama: forward, backward, AdamW, and the weights prepared anew.
final class TrainCase: TimedCase {
  private var trainer: Trainer<CPUBackend>

  init(_ recipe: TrainingRecipe, _ shape: LlamaShape, backend: CPUBackend) throws {
    var state: UInt64 = 1
    let tokens = (0..<shape.sequences * shape.length * 4).map { _ in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int32(state >> 33) % Int32(shape.vocabulary)
    }
    let options = TrainingOptions(
      recipe: recipe, steps: 1_000_000, sequences: shape.sequences, length: shape.length)
    trainer = try Trainer(
      shape.configuration(), options, TrainingData(tokens), on: backend)
  }

  func run() throws { _ = try trainer.step() }
}
