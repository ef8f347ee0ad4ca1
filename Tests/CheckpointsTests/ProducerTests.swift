// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Checkpoints
import Testing

/// The bytes of other tools' checkpoints, made of the same source.
@Suite struct ProducerTests {
  struct Producer: CustomTestStringConvertible, Sendable {
    var folder: String
    var scheme: Scheme
    var layout: Layout
    /// MLX quantizes embeddings and heads too.
    var includesHead = false

    var testDescription: String { folder }
  }

  static let producers = [
    Producer(folder: "llm-compressor-nvfp4a16", scheme: .nvfp4, layout: .compressedTensors),
    Producer(folder: "llm-compressor-mxfp4a16", scheme: .mxfp4, layout: .compressedTensors),
    Producer(folder: "llm-compressor-fp8-block", scheme: .fp8Block, layout: .compressedTensors),
    Producer(folder: "modelopt-w4a16-nvfp4", scheme: .nvfp4, layout: .modelopt),
    Producer(folder: "modelopt-mxfp8", scheme: .mxfp8, layout: .modelopt),
    Producer(folder: "mlx-nvfp4", scheme: .nvfp4, layout: .mlx, includesHead: true),
  ]

  @Test(arguments: producers) func quantizesToTheProducersBytes(_ producer: Producer) throws {
    let scratch = try Scratch()
    _ = try converter.quantize(
      Checkpoint(path: vector("source")), to: scratch("out"), scheme: producer.scheme,
      layout: producer.layout,
      selection: TensorSelection(include: producer.includesHead ? ["*.weight"] : []))
    let ours = try stored(scratch("out"))
    let theirs = try stored(vector(producer.folder))
    #expect(ours.keys.sorted() == theirs.keys.sorted())
    for (name, tensor) in theirs { #expect(ours[name] == tensor, "\(name)") }
  }

  @Test(arguments: producers) func readsTheProducersFolder(_ producer: Producer) throws {
    let checkpoint = try Checkpoint(path: vector(producer.folder))
    #expect(checkpoint.layout == producer.layout)
    let verification = try Verification(
      checkpoint, against: Checkpoint(path: vector("source")), jobs: 2)
    #expect(verification.isClean, "\(verification)")
    let quantized = verification.tensors.filter { $0.format == producer.scheme.rawValue }
    #expect(quantized.count == (producer.includesHead ? 7 : 6))
    for tensor in quantized {
      // The bytes identify the recipe; where recipes agree on a tensor, the first one is named.
      #expect(tensor.matchingRecipe != nil, "\(tensor.name): \(tensor.notes)")
      #expect((tensor.fromOriginal?.sqnr ?? 0) > 15)
    }
  }

  @Test func readsFusedExpertsOfModelOpt() throws {
    let checkpoint = try Checkpoint(path: vector("gpt-oss-modelopt-nvfp4"))
    #expect(checkpoint.layout == .modelopt)
    let comparison = try Comparison(
      reference: Checkpoint(path: vector("gpt-oss-source")), candidate: checkpoint, jobs: 2)
    let experts = try #require(comparison.tensors.first { $0.name.hasSuffix("experts.down_proj") })
    #expect(experts.candidateFormat == "nvfp4")
    // A wrong axis or nibble order leaves noise, at 0 dB or below.
    #expect(experts.error.sqnr > 15)
    #expect(comparison.missing.isEmpty && comparison.extra.isEmpty)
    #expect(try Verification(checkpoint, jobs: 2).isClean)
  }
}
