// SPDX-License-Identifier: Apache-2.0

import Minifloat

extension Recipe {
  /// The FP8 numerics of this recipe, or nil if it has none.
  ///
  /// They hold for blocks of any shape.
  package func float8Rule(
    element: ElementFormat, source: SourceFormat, perTensor: Bool
  ) -> BlockRule? {
    switch self {
    case .deepseek: deepseekFloat8(element, powerOfTwo: false)
    case .deepseekUE8M0: deepseekFloat8(element, powerOfTwo: true)
    case .torchao: torchaoTrainingFloat8(element, powerOfTwo: false)
    case .torchaoPowerOfTwo: torchaoTrainingFloat8(element, powerOfTwo: true)
    case .transformerEngine: transformerEngineFloat8(element, source, powerOfTwo: false)
    case .transformerEnginePowerOfTwo: transformerEngineFloat8(element, source, powerOfTwo: true)
    case .coat: coatFloat8(element, perTensor: perTensor)
    case .compressedTensors: compressedTensorsFloat8(element, source)
    case .modelopt: modeloptFloat8(element, source, perTensor: perTensor)
    case .torchaoFloat8: torchaoInferenceFloat8(element, source)
    case .modeloptStatic, .torchaoSingleLevel, .transformerEngineFourOverSix, .fourOverSix,
      .vllmEmulation, .mlx, .mlxMetal, .mlxNearest, .ggml, .seed, .comfy, .ocp, .rceil, .ceil,
      .even:
      nil
    }
  }
}

private func floatScaleRule(
  _ element: ElementRule, _ scaleFormat: ScaleFormat = .float32,
  choose: @escaping @Sendable (Float) -> BlockRule.Choice
) -> BlockRule {
  BlockRule(element: element, scaleFormat: scaleFormat, choose: choose)
}

// DeepGEMM:deep_gemm/utils/math.py. Values are multiplied by the rounded reciprocal.
private func deepseekFloat8(_ element: ElementFormat, powerOfTwo: Bool) -> BlockRule {
  let maximum = element.greatestFiniteMagnitude
  return floatScaleRule(ElementRule(format: element, divides: false)) { a in
    let exact = max(a, leastDeepseekMaximum) / maximum
    let scale = powerOfTwo ? Float(bitPattern: deepseekExponent(exact) << 23) : exact
    return BlockRule.Choice(scaleCode: scale.bitPattern, factor: 1 / scale)
  }
}

/// What DeepGEMM raises the maximum of a block to.
let leastDeepseekMaximum: Float = 1e-4

/// The exponent field of a positive scale rounded up to a power of two (DeepGEMM's `ceil_to_ue8m0`).
func deepseekExponent(_ scale: Float) -> UInt32 {
  let carries: UInt32 = scale.bitPattern & 0x007F_FFFF == 0 ? 0 : 1
  return min(max((scale.bitPattern >> 23) + carries, 1), 254)
}

// ao:torchao/prototype/blockwise_fp8_training/kernels.py and torchao/float8/float8_utils.py
// (amax_to_scale). The stored scale is the reciprocal of the rounded factor, so it is not always
// A / 448. For powers of two the logarithm is taken in FP32.
private func torchaoTrainingFloat8(_ element: ElementFormat, powerOfTwo: Bool) -> BlockRule {
  let maximum = Double(element.greatestFiniteMagnitude)
  return floatScaleRule(ElementRule(format: element, divides: false)) { a in
    var factor = Float(maximum / Double(max(a, 1e-12)))
    if powerOfTwo { factor = Float(bitPattern: flooredByLogarithm(factor, 0) << 23) }
    return BlockRule.Choice(scaleCode: (1 / factor).bitPattern, factor: factor)
  }
}

// TransformerEngine:transformer_engine/common/recipe/recipe_common.cuh
private func transformerEngineFloat8(
  _ element: ElementFormat, _ source: SourceFormat, powerOfTwo: Bool
) -> BlockRule {
  let maximum = element.greatestFiniteMagnitude
  let sourceMaximum: Float =
    switch source {
    case .float32: .greatestFiniteMagnitude
    case .bfloat16: Float(BFloat16.greatestFiniteMagnitude)
    case .float16: Float(Float16.greatestFiniteMagnitude)
    }
  var result = floatScaleRule(ElementRule(format: element, divides: false)) { a in
    var factor: Float = 1
    if a > 0, a.isFinite {
      factor = maximum / a
      if factor.isInfinite { factor = sourceMaximum }
      if powerOfTwo { factor = Float(bitPattern: factor.bitPattern & 0xFF80_0000) }
    }
    return BlockRule.Choice(scaleCode: (1 / factor).bitPattern, factor: factor)
  }
  // Its kernels skip NaN in the maximum and give a block with an infinity the scale one.
  result.hidesNonFinite = true
  return result
}

// COAT:coat/activation/real_quantization/_quantize.py and _division.py, with IEEE division. Codes of
// a block follow the FP32 scale although the BF16 scale is stored; per tensor both are BF16.
private func coatFloat8(_ element: ElementFormat, perTensor: Bool) -> BlockRule {
  let maximum = element.greatestFiniteMagnitude
  var result = floatScaleRule(ElementRule(format: element, divides: true), .bfloat16) { a in
    let scale = (a + 1e-10) / maximum
    let stored = BFloat16(scale)
    return BlockRule.Choice(
      scaleCode: UInt32(stored.bitPattern), factor: perTensor ? Float(stored) : scale)
  }
  result.hidesNonFinite = true
  return result
}

// compressed-tensors:src/compressed_tensors/quantization/utils/helpers.py (calculate_qparams) and
// quantization/lifecycle/forward.py: everything runs in the precision of the weights.
private func compressedTensorsFloat8(_ element: ElementFormat, _ source: SourceFormat) -> BlockRule
{
  let maximum = element.greatestFiniteMagnitude
  let scaleFormat: ScaleFormat =
    switch source {
    case .float32: .float32
    case .bfloat16: .bfloat16
    case .float16: .float16
    }
  let epsilon: Float =
    switch source {
    case .float32: .ulpOfOne
    case .bfloat16: 0x1p-7
    case .float16: Float(Float16.ulpOfOne)
    }
  return floatScaleRule(
    ElementRule(format: element, divides: true, intermediate: source), scaleFormat
  ) { a in
    let rounded = source.rounded(a / maximum)
    let scale = rounded == 0 ? epsilon : rounded
    let code: UInt32 =
      switch scaleFormat {
      case .bfloat16: UInt32(BFloat16(scale).bitPattern)
      case .float16: UInt32(Float16(scale).bitPattern)
      default: scale.bitPattern
      }
    return BlockRule.Choice(scaleCode: code, factor: scale)
  }
}

// Model-Optimizer:modelopt/torch/export/quant_utils.py. A scale per tensor is a scalar to torch, which
// leaves the quotient in the precision of the weights; other scales promote it to FP32. An all-zero
// row or block gets the scale one; for a tensor whose scale is zero, also from underflow, the
// producer stores zero and NaN codes, which is not followed.
private func modeloptFloat8(
  _ element: ElementFormat, _ source: SourceFormat, perTensor: Bool
) -> BlockRule {
  let maximum = element.greatestFiniteMagnitude
  let leastNormal: Float = source == .float16 ? 0x1p-14 : .leastNormalMagnitude
  return floatScaleRule(
    ElementRule(format: element, divides: true, intermediate: perTensor ? source : .float32)
  ) { a in
    // The maximum of a row or block is raised to the smallest normal number of the weights.
    let floor = perTensor ? 0 : leastNormal
    let quotient = max(a, floor) / maximum
    let scale = a == 0 || quotient == 0 ? 1 : quotient
    return BlockRule.Choice(scaleCode: scale.bitPattern, factor: scale)
  }
}

// ao:torchao/quantization/quant_primitives.py (_choose_scale_float8, _quantize_affine_float8): the
// scale is divided in the precision of the weights and kept in FP32. A block of zeros gets the scale
// zero; the producer's codes there are NaN, ours are zero.
private func torchaoInferenceFloat8(_ element: ElementFormat, _ source: SourceFormat) -> BlockRule {
  let maximum = element.greatestFiniteMagnitude
  return floatScaleRule(ElementRule(format: element, divides: true)) { a in
    let scale = source.rounded(a / maximum)
    return BlockRule.Choice(
      scaleCode: scale.bitPattern, factor: scale == 0 ? .infinity : scale)
  }
}
