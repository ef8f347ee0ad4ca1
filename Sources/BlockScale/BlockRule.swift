// SPDX-License-Identifier: Apache-2.0

/// The numerics of one recipe for one tensor: everything that is fixed before its blocks are seen.
///
/// A recipe is a pair of functions. One turns the largest magnitude of a block into the stored
/// scale and the factor that values are multiplied with (or divided by) before they are encoded;
/// producers order these operations differently, which is what their bytes differ in. The other
/// gives the factor that belongs to a stored scale, for recipes that can be searched. A recipe may
/// also name an alternative, which a block takes if its values come out closer.
package struct BlockRule: Sendable {
  /// A block's stored scale, and the factor that its values are brought into range with.
  package struct Choice: Sendable, Hashable {
    package var scaleCode: UInt32
    package var factor: Float
    /// Whether every value becomes +0, also a negative one.
    package var isErased: Bool

    package init(scaleCode: UInt32, factor: Float, isErased: Bool = false) {
      self.scaleCode = scaleCode
      self.factor = factor
      self.isErased = isErased
    }
  }

  /// A second scale for each block, and how the two are compared.
  package struct Alternative: Sendable {
    /// What is summed over a block.
    package enum Measure: Sendable, Hashable {
      case absoluteError
      case squaredError
    }

    /// The scale and factor of a block whose largest magnitude is given and finite.
    package var choose: @Sendable (_ blockMaximum: Float) -> Choice
    package var measure: Measure
    /// Code times block scale is multiplied by this and then divided by `divisor`, to compare values
    /// as the producer decodes them.
    package var multiplier: Float
    package var divisor: Float
  }

  /// How elements are encoded.
  package var element: ElementRule
  /// What scales are stored as.
  package var scaleFormat: ScaleFormat
  /// The tensor's own scale, if the scheme has one.
  package var tensorScale: TensorScale?
  /// Whether NaN is left out of a block's maximum and infinity is taken as a value, as the producer
  /// does; otherwise a block that holds either gets a NaN scale.
  package var hidesNonFinite = false
  /// The scale and factor of a block whose largest magnitude is given and finite.
  package var choose: @Sendable (_ blockMaximum: Float) -> Choice
  /// The factor that belongs to a stored scale; nil where it depends on more than that.
  package var factor: (@Sendable (_ scaleCode: UInt32) -> Float)?
  /// A second scale, which a block takes if its error is strictly smaller.
  ///
  /// Nil for most recipes. A block that covers its whole tensor always takes the first.
  package var alternative: Alternative?

  /// The choice for a block that holds a NaN or an infinity: everything decodes to NaN.
  package var nonFiniteChoice: Choice {
    Choice(scaleCode: scaleFormat.nanCode, factor: element.divides ? .infinity : 0)
  }
}
