// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import PTX

extension QuantizeRule {
  /// FP8 with floating-point scales; formulas and sources are those of `Recipe+Float8.swift`.
  func float8Chooser(_ k: KernelBuilder) -> ScaleChooser {
    let greatest = element.greatestFiniteMagnitude
    switch recipe {
    case .deepseek:
      // Scales of finite maxima lie from 2^-30 to 2^120, where neither step leaves the normal numbers;
      // others are replaced.
      return { a in
        let scale = maximum(a, Value(1e-4)).divided(by: greatest)
        return BlockChoice(
          scaleCode: scale.bits, factor: scale.reciprocalOfNormal, divides: false)
      }
    case .deepseekUE8M0:
      return multiplying {
        (deepseekExponent(maximum($0, Value(1e-4)) / greatest) << 23).floatFromBits
      }
    case .torchao, .torchaoPowerOfTwo:
      // The quotient in FP64, rounded to FP32, is the quotient in FP32: 53 bits are more than twice
      // 24 and one.
      return { a in
        var factor = greatest / maximum(a, Value(1e-12))
        if recipe == .torchaoPowerOfTwo {
          factor = (flooredByLogarithm(factor, 0) << 23).floatFromBits
        }
        return BlockChoice(scaleCode: factor.reciprocal.bits, factor: factor, divides: false)
      }
    case .transformerEngine, .transformerEnginePowerOfTwo:
      return { transformerEngineChoice($0, greatest) }
    case .coat:
      return { a in
        let scale = (a + 1e-10) / greatest
        let stored = scale.bfloat16
        return BlockChoice(
          scaleCode: stored.reinterpreted(as: UInt16.self).widened,
          factor: isPerTensor ? stored.float : scale, divides: true)
      }
    case .compressedTensors:
      return { compressedTensorsChoice($0 / greatest) }
    case .modelopt:
      let leastNormal: Float = source == .float16 ? 0x1p-14 : .leastNormalMagnitude
      return { a in
        let quotient = (isPerTensor ? a : maximum(a, Value(leastNormal))) / greatest
        let scale = ((a .== 0) .| (quotient .== 0)).select(Value<Float>(1), quotient)
        return BlockChoice(scaleCode: scale.bits, factor: scale, divides: true)
      }
    case .torchaoFloat8:
      return { a in
        let scale = (a / greatest).rounded(to: source)
        return BlockChoice(
          scaleCode: scale.bits, factor: (scale .== 0).select(Value<Float>(.infinity), scale),
          divides: true)
      }
    default:
      preconditionFailure("\(recipe) has no FP8 rule, which was asked for when the rule was made")
    }
  }

  /// Values are multiplied by the rounded reciprocal of the stored scale.
  private func multiplying(_ scale: @escaping (Value<Float>) -> Value<Float>) -> ScaleChooser {
    { a in
      let scale = scale(a)
      return BlockChoice(scaleCode: scale.bits, factor: scale.reciprocal, divides: false)
    }
  }

  private func transformerEngineChoice(_ a: Value<Float>, _ greatest: Float) -> BlockChoice {
    let sourceMaximum: Float =
      switch source {
      case .float32: .greatestFiniteMagnitude
      case .bfloat16: Float(BFloat16.greatestFiniteMagnitude)
      case .float16: 65504
      }
    let quotient = greatest / a
    var factor = (quotient.bits .>= 0x7F80_0000).select(Value(sourceMaximum), quotient)
    if recipe == .transformerEnginePowerOfTwo {
      factor = (factor.bits & 0xFF80_0000).floatFromBits
    }
    let isNumber = (a .> 0) .& (a.bits .< 0x7F80_0000)
    factor = isNumber.select(factor, Value<Float>(1))
    return BlockChoice(scaleCode: factor.reciprocal.bits, factor: factor, divides: false)
  }

  private func compressedTensorsChoice(_ quotient: Value<Float>) -> BlockChoice {
    let epsilon: Float =
      switch source {
      case .float32: .ulpOfOne
      case .bfloat16: 0x1p-7
      case .float16: 0x1p-10
      }
    let rounded = quotient.rounded(to: source)
    let scale = (rounded .== 0).select(Value<Float>(epsilon), rounded)
    let code: Value<UInt32> =
      switch source {
      case .float32: scale.bits
      // Both conversions are exact: the scale was rounded to the format.
      case .bfloat16: scale.bits >> 16
      case .float16: scale.half.reinterpreted(as: UInt16.self).widened
      }
    return BlockChoice(scaleCode: code, factor: scale, divides: true)
  }
}
