// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import BlockScale
import BlockScaleCPU
import Checkpoints
import Foundation
import Llama
import SystemPackage
import Testing

@testable import BlockScaleCommands

@Suite struct EvalTests {
  /// A model that gives all tokens the same probability.
  static func saveGuesser(to folder: FilePath, vocabularySize: Int = 256) throws {
    let configuration = LlamaConfiguration(
      vocabularySize: vocabularySize, hiddenSize: 32, intermediateSize: 64, layerCount: 1,
      heads: try AttentionHeads(count: 2, keyValueCount: 1, dimension: 16), maximumPositions: 16)
    var weights = ParameterStore(for: configuration, seed: 1)
    for index in weights["lm_head.weight"].values.indices {
      weights["lm_head.weight"].values[index] = 0
    }
    try weights.save(to: folder, configuration, on: CPUBackend())
  }

  static func command(_ model: FilePath, _ text: [UInt8], _ options: [String] = []) throws
    -> EvalCommand
  {
    let path = model.appending("text")
    try writeFileAtomically(text, to: path)
    return try #require(
      BlockScaleCommand.parseAsRoot(
        ["eval", model.string, "--text", path.string, "--quiet"] + options) as? EvalCommand)
  }

  @Test func guessingCostsEightBits() throws {
    let place = TemporaryPlace()
    try Self.saveGuesser(to: place.path)
    let text = Array("The quick brown fox jumps over the lazy dog, again and again.".utf8)
    for (options, tokens, length) in [
      ([], 48, 16), (["--length", "7"], 56, 7), (["--length", "1", "--batch", "3"], 60, 1),
    ] as [([String], Int, Int)] {
      let result = try Self.command(place.path, text, options).measured()
      #expect(abs(result.perplexity - 256) < 1e-3)
      #expect(abs(result.bitsPerByte - 8) < 1e-5)
      #expect(result.tokens == tokens && result.length == length)
    }
  }

  @Test func aRunNamesItsModels() throws {
    let place = TemporaryPlace()
    let folder = TrainingFolder(path: place.path)
    try writeFileAtomically([], to: folder.losses)
    func refusal() throws -> String? {
      let error = #expect(throws: CommandError.self) {
        try Self.command(place.path, [65, 66, 67]).measured()
      }
      return error?.description
    }
    #expect(try refusal()?.contains("it holds no model yet") == true)
    for name in ["nvfp4", "fp8"] {
      try makeFolder(folder.model(name))
      try Self.saveGuesser(to: folder.model(name))
    }
    #expect(
      try refusal()?.hasSuffix(
        "its models are \(folder.model("fp8")), \(folder.model("nvfp4")).") == true)
  }

  @Test func whatCannotBeMeasuredIsRefused() throws {
    let place = TemporaryPlace()
    try Self.saveGuesser(to: place.path)
    for text in [[], [65]] as [[UInt8]] {
      #expect(throws: CommandError.self) { try Self.command(place.path, text).measured() }
    }
    let error = #expect(throws: CommandError.self) {
      try Self.command(place.path, [65, 66, 67], ["--length", "17"]).measured()
    }
    #expect(error?.description == "--length 17 is more than the model's context of 16.")
    var command = try Self.command(place.path, [65, 66])
    command.text = place.path.string
    #expect(throws: CommandError("\(place.path): is a folder, not a file.")) {
      try command.measured()
    }
    command.text = "\(place.path)/none"
    #expect(throws: CommandError("\(place.path)/none: there is no such file.")) {
      try command.measured()
    }
    #expect(throws: (any Error).self) { try Self.command(place.path, [65], ["--token-losses"]) }
    for option in ["--length", "--batch", "--jobs"] {
      #expect(throws: (any Error).self) { try Self.command(place.path, [65], [option, "0"]) }
    }
  }

  @Test func tokenizersAreChosen() throws {
    let place = TemporaryPlace()
    let bytes = try ModelTokenizer(of: place.path, named: nil, vocabularySize: 256)
    #expect(bytes.tokenizer is ByteTokenizer && bytes.file == nil)
    let missing = #expect(throws: CommandError.self) {
      try ModelTokenizer(of: place.path, named: nil, vocabularySize: 300)
    }
    #expect(missing?.description.contains("no tokenizer.json beside the weights") == true)
    // Four tokens of BPE.
    let json = Array(
      #"""
      {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3}, "merges": ["a b"]},
       "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
       "decoder": {"type": "ByteLevel"}, "added_tokens": []}
      """#.utf8)
    let beside = place.path.appending("tokenizer.json")
    try writeFileAtomically(json, to: beside)
    let pairs = try ModelTokenizer(of: place.path, named: nil, vocabularySize: 256)
    #expect(pairs.file == json && pairs.tokenizer.vocabularySize == 4)
    #expect(pairs.tokenizer.encode(Array("ab".utf8), addsSpecialTokens: false) == [2])
    // The one that is named counts.
    let other = place.path.appending("other.json")
    try writeFileAtomically([0x7B], to: other)
    let malformed = #expect(throws: CommandError.self) {
      try ModelTokenizer(of: place.path, named: other.string, vocabularySize: 256)
    }
    #expect(malformed?.description.hasPrefix("\(other): ") == true)
    let large = #expect(throws: CommandError.self) {
      try ModelTokenizer(of: place.path, named: nil, vocabularySize: 3)
    }
    #expect(
      large?.description == "\(beside): the tokenizer has 4 tokens, and the model only 3.")
  }

  @Test(arguments: [
    ["--hidden", "60"], ["--intermediate", "100"], ["--hidden", "9223372036854775806"],
    ["--heads", "3"], ["--heads", "4", "--key-value-heads", "3"], ["--layers", "0"],
    ["--steps", "0"], ["--batch", "3", "--micro-batch", "2"], ["--length", "9223372036854775807"],
    ["--batch", "1000000000000000000"], ["--learning-rate", "nan"], ["--weight-decay", "inf"],
    ["--weight-decay=-1"], ["--clip", "inf"], ["--clip", "0"], ["--final-share", "2"],
    ["--evaluation-share", "1"], ["--text-bytes", "9223372036854775807"], ["--plan", "x=bf16"],
    ["--plan", "*"], ["--plan", "*=fp9"], ["--resume", "--overwrite"], ["--recipe", "fp9"],
    ["--checkpoint-every=-1"], ["--output", ""],
  ])
  func wrongOptionsAreRefused(_ options: [String]) {
    let error = #expect(throws: (any Error).self) {
      _ = try BlockScaleCommand.parseAsRoot(["train"] + options)
    }
    if let error {
      #expect(BlockScaleCommand.exitCode(for: error).rawValue == 64)
      #expect(!BlockScaleCommand.message(for: error).isEmpty)
    }
  }

  @Test func plansOfTheModelAreTaken() throws {
    for plan in ["lm_head=fp8-block", "model.layers.3.*=bf16", "*.down_proj=nvfp4"] {
      _ = try BlockScaleCommand.parseAsRoot(["train", "--plan", plan])
    }
  }
}
