// SPDX-License-Identifier: Apache-2.0

import BlockScale
import PTX

extension QuantizeRule {
  /// E8M0 scales; formulas and sources are those of `Recipe+MX.swift`.
  ///
  /// Dividing by a power of two is multiplying by its inverse, exactly, which the hardware does in
  /// one instruction.
  func mxChooser(_ k: KernelBuilder) -> ScaleChooser {
    let exponent = exponentCode(k)
    return { a in
      let code = exponent(a)
      // 2^(127 − code); the inverse of the largest scale, 2^127, is subnormal.
      let inverse = maximum((254 - code) << 23, Value(0x0040_0000)).floatFromBits
      return BlockChoice(
        scaleCode: code, factor: inverse, divides: false,
        isErased: recipe == .comfy ? a .== 0 : nil)
    }
  }

  /// The E8M0 code for a block's maximum.
  private func exponentCode(_ k: KernelBuilder) -> (Value<Float>) -> Value<UInt32> {
    // The exponent of the largest power of two in the element format, and its precision.
    let (elementExponent, significandBits) = element == .e2m1 ? (2, 1) : (8, 3)
    let greatest = element.greatestFiniteMagnitude
    func floored(_ bits: Value<UInt32>) -> Value<UInt32> {
      // The exponent field of a finite float is at most 254, also where half a unit carries into it.
      minimum((bits >> 23).lowered(by: elementExponent), Value(254))
    }
    switch recipe {
    case .ocp: return { floored($0.bits) }
    case .even: return { floored($0.bits + (1 << (23 - significandBits - 1))) }
    case .ceil: return { floored($0.bits + 0x7F_FFFF) }
    case .rceil, .torchao, .modelopt, .comfy: return { ceiledByLogarithm($0 / greatest) }
    case .deepseekUE8M0: return { deepseekExponent(maximum($0, Value(1e-4)) / greatest) }
    case .ggml: return { flooredByLogarithm($0, elementExponent) }
    case .mlxMetal: return { roundedUp($0 / greatest, zero: 0) }
    case .mlx: return { roundedUp(($0 / greatest).rounded(to: source), zero: 127) }
    case .compressedTensors:
      if source != .float16 { return { floored($0.bits + 0x0020_0000) } }
      return { a in
        let field = (a.half.reinterpreted(as: UInt16.self).widened + 0x0100) >> 10
        return (field .== 0).select(Value<UInt32>(127), field + (112 - elementExponent))
      }
    default:
      preconditionFailure("\(recipe) has no MX rule, which was asked for when the rule was made")
    }
  }

  /// The smallest power of two that is not below a scale, as `cvt.rp.ue8m0x2` finds it.
  private func roundedUp(_ scale: Value<Float>, zero: Int) -> Value<UInt32> {
    let bits = scale.bits
    // 2^-127, whose code is 0, is a subnormal; larger ones go to 2^-126.
    let subnormal = (bits .> 0x0040_0000).select(Value<UInt32>(1), Value(0))
    let normal = minimum((bits + 0x7F_FFFF) >> 23, Value(254))
    let code = (bits .< 0x0080_0000).select(subnormal, normal)
    return (bits .== 0).select(Value<UInt32>(zero), code)
  }
}
