// SPDX-License-Identifier: Apache-2.0

package import BlockScale
import Minifloat
package import PTX

/// A recipe's numerics for kernels: the operations of its `BlockRule`, in the same order.
///
/// What does not depend on a block's maximum (the element's rule, the format of scales, how blocks
/// that are not finite are treated) is taken from the recipe itself, so that it is said once.
package struct QuantizeRule: Sendable, Hashable {
  package let recipe: Recipe
  package let element: ElementFormat
  package let scale: ScaleFormat
  package let source: SourceFormat
  /// Whether the scale is that of a whole tensor.
  package let isPerTensor: Bool
  /// How elements are encoded.
  package let elementRule: ElementRule
  /// Whether NaN is left out of maxima and infinity is taken as a value.
  package let hidesNonFinite: Bool
  /// Whether scales follow the largest magnitude of the tensor (NVFP4's second level).
  package let usesTensorMaximum: Bool

  /// The rule of a recipe.
  ///
  /// - Throws: ``BlockScaleError`` if the recipe does not define these formats, or if kernels do not
  ///   have it.
  package init(
    _ recipe: Recipe, element: ElementFormat, scale: ScaleFormat, source: SourceFormat,
    isPerTensor: Bool = false
  ) throws(BlockScaleError) {
    // The maximum plays no part in what is read here.
    guard
      let rule = recipe.rule(
        element: element, scale: scale, source: source, tensorMaximum: 1, perTensor: isPerTensor)
    else {
      throw BlockScaleError(
        .unsupportedRecipe,
        "The recipe '\(recipe.rawValue)' does not define \(element.rawValue) codes with "
          + "\(scale.rawValue) scales.")
    }
    guard rule.alternative == nil, !(recipe == .mlxNearest && scale == .e8m0) else {
      throw BlockScaleError(
        .unsupportedRecipe,
        "GPU kernels do not have the recipe '\(recipe.rawValue)': "
          + (rule.alternative == nil
            ? "its logarithm is that of a CPU library." : "it tries two scales for each block."))
    }
    self.recipe = recipe
    self.element = element
    self.scale = scale
    self.source = source
    self.isPerTensor = isPerTensor
    elementRule = rule.element
    hidesNonFinite = rule.hidesNonFinite
    usesTensorMaximum = element == .e2m1 && scale == .e4m3 && rule.tensorScale != nil
  }

  /// Letters and digits that tell rules apart in the names of kernels.
  package var name: String {
    let recipe = recipe.rawValue.map { $0.isLetter || $0.isNumber ? String($0) : "_" }.joined()
    return "\(element.rawValue)_\(scale.rawValue)_\(recipe)_\(source.rawValue)"
      + (isPerTensor ? "_tensor" : "")
  }
}

/// The scale and factor of a block in registers.
package struct BlockChoice {
  /// The bits of the stored scale.
  package var scaleCode: Value<UInt32>
  /// What values are multiplied with, or divided by.
  package var factor: Value<Float>
  /// Whether `factor` is a divisor.
  package var divides: Bool
  /// The bits of a word of codes that count; nil if all always do.
  ///
  /// Blocks that a recipe erases keep none, and E2M1 codes under a NaN scale only their signs.
  package var keptBits: Value<UInt32>?

  init(
    scaleCode: Value<UInt32>, factor: Value<Float>, divides: Bool, isErased: Value<Bool>? = nil
  ) {
    self.scaleCode = scaleCode
    self.factor = factor
    self.divides = divides
    keptBits = isErased?.select(Value(0), Value(0xFFFF_FFFF))
  }

  /// A value in the range of the element format.
  package func scaled(_ value: Value<Float>) -> Value<Float> {
    divides ? value / factor : value * factor
  }
}

/// The choice for a block whose largest magnitude is given and, unless the rule hides others, finite.
typealias ScaleChooser = (_ maximum: Value<Float>) -> BlockChoice

extension QuantizeRule {
  /// Prepares the scales of blocks, and gives the function from a block's maximum to its choice.
  ///
  /// - Parameter tensorMaximum: The largest finite magnitude of the tensor, for rules that use it.
  package func chooser(
    _ k: KernelBuilder, tensorMaximum: Value<Float>?
  ) -> (_ maximum: Value<Float>) -> BlockChoice {
    let choose: ScaleChooser =
      switch scale {
      case .e8m0: mxChooser(k)
      case .e4m3: nvfp4Chooser(k, tensorMaximum: tensorMaximum)
      case .float32, .bfloat16, .float16: float8Chooser(k)
      }
    return { maximum in
      var choice = choose(maximum)
      if hidesNonFinite { return choice }
      let isFinite = maximum.bits .< 0x7F80_0000
      choice.scaleCode = isFinite.select(choice.scaleCode, Value(Int(scale.nanCode)))
      let factor: Float = choice.divides ? .infinity : 0
      choice.factor = isFinite.select(choice.factor, Value(factor))
      if element == .e2m1 {
        // E2M1 has no NaN: what a NaN scale makes of values is zero.
        choice.keptBits = isFinite.select(
          choice.keptBits ?? Value(0xFFFF_FFFF), Value(0x8888_8888))
      }
      return choice
    }
  }

  /// Whether scaling can give NaN in a block of finite values (zero times infinity), which E2M1
  /// stores as zero.
  var canMakeNaN: Bool { element == .e2m1 && scale == .e4m3 && recipe == .torchao }
}

// MARK: Arithmetic that recipes share

extension Value where Type == Float {
  /// Rounded to a format and back.
  func rounded(to format: SourceFormat) -> Value {
    switch format {
    case .float32: self
    case .bfloat16: bfloat16.float
    case .float16: half.float
    }
  }
}

extension Value where Type == Float {
  /// The quotient rounded to nearest even, of a normal number by a constant, if the quotient is normal
  /// too: the product with the reciprocal and one step of correction, without a test for the rest.
  func divided(by divisor: Float) -> Value {
    let reciprocal = Value(1 / divisor)
    let product = self * reciprocal
    let rest = product.multiplied(by: Value(-divisor), adding: self)
    return rest.multiplied(by: reciprocal, adding: product)
  }

  /// The reciprocal rounded to nearest even, from 2^-126 to 2^126, without a test for the rest.
  var reciprocalOfNormal: Value {
    let guess = approximateReciprocal
    let error = (-self).multiplied(by: guess, adding: Value(1))
    return guess.multiplied(by: error, adding: guess)
  }
}

extension Value where Type == UInt32 {
  /// `max(self - amount, 0)`.
  func lowered(by amount: Int) -> Value { maximum(self, Value(amount)) - amount }
}

/// The exponent field of a positive scale rounded up to a power of two (DeepGEMM's `ceil_to_ue8m0`).
func deepseekExponent(_ scale: Value<Float>) -> Value<UInt32> {
  minimum(maximum((scale.bits + 0x7F_FFFF) >> 23, Value(1)), Value(254))
}

/// The number of last places, out of 2²³, that vanish when the logarithm of a number that close to a
/// power of two is taken in FP32: a step for each bit that the integer part of the logarithm takes.
private func absorbedPlaces(
  of integerPart: Value<UInt32>, _ steps: [(below: Int, places: Int)], beyond: Int
) -> Value<UInt32> {
  var result = Value<UInt32>(beyond)
  for step in steps.reversed() {
    result = (integerPart .< step.below).select(Value(step.places), result)
  }
  return result
}

/// The E8M0 code of ⌈log₂ scale⌉ as torch evaluates it in FP32; see `Recipe+MX.swift`.
func ceiledByLogarithm(_ scale: Value<Float>) -> Value<UInt32> {
  // A subnormal's exponent field says nothing; the code of what lies below 2^-127 is zero, and that
  // of the rest 1, for its distance from 2^-127 exceeds what is absorbed or it is that power.
  let bits = scale.bits
  let field = bits >> 23
  // ⌊log₂⌋, and what is as long as it: its complement where it is negative.
  let integerPart = (field .< 127).select(126 - field, field - 127)
  let absorbed = absorbedPlaces(
    of: integerPart, [(4, 0), (8, 1), (16, 2), (32, 5), (64, 11)], beyond: 22)
  let raised = ((bits & 0x7F_FFFF) .> absorbed).select(Value<UInt32>(1), Value(0))
  let normal = minimum(field + raised, Value(254))
  // Of a subnormal: 2^-127 has the code 0, and more than 22 units above it (each 2^-149, hence
  // doubled in its own last places) the code is 1.
  let subnormal = (bits .> 0x40_000B).select(Value<UInt32>(1), Value(0))
  return (field .== 0).select(subnormal, normal)
}

/// The E8M0 code of ⌊log₂ maximum⌋ as C's `log2f` evaluates it; see `Recipe+MX.swift`.
func flooredByLogarithm(_ maximum: Value<Float>, _ elementExponent: Int) -> Value<UInt32> {
  let bits = maximum.bits
  let field = bits >> 23
  // The exponent of the next power of two is field − 126; the larger of it and one less it.
  let next = (field .< 127).select(127 - field, field - 126)
  let absorbed = absorbedPlaces(
    of: next, [(3, 0), (5, 1), (9, 2), (17, 5), (33, 11), (65, 22)], beyond: 44)
  let unitsBelow = 0x80_0000 - (bits & 0x7F_FFFF)
  let raised = (unitsBelow .<= absorbed).select(Value<UInt32>(1), Value(0))
  return minimum((field + raised).lowered(by: elementExponent), Value(254))
}
