// SPDX-License-Identifier: Apache-2.0

import BlockScale
import OrderedCollections
import Safetensors
import SystemPackage
import _BlockScaleTestSupport

/// A seeded model of one layer in the style of Llama, small enough to convert in milliseconds.
///
/// Rows and columns are unequal, are no multiples of 128, and differ between partners.
struct TinyModel {
  static let configuration = """
    {"architectures": ["LlamaForCausalLM"], "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
     "big": 123456789012345678901234567890, "tie_word_embeddings": false,
     "torch_dtype": "bfloat16"}
    """
  /// The weights that are quantized by default.
  static let weights: [(name: String, shape: [Int])] = [
    ("model.layers.0.self_attn.q_proj.weight", [144, 128]),
    ("model.layers.0.self_attn.k_proj.weight", [48, 128]),
    ("model.layers.0.self_attn.v_proj.weight", [48, 128]),
    ("model.layers.0.mlp.gate_proj.weight", [160, 128]),
    ("model.layers.0.mlp.up_proj.weight", [160, 128]),
    ("model.layers.0.mlp.down_proj.weight", [128, 160]),
  ]
  /// The others.
  static let plain: [(name: String, shape: [Int])] = [
    ("model.embed_tokens.weight", [32, 128]), ("model.norm.weight", [128]),
    ("lm_head.weight", [32, 128]),
  ]

  var source = SourceFormat.bfloat16
  var weights = Self.weights
  var plain = Self.plain

  var dtype: DType {
    switch source {
    case .float32: .f32
    case .float16: .f16
    case .bfloat16: .bf16
    }
  }

  /// The tensors, each with its own magnitude, so that partners have different maxima.
  var tensors: [SafetensorsFile.Contents] {
    (plain + weights).enumerated().map { index, tensor in
      (tensor.name, dtype, tensor.shape, values(tensor.shape, seed: UInt64(index)))
    }
  }

  func values(_ shape: [Int], seed: UInt64) -> [UInt8] {
    var generator = SplitMix(seed: seed)
    let scale = 0.02 * Float(seed + 1)
    return (0..<shape.reduce(1, *)).flatMap { _ -> [UInt8] in
      let value = generator.normal() * scale
      return switch source {
      case .float32: bytes(value)
      case .float16: bytes(Float16(value).bitPattern)
      case .bfloat16: bytes(UInt16(truncatingIfNeeded: value.bitPattern >> 16))
      }
    }
  }

  /// Writes a model folder and opens it.
  @discardableResult
  func write(to path: FilePath, in scratch: Scratch) throws -> FilePath {
    let name = path.lastComponent?.string ?? ""
    try scratch.makeFolder(name)
    try SafetensorsFile.write(
      tensors, metadata: ["format": "pt"], to: path.appending("model.safetensors"))
    try scratch.write(Self.configuration, to: "\(name)/config.json")
    return path
  }
}
