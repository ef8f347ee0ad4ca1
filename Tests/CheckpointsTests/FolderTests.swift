// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Checkpoints
import Foundation
import OrderedCollections
import Safetensors
import SystemPackage
import Testing
import _BlockScaleTestSupport

/// What lies beside the tensors: shards, configuration and metadata.
@Suite struct FolderTests {
  /// Partners that lie in different shards share their tensor scale all the same, and the output
  /// keeps the shards.
  @Test(arguments: [Layout.modelopt, .compressedTensors, .comfy])
  func partnersAcrossShards(_ layout: Layout) throws {
    let scratch = try Scratch()
    let model = TinyModel()
    let whole = try Checkpoint(path: model.write(to: scratch("whole"), in: scratch))
    try scratch.makeFolder("sharded")
    var weightMap: OrderedDictionary<String, String> = [:]
    var shards: [[SafetensorsFile.Contents]] = [[], [], []]
    for (index, tensor) in model.tensors.enumerated() {
      weightMap[tensor.name] = "model-\(index % 3).safetensors"
      shards[index % 3].append(tensor)
    }
    for (index, shard) in shards.enumerated() {
      try SafetensorsFile.write(shard, to: scratch("sharded/model-\(index).safetensors"))
    }
    let index = try ShardedIndex(weightMap: weightMap, metadata: ["total_size": 0])
    try scratch.write(
      String(decoding: index.encoded(), as: UTF8.self), to: "sharded/model.safetensors.index.json")
    try scratch.write(TinyModel.configuration, to: "sharded/config.json")

    let sharded = try Checkpoint(path: scratch("sharded"))
    _ = try converter.quantize(whole, to: scratch("a"), scheme: .nvfp4, layout: layout)
    _ = try converter.quantize(sharded, to: scratch("b"), scheme: .nvfp4, layout: layout)
    #expect(try stored(scratch("a")) == stored(scratch("b")))
    #expect(try TensorCollection(path: scratch("b")).shardNames.count == 3)
    #expect(text(of: scratch("b/model.safetensors.index.json")).contains("weight_scale"))
    #expect(try Checkpoint(path: scratch("b")).layout == layout)
  }

  @Test func configurationKeepsItsNumbersAsWritten() throws {
    let scratch = try Scratch()
    let source = try Checkpoint(path: TinyModel().write(to: scratch("source"), in: scratch))
    _ = try converter.quantize(source, to: scratch("out"), scheme: .nvfp4)
    _ = try converter.convert(
      Checkpoint(path: scratch("out")), to: scratch("other"), layout: .compressedTensors)
    for name in ["out", "other"] {
      let configuration = text(of: scratch("\(name)/config.json"))
      for literal in ["1e-05", "10000.0", "123456789012345678901234567890"] {
        #expect(configuration.contains(literal), "\(literal) in \(configuration)")
      }
    }
    #expect(text(of: scratch("out/hf_quant_config.json")).contains("W4A16_NVFP4"))
    #expect(!FileManager.default.fileExists(atPath: scratch("other/hf_quant_config.json").string))
  }

  @Test func otherFilesComeAlongAndWeightsDoNot() throws {
    let scratch = try Scratch()
    let path = try TinyModel().write(to: scratch("source"), in: scratch)
    try scratch.write("{}", to: "source/tokenizer.json")
    try scratch.write("x", to: "source/pytorch_model.bin")
    try scratch.write("x", to: "source/.hidden")
    _ = try converter.quantize(Checkpoint(path: path), to: scratch("out"), scheme: .mxfp8)
    let names = try FileManager.default.contentsOfDirectory(atPath: scratch("out").string).sorted()
    #expect(names == ["config.json", "model.safetensors", "tokenizer.json"])
  }

  @Test func metadataTellsHowTheFileWasMade() throws {
    let scratch = try Scratch()
    let file = scratch("source.safetensors")
    try SafetensorsFile.write(TinyModel().tensors, metadata: ["made": "by hand"], to: file)
    _ = try converter.quantize(
      Checkpoint(path: file), to: scratch("out.safetensors"), scheme: .nvfp4, layout: .torchao)
    let written = try metadata(scratch("out.safetensors"))
    #expect(written["made"] == "by hand")
    #expect(written["blockscale"]?.contains("\"recipe\":\"torchao\"") == true)
    #expect(written["tensor_names"]?.contains("model.layers.0.mlp.up_proj.weight") == true)
    #expect(written["model.norm.weight"] == #"{"_type": "Tensor"}"#)
    // What describes torchao's tensors is wrong in another layout, what is the user's stays.
    _ = try converter.convert(
      Checkpoint(path: scratch("out.safetensors")), to: scratch("new.safetensors"),
      layout: .modelopt)
    let converted = try metadata(scratch("new.safetensors"))
    #expect(converted.keys.sorted() == ["blockscale", "format", "made"])
    #expect(try Inspection(Checkpoint(path: scratch("new.safetensors"))).recipe == .torchao)
  }

  /// A chosen subset, by patterns that beat the usual exceptions.
  @Test func selection() throws {
    let scratch = try Scratch()
    let source = try Checkpoint(path: TinyModel().write(to: scratch("source"), in: scratch))
    let reports = try converter.quantize(
      source, to: scratch("out"), scheme: .mxfp8,
      selection: TensorSelection(include: ["*_proj.weight", "lm_head.*"], exclude: ["*.k_proj.*"]))
    let quantized = reports.filter { $0.action == .quantized }.map(\.name)
    #expect(quantized.count == 6 && quantized.contains("lm_head.weight"))
    #expect(reports.first { $0.name.contains("k_proj") }?.notes == ["excluded"])
    let error = failure {
      _ = try converter.quantize(
        source, to: scratch("none"), scheme: .mxfp8, selection: TensorSelection(include: ["x"]))
    }
    #expect(error?.code == .nothingToDo)
    #expect(scratch.names == ["out", "source"])
  }
}
