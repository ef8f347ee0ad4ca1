// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Checkpoints
import OrderedCollections
import Safetensors
import SystemPackage
import Testing

/// Weights that engines fuse, scales of activations, and fused experts.
@Suite struct PartnerTests {
  private static let partners: [(name: String, scale: Float)] = [
    ("l.0.q_proj.weight", 0.25), ("l.0.k_proj.weight", 0.5), ("l.0.v_proj.weight", 0.125),
    ("l.0.o_proj.weight", 4),
  ]

  @Test func differingTensorScalesAreReportedAndReconciled() throws {
    let scratch = try Scratch()
    try SafetensorsFile.write(
      HandMade.modelopt(Self.partners), metadata: ["format": "pt"], to: scratch("in.safetensors"))
    let input = try Checkpoint(path: scratch("in.safetensors"))
    let violations = try Verification(input, jobs: 2).tensors.filter { !$0.violations.isEmpty }
    #expect(violations.map(\.name).sorted() == Self.partners.dropLast().map(\.name).sorted())
    #expect(violations[0].violations[0].contains("differs from that of its partners"))

    _ = try converter.convert(input, to: scratch("out.safetensors"), layout: .compressedTensors)
    let output = try Checkpoint(path: scratch("out.safetensors"))
    #expect(try Verification(output, jobs: 2).isClean)
    let tensors = try stored(output.path)
    for (name, scale) in Self.partners {
      let module = String(name.dropLast("weight".count))
      let expected = 1 / (name.contains("o_proj") ? scale : 0.5)
      #expect(tensors["\(module)weight_global_scale"]?.float == expected)
    }
    // Powers of two rescale exactly.
    let comparison = try Comparison(reference: input, candidate: output, jobs: 2)
    #expect(comparison.tensors.allSatisfy { $0.error.errorPower == 0 })
  }

  /// torchao may store some partners with a tensor scale and some without.
  @Test(arguments: [Float(0.5), 4]) func partnerWithoutTensorScale(_ scale: Float) throws {
    let scratch = try Scratch()
    let tensors = HandMade.modelopt([("l.q_proj.weight", scale), ("l.k_proj.weight", 1)])
    func named(_ name: String) -> String {
      name.replacing("_proj.weight_scale_2", with: "_proj._weight_per_tensor_scale")
        .replacing("_proj.weight_scale", with: "_proj._weight_scale")
        .replacing("_proj.weight", with: "_proj._weight_qdata")
    }
    try SafetensorsFile.write(
      tensors.filter { $0.name != "l.k_proj.weight_scale_2" }
        .map { (named($0.name), $0.dtype, $0.shape, $0.bytes) },
      to: scratch("in.safetensors"))
    let input = try Checkpoint(path: scratch("in.safetensors"))
    #expect(input.layout == .torchao)
    _ = try converter.convert(input, to: scratch("out.safetensors"), layout: .modelopt)
    let output = try Checkpoint(path: scratch("out.safetensors"))
    let comparison = try Comparison(reference: input, candidate: output, jobs: 2)
    #expect(comparison.tensors.count == 2)
    #expect(comparison.tensors.allSatisfy { $0.error.errorPower == 0 })
    #expect(try Verification(output, jobs: 2).isClean)
  }

  /// A static scale of activations travels, as a reciprocal where the layout wants one, and makes
  /// ModelOpt's algorithm W4A4.
  @Test func inputScalesAreCarried() throws {
    let scratch = try Scratch()
    try scratch.makeFolder("in")
    try SafetensorsFile.write(
      HandMade.modelopt([("a.weight", 0.5)]) + [("a.input_scale", .f32, [], bytes(Float(0.125)))],
      to: scratch("in/model.safetensors"))
    try scratch.write(
      #"{"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}}"#,
      to: "in/config.json")
    var checkpoint = try Checkpoint(path: scratch("in"))
    _ = try converter.convert(checkpoint, to: scratch("ct"), layout: .compressedTensors)
    let tensors = try stored(scratch("ct"))
    let divisor = Stored(dtype: .f32, shape: [1], bytes: bytes(Float(8)))
    #expect(tensors["a.input_global_scale"] == divisor)
    #expect(tensors["a.input_scale"] == nil)
    let configuration = text(of: scratch("ct/config.json"))
    #expect(!configuration.contains(#""input_activations": null"#))

    checkpoint = try Checkpoint(path: scratch("ct"))
    _ = try converter.convert(checkpoint, to: scratch("back"), layout: .modelopt)
    #expect(try stored(scratch("back")) == stored(scratch("in")))
    let algorithm = text(of: scratch("back/hf_quant_config.json"))
    #expect(algorithm.contains(#""NVFP4""#) && !algorithm.contains("W4A16"))

    let reports = try converter.convert(checkpoint, to: scratch("torchao"), layout: .torchao)
    #expect(reports.map(\.notes) == [["dropped a.input_global_scale"]])
    // AWQ's scales change the inputs of a layer, which cannot be expressed elsewhere.
    try SafetensorsFile.write(
      HandMade.modelopt([("a.weight", 0.5)]) + [("a.pre_quant_scale", .f32, [1], bytes(Float(2)))],
      metadata: ["format": "pt"], to: scratch("awq.safetensors"))
    let error = failure {
      _ = try converter.convert(
        Checkpoint(path: scratch("awq.safetensors")), to: scratch("x"), layout: .torchao)
    }
    #expect(error?.code == .unsupported && error?.text.contains("AWQ") == true)
  }

  /// Experts: plain [experts, inputs, outputs] → gpt-oss → plain, and gpt-oss → ModelOpt's NVFP4.
  @Test func fusedExperts() throws {
    let scratch = try Scratch()
    let source = try Checkpoint(path: vector("gpt-oss-source"))
    _ = try converter.quantize(source, to: scratch("mx"), scheme: .mxfp4, layout: .gptOSS)
    let experts = "model.layers.0.mlp.experts.down_proj"
    let blocks = try stored(scratch("mx"))
    #expect(blocks["\(experts)_blocks"]?.shape == [4, 64, 3, 16])
    #expect(blocks["\(experts)_scales"]?.shape == [4, 64, 3])
    let quantized = try Checkpoint(path: scratch("mx"))
    #expect(quantized.layout == .gptOSS)
    #expect(try Verification(quantized, against: source, jobs: 2).isClean)

    _ = try converter.dequantize(quantized, to: scratch("plain"), as: .bfloat16)
    let plain = try stored(scratch("plain"))
    #expect(plain[experts]?.shape == [4, 96, 64] && plain[experts]?.dtype == .bf16)
    // Four bits are exact in BF16.
    let decoded = try Checkpoint(path: scratch("plain"))
    let exact = try Comparison(reference: quantized, candidate: decoded, jobs: 2)
    #expect(exact.tensors.allSatisfy { $0.error.errorPower == 0 })

    _ = try converter.convert(quantized, to: scratch("nv"), layout: .modelopt)
    let converted = try Checkpoint(path: scratch("nv"))
    let lossless = try Comparison(reference: quantized, candidate: converted, jobs: 2)
    #expect(lossless.tensors.allSatisfy { $0.error.errorPower == 0 })
    // ModelOpt's own export has the same names, types and shapes, and one more scale.
    let theirs = try stored(vector("gpt-oss-modelopt-nvfp4"))
      .filter { !$0.key.contains("input_scale") }
    let ours = try stored(scratch("nv"))
    #expect(ours.keys.sorted() == theirs.keys.sorted())
    for (name, tensor) in theirs {
      #expect(ours[name]?.dtype == tensor.dtype && ours[name]?.shape == tensor.shape, "\(name)")
    }
  }
}
