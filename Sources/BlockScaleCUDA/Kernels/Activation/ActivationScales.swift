// SPDX-License-Identifier: Apache-2.0

package import BlockScale
package import Minifloat
package import PTX

// The scales of the FP8 activation flow, in the operations of `ActivationRecipe`.

extension KernelBuilder {
  /// A group's scale as it is stored, and what its values are divided by.
  package func groupScale<Element: ActivationElement>(
    maximum: Value<Float>, _ element: Element.Type, _ recipe: ActivationRecipe
  ) -> (stored: Value<BFloat16>, divisor: Value<Float>) {
    let greatest = Element.elementFormat.greatestFiniteMagnitude
    if recipe == .coat {
      let scale = (maximum + 1e-10) / greatest
      return (scale.bfloat16, scale)
    }
    let isFinite = maximum .< Value(Float.infinity)
    let rounded = (maximum + 1e-10).divided(by: greatest).bfloat16
    return (
      isFinite.select(rounded, Value(BFloat16.nan)),
      isFinite.select(rounded.float, Value(Float.infinity))
    )
  }

  /// The scale of a group whose values are rounded to BF16 before they are encoded.
  package func storedGroupScale<Element: ActivationElement>(
    maximum: Value<Float>, _ element: Element.Type, _ recipe: ActivationRecipe
  ) -> Value<BFloat16> {
    let greatest = Element.elementFormat.greatestFiniteMagnitude
    if recipe == .coat { return ((maximum + 1e-10) / greatest).bfloat16 }
    let scale = (maximum + 1e-10).divided(by: greatest).bfloat16
    // A finite FP32 value may become infinite in BF16: from half a unit above its largest on.
    return (maximum .< Value(Float(0x1.FFp127))).select(scale, Value(BFloat16.nan))
  }

  /// The scale that a division computes itself, as BF16 bits.
  func computedScale(
    maximum: Value<Float>, _ format: ElementFormat, source: SourceFormat, _ recipe: ActivationRecipe
  ) -> Value<UInt32> {
    let greatest = format.greatestFiniteMagnitude
    let scale =
      recipe == .coat
      ? ((maximum + 1e-10).rounded(to: source) / greatest).rounded(to: source)
      : (maximum + 1e-10) / greatest
    return scale.bfloat16.reinterpreted(as: UInt16.self).widened
  }

  /// How values are encoded under a tensor's scale, given as BF16 bits.
  package func tensorScale(
    _ largest: Value<UInt32>, _ recipe: ActivationRecipe
  ) -> (stored: Value<BFloat16>, divisor: Value<Float>) {
    let stored = largest.low16.reinterpreted(as: BFloat16.self)
    let value = (largest << 16).floatFromBits
    if recipe == .coat { return (stored, value) }
    let isFinite = value .< Value(Float.infinity)
    return (
      isFinite.select(stored, Value(BFloat16.nan)),
      isFinite.select(value, Value(Float.infinity))
    )
  }
}

extension KernelBuilder {
  /// Values of a group, or of a tensor, over what they are divided by.
  ///
  /// Under `storedScale` the divisor is a BF16 number d of at least 2⁻⁵⁰, or infinite, and no value
  /// lies beyond the range that it was taken from. Then a product with the reciprocal r and one step
  /// with the residual give the rounded quotient: before rounding they are off by less than 2⁻²² units
  /// in the last place, and v/d lies no closer than 1/510 of one to the middle of two numbers, since
  /// d has eight significant bits. Quotients so small that the residual is not exact have the code
  /// zero, at random too: no draw is below 2⁻¹⁷ units. Other divisors divide.
  func quotients(
    _ values: [Value<Float>], _ divisor: Value<Float>, _ recipe: ActivationRecipe
  ) -> [Value<Float>] {
    guard recipe == .storedScale else { return values.map { $0 / divisor } }
    // An infinite divisor gives zeros, and NaN of infinity: what v·0 gives, with no residual.
    let isFinite = divisor .< .infinity
    let finite = isFinite.select(divisor, Value<Float>(0))
    let reciprocal = isFinite.select(divisor.reciprocalOfNormal, Value<Float>(0))
    return values.map { value in
      let quotient = value * reciprocal
      // In this order of signs zeros keep theirs.
      let excess = finite.multiplied(by: quotient, adding: -value)
      return (-excess).multiplied(by: reciprocal, adding: quotient)
    }
  }
}

extension Value where Type == BFloat16 {
  /// A constant.
  package init(_ constant: BFloat16) { self.init(bits: UInt64(constant.bitPattern)) }
}
