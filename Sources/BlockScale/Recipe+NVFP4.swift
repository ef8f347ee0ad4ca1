// SPDX-License-Identifier: Apache-2.0

import Minifloat

// NVFP4 scales two levels: a block's E4M3 scale S stands relative to the tensor's scale, which maps
// the tensor's maximum A to 2688 = 6 * 448. With g = A / 2688 and G = 2688 / A the producers agree
// up to rounding; the order in which each multiplies and divides is kept literally below. 4/6 maps A
// to 1536 = 6 * 256, so that a block scale has room for half as much again.

/// The largest magnitude that NVFP4 codes and block scales reach together.
private let codeTimesScaleMaximum: Float = 6 * 448
/// The same where a block may take 1.5 times its scale.
private let fourOverSixMaximum: Float = 6 * 256

extension Recipe {
  /// The NVFP4 numerics of this recipe, or nil if it has none.
  func nvfp4Rule(source: SourceFormat, tensorMaximum: Float) -> BlockRule? {
    switch self {
    case .modelopt, .modeloptStatic: modeloptNVFP4(tensorMaximum, isStatic: self == .modeloptStatic)
    case .torchao: torchaoNVFP4(tensorMaximum)
    case .torchaoSingleLevel: singleLevelNVFP4(scale: { scaleCode(min(max($0 / 6, 0x1p-6), 448)) })
    case .compressedTensors: compressedTensorsNVFP4(source: source, tensorMaximum)
    case .transformerEngine: transformerEngineNVFP4(tensorMaximum)
    case .seed: seedNVFP4(tensorMaximum)
    case .comfy: comfyNVFP4(source: source, tensorMaximum)
    case .mlx: singleLevelByTableNVFP4 { scaleCode(source.rounded($0 / 6)) }
    case .mlxMetal: singleLevelNVFP4(scale: { scaleCode($0 / 6) })
    case .ggml: singleLevelByTableNVFP4 { ggmlScaleCode($0 / 6) }
    case .vllmEmulation: vllmNVFP4(tensorMaximum)
    case .transformerEngineFourOverSix:
      fourOverSixNVFP4(tensorMaximum, .absoluteError, zeroSign: .kept)
    case .fourOverSix:
      fourOverSixNVFP4(tensorMaximum, .squaredError, zeroSign: .keptUnlessInputIsZero)
    case .torchaoFloat8, .torchaoPowerOfTwo, .transformerEnginePowerOfTwo, .deepseek,
      .deepseekUE8M0, .coat, .mlxNearest, .ocp, .rceil, .ceil, .even:
      nil
    }
  }

  /// What a tensor's maximum is divided by to give its NVFP4 tensor scale.
  package var nvfp4Range: Float {
    switch self {
    case .transformerEngineFourOverSix, .fourOverSix: fourOverSixMaximum
    default: codeTimesScaleMaximum
    }
  }
}

/// E4M3 with saturation, as every producer stores a block scale.
private func scaleCode(_ scale: Float) -> UInt32 {
  UInt32(Float8E4M3(scale, overflow: .saturate).bitPattern)
}

private func scaleValue(_ code: UInt32) -> Float { ScaleFormat.e4m3.value(ofCode: code) }

/// The multiplier of a tensor whose maximum is `tensorMaximum`.
///
/// Producers divide by zero for a tensor of zeros; here its scale is one, so that it decodes.
private func multiplier(_ tensorMaximum: Float) -> Float {
  let g = tensorMaximum / codeTimesScaleMaximum
  return g > 0 ? g : 1
}

private func twoLevelRule(
  divides: Bool, ties: TieRule = .even, zeroSign: ElementRule.ZeroSign, tensorScale: TensorScale?,
  erasesZeroScale: Bool = false, scale: @escaping @Sendable (Float) -> UInt32,
  factor: @escaping @Sendable (UInt32) -> Float
) -> BlockRule {
  BlockRule(
    element: ElementRule(format: .e2m1, divides: divides, ties: ties, zeroSign: zeroSign),
    scaleFormat: .e4m3, tensorScale: tensorScale,
    choose: { blockMaximum in
      let code = scale(blockMaximum)
      return BlockRule.Choice(
        scaleCode: code, factor: factor(code), isErased: erasesZeroScale && code == 0)
    },
    factor: factor)
}

// Model-Optimizer:modelopt/torch/quantization/qtensor/nvfp4_tensor.py
private func modeloptNVFP4(_ tensorMaximum: Float, isStatic: Bool) -> BlockRule {
  let g = multiplier(tensorMaximum)
  return twoLevelRule(
    divides: true, zeroSign: .keptUnlessInputIsZero, tensorScale: TensorScale(g),
    scale: { a in
      // Zero, also from underflow, stands for "no scale" and becomes one; what is left below
      // E4M3's smallest code is raised to it, so that a tiny block keeps some information.
      let relative = isStatic ? a / 6 : a / (6 * g)
      let scale = relative == 0 ? 1 : relative
      let scaled = isStatic ? scale * 448 / (tensorMaximum / 6) : scale
      return scaleCode(min(max(scaled, 0x1p-9), 448))
    },
    factor: { scaleValue($0) * g })
}

// ao:torchao/prototype/mx_formats/nvfp4_tensor.py (nvfp4_quantize, per_tensor_amax_to_scale)
private func torchaoNVFP4(_ tensorMaximum: Float) -> BlockRule {
  let g = multiplier(tensorMaximum)
  return twoLevelRule(
    divides: false, zeroSign: .kept, tensorScale: TensorScale(g),
    scale: { a in scaleCode(min(max((a / 6) / g, 0x1p-6), 448)) },
    factor: { (1 / g) / scaleValue($0) })
}

// torchao's without its second level, and mlx:mlx/backend/metal/kernels/fp_quantized.h (fp_quantize).
private func singleLevelNVFP4(scale: @escaping @Sendable (Float) -> UInt32) -> BlockRule {
  twoLevelRule(
    divides: false, zeroSign: .kept, tensorScale: nil, scale: scale,
    factor: { $0 == 0 ? 0 : 1 / scaleValue($0) })
}

// compressed-tensors:src/compressed_tensors/quantization/utils/helpers.py, driven by
// llm-compressor:src/llmcompressor/entrypoints/model_free. Arithmetic before the block scale runs
// in the precision T of the weights: torch evaluates 2688 / A as T(T(1 / A) * 2688).
private func compressedTensorsNVFP4(source: SourceFormat, _ tensorMaximum: Float) -> BlockRule {
  let inT = source.rounded(source.rounded(1 / tensorMaximum) * codeTimesScaleMaximum)
  // In FP16 the product overflows for maxima below 0.041, and the producer then silently takes 1,
  // which loses up to the whole tensor. Only here are its bytes not followed: G stays in FP32.
  let inFP32 = codeTimesScaleMaximum / tensorMaximum
  let G = inT.isFinite ? inT : inFP32.isFinite ? inFP32 : 1
  return twoLevelRule(
    divides: true, zeroSign: .keptUnlessInputIsZero, tensorScale: TensorScale(G, isDivisor: true),
    scale: { a in
      let code = scaleCode(min(G * source.rounded(a / 6), 448))
      return code == 0 ? 0x20 : code  // A zero scale becomes 0.125.
    },
    factor: { scaleValue($0) / G })
}

// comfy-kitchen (eager): the tensor scale is divided in the precision T of the weights; block scales
// as torchao's, without its floor. A block whose scale is zero becomes +0 throughout.
private func comfyNVFP4(source: SourceFormat, _ tensorMaximum: Float) -> BlockRule {
  let inT = source.rounded(tensorMaximum / codeTimesScaleMaximum)
  let g = inT > 0 ? inT : multiplier(tensorMaximum)
  return twoLevelRule(
    divides: true, zeroSign: .kept, tensorScale: TensorScale(g), erasesZeroScale: true,
    scale: { a in scaleCode(min((a / 6) / g, 448)) },
    factor: { $0 == 0 ? .infinity : g * scaleValue($0) })
}

/// TransformerEngine's G: one for a tensor of zeros, and finite.
private func boundedG(_ range: Float, _ tensorMaximum: Float) -> Float {
  let bounded = min(range / tensorMaximum, .greatestFiniteMagnitude)
  return tensorMaximum == 0 || bounded == 0 ? 1 : bounded
}

// TransformerEngine:transformer_engine/common/cast/nvfp4/core_nvfp4.cuh
private func transformerEngineNVFP4(_ tensorMaximum: Float) -> BlockRule {
  let G = boundedG(codeTimesScaleMaximum, tensorMaximum)
  let sixth: Float = 1 / 6
  return twoLevelRule(
    divides: false, zeroSign: .kept,
    tensorScale: TensorScale(tensorMaximum == 0 ? 1 : tensorMaximum / codeTimesScaleMaximum),
    scale: { a in scaleCode(a * (G * sixth)) },
    factor: { min(1 / (scaleValue($0) * (1 / G)), .greatestFiniteMagnitude) })
}

// TransformerEngine:transformer_engine/common/cast/nvfp4/quantize_4over6_nvfp4.cuh, and
// fouroversix:src/fouroversix/quantize/pytorch/reference.py. A block takes its scale, which maps its
// maximum to 6, or 1.5 times that, which maps it to 4, if the sum of its errors is strictly smaller
// so. The two differ in what they sum and in zeros.
private func fourOverSixNVFP4(
  _ tensorMaximum: Float, _ measure: BlockRule.Alternative.Measure, zeroSign: ElementRule.ZeroSign
) -> BlockRule {
  let G = boundedG(fourOverSixMaximum, tensorMaximum)
  let g = tensorMaximum / fourOverSixMaximum
  // fouroversix makes everything +0 under a scale of zero.
  let erases = zeroSign != .kept
  func rule(_ scale: @escaping @Sendable (Float) -> UInt32) -> BlockRule {
    twoLevelRule(
      divides: false, zeroSign: zeroSign, tensorScale: TensorScale(g > 0 ? g : 1),
      erasesZeroScale: erases, scale: scale,
      factor: { code in
        erases && code == 0
          ? 0 : min(1 / (scaleValue(code) * (1 / G)), .greatestFiniteMagnitude)
      })
  }
  var result = rule { a in scaleCode(min((a / 6) * G, 448)) }
  result.alternative = BlockRule.Alternative(
    choose: rule { a in scaleCode(min((a / 6) * G * 1.5, 448)) }.choose, measure: measure,
    multiplier: tensorMaximum, divisor: fourOverSixMaximum)
  return result
}

// vllm:vllm/model_executor/layers/quantization/utils/nvfp4_emulation_utils.py (ref_nvfp4_quant). The
// sixth is a factor, and torch evaluates 2688 / A as (1 / A) * 2688.
private func vllmNVFP4(_ tensorMaximum: Float) -> BlockRule {
  let exact = 1 / tensorMaximum * codeTimesScaleMaximum
  let G = tensorMaximum == 0 ? 1 : min(exact, .greatestFiniteMagnitude)
  let sixth: Float = 1 / 6
  return twoLevelRule(
    divides: false, zeroSign: .keptUnlessInputIsZero,
    tensorScale: TensorScale(G, isDivisor: true), erasesZeroScale: true,
    scale: { a in scaleCode(min(G * (a * sixth), 448)) },
    factor: { code in
      let scale = scaleValue(code) * (1 / G)
      return scale == 0 ? 0 : min(1 / scale, .greatestFiniteMagnitude)
    })
}

// seeds/002: quantize_to_nvfp4. The nearest value is found by argmin, so ties go low, and a block
// whose scale underflows divides by zero and keeps the first candidate, zero.
private func seedNVFP4(_ tensorMaximum: Float) -> BlockRule {
  let g = max(tensorMaximum / codeTimesScaleMaximum, 1e-12)
  return twoLevelRule(
    divides: true, ties: .towardZero, zeroSign: .keptUnlessInputIsZero,
    tensorScale: TensorScale(g),
    scale: { a in scaleCode(min(max(a / (6 * g), 1e-12), 448)) },
    factor: { $0 == 0 ? .infinity : scaleValue($0) * g })
}

// mlx:mlx/backend/cpu/quantized.cpp (fp_quantize), which divides in the precision of the weights, and
// ggml:src/ggml-quants.c (quantize_row_nvfp4_ref). Both search a table, so that ties go low and zeros
// are positive.
private func singleLevelByTableNVFP4(
  _ scale: @escaping @Sendable (Float) -> UInt32
) -> BlockRule {
  twoLevelRule(
    divides: true, ties: .towardZero, zeroSign: .positive, tensorScale: nil, scale: scale,
    factor: { $0 == 0 ? .infinity : scaleValue($0) })
}

/// ggml:src/ggml-impl.h (ggml_fp32_to_ue4m3): halves go up, subnormals stop short of the smallest
/// normal number, and everything from 256 becomes 448.
private func ggmlScaleCode(_ scale: Float) -> UInt32 {
  guard scale > 0 else { return 0 }
  guard scale >= 0x1p-6 else { return UInt32(min(scale * 512 + 0.5, 7)) }
  // Three bits of the significand are kept, with the one below them added.
  let rounded = (min(scale, 448).bitPattern + (1 << 19)) >> 20
  // The biases differ by 120; a field of fifteen is not used but for the largest code.
  let code = rounded - 120 << 3
  return code >= 15 << 3 ? 0x7E : code
}
