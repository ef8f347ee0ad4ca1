// SPDX-License-Identifier: Apache-2.0

import Minifloat
import Safetensors
import SystemPackage

/// A checkpoint with the tensors of a Llama, filled with normal values of σ = 0.02 in BF16.
struct SyntheticModel {
  var layers: Int
  var hidden = 2048
  var intermediate = 8192
  var vocabulary = 32000

  private var tensors: [SafetensorsHeader.Item] {
    var items: [SafetensorsHeader.Item] = [
      ("model.embed_tokens.weight", .bf16, [vocabulary, hidden]),
      ("model.norm.weight", .bf16, [hidden]), ("lm_head.weight", .bf16, [vocabulary, hidden]),
    ]
    for layer in 0..<layers {
      let prefix = "model.layers.\(layer)."
      let matrices = [
        ("self_attn.q_proj", hidden, hidden), ("self_attn.k_proj", hidden / 4, hidden),
        ("self_attn.v_proj", hidden / 4, hidden), ("self_attn.o_proj", hidden, hidden),
        ("mlp.gate_proj", intermediate, hidden), ("mlp.up_proj", intermediate, hidden),
        ("mlp.down_proj", hidden, intermediate),
      ]
      items += matrices.map { ("\(prefix)\($0.0).weight", .bf16, [$0.1, $0.2]) }
      items += ["input_layernorm", "post_attention_layernorm"].map {
        ("\(prefix)\($0).weight", .bf16, [hidden])
      }
    }
    return items
  }

  /// Writes the model and returns its bytes.
  func write(to path: FilePath) throws -> Int {
    let header = try SafetensorsHeader(tensors: tensors, metadata: ["format": "pt"])
    let writer = try SafetensorsWriter(path: path, header: header)
    // A table of normal values; a generator picks from it, which is quick and random enough.
    var generator = SplitMix(state: 1)
    let table = (0..<1 << 16).map { _ in normal(&generator) * 0.02 }.map { BFloat16($0).bitPattern }
    let chunk = 1 << 20
    for tensor in header.tensors.values {
      var offset = 0
      while offset < tensor.byteCount {
        let count = min(chunk, tensor.byteCount - offset) / 2
        var values = [UInt16](repeating: 0, count: count)
        for index in values.indices { values[index] = table[Int(generator.next() & 0xFFFF)] }
        try writer.write(values.span.bytes, of: tensor, at: offset)
        offset += count * 2
      }
    }
    try writer.finish()
    return header.fileByteCount
  }

  /// A normal value as the sum of twelve uniform ones, less six.
  private func normal(_ generator: inout SplitMix) -> Float {
    (0..<12).reduce(Float(-6)) { sum, _ in sum + Float(generator.next() >> 40) * 0x1p-24 }
  }
}

/// SplitMix64: seeded, so that the model is the same each time.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
    return mixed ^ mixed >> 31
  }
}
