// SPDX-License-Identifier: Apache-2.0

import Minifloat
import RealModule

// An MX scale is a power of two, so values scale exactly and producers differ only in how they round
// the exponent, and in ties and zeros.

extension Recipe {
  /// The MX numerics of this recipe, or nil if it has none.
  func mxRule(element: ElementFormat, source: SourceFormat) -> BlockRule? {
    // The exponent of the largest power of two in the element format, and its precision.
    let (elementExponent, significandBits) = element == .e2m1 ? (2, 1) : (8, 3)
    let maximum = element.greatestFiniteMagnitude
    switch self {
    case .ocp:
      return powerOfTwoRule(ElementRule(format: element, divides: true)) {
        floored($0.bitPattern, elementExponent)
      }
    case .even:
      // Half a unit of the element's precision is added before the exponent is read.
      let half = UInt32(1) << UInt32(23 - significandBits - 1)
      return powerOfTwoRule(ElementRule(format: element, divides: true)) {
        floored($0.bitPattern + half, elementExponent)
      }
    case .rceil, .torchao:
      return powerOfTwoRule(ElementRule(format: element, divides: true)) {
        ceiledByLogarithm($0 / maximum)
      }
    case .ceil:
      // ao:torchao/prototype/mx_formats/mx_tensor.py (to_mx): any significand above one counts.
      return powerOfTwoRule(ElementRule(format: element, divides: true)) {
        floored($0.bitPattern + 0x7F_FFFF, elementExponent)
      }
    case .deepseekUE8M0:
      // DeepGEMM:deep_gemm/utils/math.py (per_token_cast_to_fp4, per_token_cast_to_fp8) in groups of
      // 32 columns.
      return powerOfTwoRule(
        element == .e2m1
          ? ElementRule(format: element, divides: true, ties: .towardZero, zeroSign: .positive)
          : ElementRule(format: element, divides: true)
      ) { deepseekExponent(max($0, leastDeepseekMaximum) / maximum) }
    case .modelopt:
      // Model-Optimizer:modelopt/torch/quantization/qtensor/mxfp4_tensor.py, mxfp8_tensor.py
      return powerOfTwoRule(
        element == .e2m1
          ? ElementRule(
            format: element, divides: true, ties: .towardZero, zeroSign: .negativeForZeroInput)
          : ElementRule(format: element, divides: true)
      ) { ceiledByLogarithm($0 / maximum) }
    case .compressedTensors:
      return powerOfTwoRule(
        ElementRule(
          format: element, divides: true,
          zeroSign: element == .e2m1 ? .keptUnlessInputIsZero : .kept)
      ) { compressedTensorsCode($0, elementExponent, source) }
    case .mlxMetal:
      // mlx:mlx/backend/metal/kernels/fp_quantized.h (fp_quantize)
      return powerOfTwoRule(ElementRule(format: element, divides: true)) { a in
        let scale = a / maximum
        return scale == 0 ? 0 : UInt32(Float8E8M0(roundingUp: scale).bitPattern)
      }
    case .mlx, .mlxNearest:
      let isNearest = self == .mlxNearest
      return powerOfTwoRule(
        element == .e2m1
          ? ElementRule(format: element, divides: true, ties: .towardZero, zeroSign: .positive)
          : ElementRule(format: element, divides: true)
      ) { a in
        // mlx:mlx/backend/cpu/quantized.cpp divides in the precision of the weights.
        let scale = source.rounded(a / maximum)
        if scale == 0 { return 127 }
        return isNearest
          ? nearestByLogarithm(scale, source)
          : UInt32(Float8E8M0(roundingUp: scale).bitPattern)
      }
    case .ggml:
      guard element == .e2m1 else { return nil }
      return powerOfTwoRule(
        ElementRule(format: element, divides: true, ties: .towardZero, zeroSign: .positive)
      ) { flooredByLogarithm($0, elementExponent) }
    case .comfy:
      // comfy-kitchen (eager): RCEIL, but zeros of either sign become +0 in a block of zeros.
      guard element == .e4m3 else { return nil }
      return powerOfTwoRule(ElementRule(format: element, divides: true), erasesZeros: true) {
        ceiledByLogarithm($0 / maximum)
      }
    case .modeloptStatic, .torchaoSingleLevel, .torchaoFloat8, .torchaoPowerOfTwo,
      .transformerEngine, .transformerEnginePowerOfTwo, .transformerEngineFourOverSix, .fourOverSix,
      .vllmEmulation, .deepseek, .coat, .seed:
      return nil
    }
  }
}

/// The E8M0 code of the exponent field of a nonnegative float, lowered by the element's exponent.
private func floored(_ bitPattern: UInt32, _ elementExponent: Int) -> UInt32 {
  UInt32(min(max(Int(bitPattern >> 23) - elementExponent, 0), 254))
}

/// The E8M0 code of ⌈log₂ scale⌉ as torch evaluates it in FP32.
///
/// The logarithm of a value a few units above a power of two rounds to that of the power, whose
/// exponent is then not raised. How many units depends on how many bits the integer part of the
/// logarithm takes. Only FP32 sources come so close. The code of zero is zero.
private func ceiledByLogarithm(_ scale: Float) -> UInt32 {
  guard scale > 0 else { return 0 }
  let exponent = Int(scale.exponent)
  // log₂(1 + n·2⁻²³) ≈ 1.44·n·2⁻²³ vanishes below half a unit of the integer part.
  let absorbed =
    switch exponent < 0 ? -exponent - 1 : exponent {
    case ..<4: 0
    case ..<8: 1
    case ..<16: 2
    case ..<32: 5
    case ..<64: 11
    default: 22
    }
  let unitsAbove = Int(scale.significand.bitPattern & 0x7F_FFFF)
  return UInt32(min(max(exponent + 127 + (unitsAbove > absorbed ? 1 : 0), 0), 254))
}

/// The E8M0 code of ⌊log₂ maximum⌋ as C's `log2f` evaluates it, lowered by the element's exponent:
/// just below a power of two the logarithm rounds up to that of the power.
///
/// See ``ceiledByLogarithm(_:)``.
func flooredByLogarithm(_ maximum: Float, _ elementExponent: Int) -> UInt32 {
  guard maximum > 0 else { return 0 }
  let next = Int(maximum.exponent) + 1
  let absorbed =
    switch next {
    case -1...2: 0
    case -3...4: 1
    case -5...8: 2
    case -9...16: 5
    case -17...32: 11
    case -33...64: 22
    default: 44
    }
  let unitsBelow = 0x80_0000 - Int(maximum.bitPattern & 0x7F_FFFF)
  let exponent = unitsBelow <= absorbed ? next : next - 1
  return UInt32(min(max(exponent - elementExponent + 127, 0), 254))
}

/// The E8M0 code nearest to log₂ scale, as MLX 0.32.0 and earlier evaluate it: the logarithm is
/// rounded to the precision of the weights, halves go to even.
private func nearestByLogarithm(_ scale: Float, _ source: SourceFormat) -> UInt32 {
  // The precision of a double leaves the rounding to FP32 the correct one.
  let logarithm = source.rounded(Float(Double.log2(Double(scale))))
  return UInt32(min(max(logarithm.rounded(.toNearestOrEven), -127), 127) + 127)
}

/// compressed-tensors:src/compressed_tensors/quantization/utils/mxfp_utils.py: rounds up from a
/// significand of 1.75, also for FP8 elements, in the precision of the weights.
private func compressedTensorsCode(
  _ maximum: Float, _ elementExponent: Int, _ source: SourceFormat
) -> UInt32 {
  guard source == .float16 else {
    return floored(maximum.bitPattern + 0x0020_0000, elementExponent)
  }
  // An exponent field of zero reads as a power of two of zero, whose scale 2^-127 is zero in FP16
  // and is then replaced by one.
  let exponentField = (UInt32(Float16(maximum).bitPattern) + 0x0100) >> 10
  return exponentField == 0 ? 127 : UInt32(Int(exponentField) - 15 + 127 - elementExponent)
}

private func powerOfTwoRule(
  _ element: ElementRule, erasesZeros: Bool = false, scale: @escaping @Sendable (Float) -> UInt32
) -> BlockRule {
  BlockRule(
    element: element, scaleFormat: .e8m0,
    choose: { blockMaximum in
      let code = scale(blockMaximum)
      return BlockRule.Choice(
        scaleCode: code, factor: ScaleFormat.e8m0.value(ofCode: code),
        isErased: erasesZeros && blockMaximum == 0)
    })
}
