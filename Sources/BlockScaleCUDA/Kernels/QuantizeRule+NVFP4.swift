// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import PTX

/// What E2M1 and E4M3 reach together.
private let codeTimesScaleMaximum: Float = 6 * 448

extension QuantizeRule {
  /// The stored tensor scale of a tensor of this largest finite magnitude.
  func tensorScale(_ a: Value<Float>) -> Value<Float> {
    switch recipe {
    case .modelopt, .modeloptStatic, .torchao: return multiplier(a)
    case .comfy:
      let inT = (a / codeTimesScaleMaximum).rounded(to: source)
      return (inT .> 0).select(inT, multiplier(a))
    case .seed: return maximum(a / codeTimesScaleMaximum, Value(1e-12))
    case .transformerEngine:
      return (a .== 0).select(Value<Float>(1), a / codeTimesScaleMaximum)
    case .compressedTensors:
      let inT = (a.reciprocal.rounded(to: source) * codeTimesScaleMaximum).rounded(to: source)
      let inFP32 = codeTimesScaleMaximum / a
      let other = (inFP32.bits .< 0x7F80_0000).select(inFP32, Value<Float>(1))
      return (inT.bits .< 0x7F80_0000).select(inT, other)
    case .vllmEmulation:
      let bounded = minimum(
        a.reciprocal * codeTimesScaleMaximum, Value(Float.greatestFiniteMagnitude))
      return (a .== 0).select(Value<Float>(1), bounded)
    default:
      preconditionFailure("\(recipe) has no tensor scale, which was asked for")
    }
  }

  /// The multiplier of a tensor; one for a tensor of zeros.
  private func multiplier(_ a: Value<Float>) -> Value<Float> {
    let g = a / codeTimesScaleMaximum
    return (g .> 0).select(g, Value<Float>(1))
  }

  /// E4M3 scales; formulas and sources are those of `Recipe+NVFP4.swift`.
  func nvfp4Chooser(_ k: KernelBuilder, tensorMaximum: Value<Float>?) -> ScaleChooser {
    if usesTensorMaximum {
      guard let tensorMaximum else {
        preconditionFailure("\(recipe) needs the tensor's maximum")
      }
      return twoLevelChooser(k, tensorMaximum)
    }
    func code(_ scale: Value<Float>) -> Value<UInt32> { k.code(scale, as: Float8E4M3.self) }
    func value(_ code: Value<UInt32>) -> Value<Float> {
      k.value(ofCode: code, as: Float8E4M3.self)
    }
    func multiplied(_ code: Value<UInt32>) -> BlockChoice {
      BlockChoice(
        scaleCode: code, factor: (code .== 0).select(Value<Float>(0), value(code).reciprocal),
        divides: false)
    }
    func divided(_ code: Value<UInt32>) -> BlockChoice {
      BlockChoice(
        scaleCode: code, factor: (code .== 0).select(Value<Float>(.infinity), value(code)),
        divides: true)
    }
    switch recipe {
    case .torchaoSingleLevel:
      return { multiplied(code(minimum(maximum($0 / 6, Value(0x1p-6)), Value(448)))) }
    case .mlxMetal: return { multiplied(code($0 / 6)) }
    case .mlx: return { divided(code(($0 / 6).rounded(to: source))) }
    case .ggml: return { divided(ggmlScaleCode($0 / 6)) }
    default:
      preconditionFailure("\(recipe) has no NVFP4 rule, which was asked for when the rule was made")
    }
  }

  private func twoLevelChooser(
    _ k: KernelBuilder, _ tensorMaximum: Value<Float>
  ) -> ScaleChooser {
    func code(_ scale: Value<Float>) -> Value<UInt32> { k.code(scale, as: Float8E4M3.self) }
    func value(_ code: Value<UInt32>) -> Value<Float> {
      k.value(ofCode: code, as: Float8E4M3.self)
    }
    let greatest = Value<Float>(.greatestFiniteMagnitude)
    let g = tensorScale(tensorMaximum)
    switch recipe {
    case .modelopt, .modeloptStatic:
      let isStatic = recipe == .modeloptStatic
      let divisor = isStatic ? Value<Float>(6) : g * 6
      let sixth = isStatic ? tensorMaximum / 6 : g
      return { a in
        let relative = a / divisor
        let scale = (relative .== 0).select(Value<Float>(1), relative)
        let scaled = isStatic ? scale * 448 / sixth : scale
        let code = code(minimum(maximum(scaled, Value(0x1p-9)), Value(448)))
        return BlockChoice(scaleCode: code, factor: value(code) * g, divides: true)
      }
    case .torchao:
      let inverse = g.reciprocal
      return { a in
        let code = code(minimum(maximum(a / 6 / g, Value(0x1p-6)), Value(448)))
        return BlockChoice(scaleCode: code, factor: inverse / value(code), divides: false)
      }
    case .compressedTensors:
      return { a in
        let exact = code(minimum(g * (a / 6).rounded(to: source), Value(448)))
        let code = (exact .== 0).select(Value<UInt32>(0x20), exact)
        return BlockChoice(scaleCode: code, factor: value(code) / g, divides: true)
      }
    case .comfy:
      return { a in
        let code = code(minimum(a / 6 / g, Value(448)))
        return BlockChoice(
          scaleCode: code, factor: (code .== 0).select(Value<Float>(.infinity), g * value(code)),
          divides: true, isErased: code .== 0)
      }
    case .transformerEngine:
      let bounded = minimum(codeTimesScaleMaximum / tensorMaximum, greatest)
      let isOne = (tensorMaximum .== 0) .| (bounded .== 0)
      let G = isOne.select(Value<Float>(1), bounded)
      let (perSixth, inverse) = (G * (1 / 6), G.reciprocal)
      return { a in
        let code = code(a * perSixth)
        let factor = minimum((value(code) * inverse).reciprocal, greatest)
        return BlockChoice(scaleCode: code, factor: factor, divides: false)
      }
    case .vllmEmulation:
      let inverse = g.reciprocal
      return { a in
        let code = code(minimum(g * (a * (1 / 6)), Value(448)))
        let scale = value(code) * inverse
        let factor = minimum(scale.reciprocal, greatest)
        return BlockChoice(
          scaleCode: code, factor: (scale .== 0).select(Value<Float>(0), factor), divides: false,
          isErased: code .== 0)
      }
    case .seed:
      let sixfold = g * 6
      return { a in
        let code = code(minimum(maximum(a / sixfold, Value(1e-12)), Value(448)))
        return BlockChoice(
          scaleCode: code, factor: (code .== 0).select(Value<Float>(.infinity), value(code) * g),
          divides: true)
      }
    default:
      preconditionFailure("\(recipe) has no NVFP4 rule, which was asked for when the rule was made")
    }
  }
}

/// ggml's own conversion to E4M3; see `Recipe+NVFP4.swift`.
private func ggmlScaleCode(_ scale: Value<Float>) -> Value<UInt32> {
  let subnormal = minimum(scale.multipliedAndAdded(512, 0.5).truncated, Value(7))
  let rounded = (minimum(scale, Value(448)).bits + (1 << 19)) >> 20
  // The biases differ by 120; a field of fifteen is not used but for the largest code.
  let code = rounded - (120 << 3)
  let normal = (code .>= 15 << 3).select(Value<UInt32>(0x7E), code)
  return (scale .< 0x1p-6).select(subnormal, normal)
}

extension Value where Type == Float {
  /// A product and a sum that are rounded each.
  fileprivate func multipliedAndAdded(_ factor: Float, _ addend: Float) -> Value {
    self * factor + addend
  }
}
