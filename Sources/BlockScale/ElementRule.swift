// SPDX-License-Identifier: Apache-2.0

package import Minifloat

/// How a recipe turns one value of a block into a code once the block's scale is known.
package struct ElementRule: Sendable, Hashable {
  /// The sign of codes whose magnitude is zero.
  package enum ZeroSign: Sendable, Hashable {
    /// The sign of the input, so −0 keeps its sign.
    case kept
    /// The sign of nonzero inputs only: −0 becomes +0, a small negative value −0.
    case keptUnlessInputIsZero
    /// Never negative.
    case positive
    /// As `keptUnlessInputIsZero`, but an input of zero, of either sign, becomes −0.
    case negativeForZeroInput
  }

  /// The format of the codes.
  package var format: ElementFormat
  /// Whether the value is divided by the block's factor instead of multiplied.
  package var divides: Bool
  /// Where a value half way between two codes goes.
  package var ties: TieRule
  /// The sign of zero codes.
  package var zeroSign: ZeroSign
  /// The format that the scaled value is rounded to before it is encoded.
  package var intermediate: SourceFormat

  package init(
    format: ElementFormat, divides: Bool, ties: TieRule = .even, zeroSign: ZeroSign = .kept,
    intermediate: SourceFormat = .float32
  ) {
    self.format = format
    self.divides = divides
    self.ties = ties
    self.zeroSign = zeroSign
    self.intermediate = intermediate
  }
}
