// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
import Checkpoints
import Foundation
import OrderedCollections
import Safetensors
import SystemPackage
import Testing
import _BlockScaleTestSupport

@testable import Llama

@Suite struct FileTests {
  @Test func whatIsSavedIsWhatWasLoaded() throws {
    let place = TemporaryPlace()
    let folder = place.path.appending("copy")
    let configuration = try LlamaConfiguration(folder: HuggingFaceTests.folder)
    let weights = try ParameterStore(folder: HuggingFaceTests.folder)
    try weights.save(to: folder, configuration, on: CPUBackend())
    let (old, new) = try (
      SafetensorsFile(path: HuggingFaceTests.folder.appending("model.safetensors")),
      SafetensorsFile(path: folder.appending("model.safetensors"))
    )
    #expect(Set(old.header.tensors.keys) == Set(new.header.tensors.keys))
    for (name, info) in old.header.tensors {
      let other = try new.tensor(named: name)
      #expect(other.dtype == info.dtype && other.shape == info.shape)
      #expect(unsafe Array(old.bytes(of: info)) == Array(new.bytes(of: other)))
    }
    #expect(try LlamaConfiguration(folder: folder).members == configuration.members)
    try weights.save(to: folder, configuration, format: .float32, on: CPUBackend())
    #expect(try ParameterStore(folder: folder) == weights)
  }

  @Test(arguments: [Scheme.nvfp4, .fp8Block, .fp8Row, .mxfp8, .mxfp4])
  func quantizedCheckpointsRunAsTheyAre(_ scheme: Scheme) throws {
    let place = TemporaryPlace()
    let configuration = try TrainerTests.configuration()
    let weights = ParameterStore(for: configuration, seed: 2)
    let (plain, quantized) = (place.path.appending("plain"), place.path.appending("quantized"))
    try weights.save(to: plain, configuration, on: CPUBackend())
    _ = try Converter(jobs: 2).quantize(Checkpoint(path: plain), to: quantized, scheme: scheme)
    let checkpoint = try Checkpoint(path: quantized)
    #expect(checkpoint.isQuantized("model.layers.1.mlp.down_proj.weight"))
    let model = try LlamaModel(folder: quantized, on: CPUBackend())
    // The same values, decoded to BF16.
    let decoded = try LlamaModel(
      configuration, weights: ParameterStore(folder: quantized), plan: .bfloat16, trains: false,
      on: CPUBackend())
    let tokens = TrainerTests.data.evaluation.prefix(60)
    let logits = try model.logits(Array(tokens)).values.map { Double($0) }
    let reference = try decoded.logits(Array(tokens)).values.map { Double($0) }
    #expect(decibels(logits, against: reference) > 38)
    let original = try LlamaModel(folder: plain, on: CPUBackend())
    let exact = try original.logits(Array(tokens)).values.map { Double($0) }
    #expect(decibels(logits, against: exact) > 8 && decibels(logits, against: exact) < 38)
  }

  @Test(arguments: [Scheme.nvfp4, .fp8Block, .fp8Row, .mxfp8], [false, true])
  func quantizedEmbeddingsAndHeadsRun(_ scheme: Scheme, _ ties: Bool) throws {
    let place = TemporaryPlace()
    let configuration = try TrainerTests.configuration(ties: ties)
    let weights = ParameterStore(for: configuration, seed: 3)
    let (plain, quantized) = (place.path.appending("plain"), place.path.appending("quantized"))
    try weights.save(to: plain, configuration, on: CPUBackend())
    _ = try Converter(jobs: 2).quantize(
      Checkpoint(path: plain), to: quantized, scheme: scheme,
      selection: TensorSelection(include: ["*.weight"]))
    let checkpoint = try Checkpoint(path: quantized)
    #expect(checkpoint.isQuantized("model.embed_tokens.weight"))
    #expect(checkpoint.isQuantized("lm_head.weight") == !ties)
    let model = try LlamaModel(folder: quantized, on: CPUBackend())
    let decoded = try LlamaModel(
      configuration, weights: ParameterStore(folder: quantized), plan: .bfloat16, trains: false,
      on: CPUBackend())
    let tokens = Array(TrainerTests.data.evaluation.prefix(60))
    let logits = try model.logits(tokens).values.map { Double($0) }
    let reference = try decoded.logits(tokens).values.map { Double($0) }
    #expect(decibels(logits, against: reference) > 38)
    // Another table would give other values.
    let original = try LlamaModel(folder: plain, on: CPUBackend()).logits(tokens)
    #expect(decibels(logits, against: original.values.map { Double($0) }) < 38)
  }

  @Test func aWrongCheckpointIsRefused() throws {
    let place = TemporaryPlace()
    let folder = place.path.appending("model")
    let configuration = try TrainerTests.configuration()
    let weights = ParameterStore(for: configuration, seed: 2)
    try weights.save(to: folder, configuration, on: CPUBackend())
    func refused(_ change: (inout LlamaConfiguration) -> Void) throws -> String {
      var other = configuration
      change(&other)
      try Data(other.json).write(to: URL(fileURLWithPath: "\(folder)/config.json"))
      let error = #expect(throws: LlamaError.self) {
        try LlamaModel(folder: folder, on: CPUBackend())
      }
      return error?.description ?? ""
    }
    #expect(try refused { $0.layerCount = 3 }.contains("model.layers.2.input_layernorm.weight"))
    #expect(try refused { $0.intermediateSize = 96 }.contains("[160, 64]"))
    try FileManager.default.removeItem(atPath: "\(folder)/config.json")
    let error = #expect(throws: LlamaError.self) { try LlamaConfiguration(folder: folder) }
    #expect(error?.description.contains("no config.json") == true)
  }
}
