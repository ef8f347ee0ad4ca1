// SPDX-License-Identifier: Apache-2.0

package import Minifloat

/// Which scale the codes of the FP8 activation flow follow, and what becomes of NaN and infinity.
///
/// Both take a group's scale from its largest magnitude a as `(a + 1e-10) / 448` (57344 for E5M2) in
/// FP32 and store it in BF16. Source: COAT:coat/activation/real_quantization/_quantize.py.
public enum ActivationRecipe: String, Sendable, Hashable, CaseIterable {
  /// Codes follow the BF16 scale that is stored, so decoding adds no error of its own.
  ///
  /// A group, or a tensor with one scale, that holds a NaN or an infinity gets a NaN scale.
  case storedScale = "stored-scale"
  /// COAT's bytes.
  ///
  /// Codes of groups follow the FP32 scale from before it is stored in BF16, which costs up to
  /// 0.2 % on decoding. NaN is left out of maxima, and an infinity makes its group's scale infinite.
  case coat
}

/// A group's scale as it is stored, and what its values are divided by before they are encoded.
package struct ActivationScale: Sendable {
  package var stored: BFloat16
  package var divisor: Float

  package init(stored: BFloat16, divisor: Float) {
    self.stored = stored
    self.divisor = divisor
  }

  /// The scale of values that must not decode to numbers.
  package static let notFinite = ActivationScale(stored: .nan, divisor: .infinity)
}

extension ActivationRecipe {
  /// What is added to every maximum.
  private static let floor: Float = 1e-10

  /// The scale of a 1×QB group whose values are encoded from FP32.
  ///
  /// - Parameter maximum: As ``largestMagnitude(_:)`` gives it.
  package func groupScale(maximum: Float, _ format: ElementFormat) -> ActivationScale {
    let scale = (maximum + Self.floor) / format.greatestFiniteMagnitude
    switch self {
    case .coat: return ActivationScale(stored: BFloat16(scale), divisor: scale)
    case .storedScale:
      guard maximum.isFinite else { return .notFinite }
      let stored = BFloat16(scale)
      return ActivationScale(stored: stored, divisor: Float(stored))
    }
  }

  /// A finite FP32 value may become infinite in BF16: from half a unit above its largest on.
  package static let leastInfiniteInBFloat16: Float = 0x1.FFp127

  /// The scale of a group or row whose values are rounded to BF16 before they are encoded.
  ///
  /// - Parameter maximum: Of the FP32 values.
  package func storedGroupScale(maximum: Float, _ format: ElementFormat) -> BFloat16 {
    if self == .storedScale, !(maximum < Self.leastInfiniteInBFloat16) { return .nan }
    return groupScale(maximum: maximum, format).stored
  }

  /// How values are encoded under one scale of the whole tensor.
  ///
  /// - Parameter scale: The largest scale of the groups.
  package func tensorScale(_ scale: BFloat16) -> ActivationScale {
    if self == .storedScale, !scale.isFinite { return .notFinite }
    return ActivationScale(stored: scale, divisor: Float(scale))
  }

  /// The scale that a division computes itself from values of one format.
  ///
  /// COAT leaves it to torch, which rounds each step to the format of the values.
  package func computedScale(
    maximum: Float, _ format: ElementFormat, source: SourceFormat
  ) -> BFloat16 {
    switch self {
    case .storedScale: return groupScale(maximum: maximum, format).stored
    case .coat:
      let sum = source.rounded(maximum + Self.floor)
      return BFloat16(source.rounded(sum / format.greatestFiniteMagnitude))
    }
  }

  /// The larger of a magnitude so far and that of a value.
  ///
  /// Under ``storedScale`` NaN is larger than everything, under ``coat`` it is left out.
  package func larger(_ maximum: Float, _ value: Float) -> Float {
    let magnitude = value.magnitude
    if magnitude.isNaN { return self == .coat ? maximum : magnitude }
    return maximum < magnitude ? magnitude : maximum
  }

  /// The largest magnitude, zero of no values.
  package func largestMagnitude(_ values: some Sequence<Float>) -> Float {
    values.reduce(0) { larger($0, $1) }
  }
}

/// The largest of scales, none of which is negative; NaN if one is NaN.
package func largestScale(_ scales: [BFloat16]) -> BFloat16 {
  // Without a sign, bit patterns order like values, and NaN above infinity.
  BFloat16(bitPattern: scales.reduce(0) { max($0, $1.bitPattern) })
}

extension BFloat16 {
  /// The nearest value, ties to even; every NaN becomes the same one, whatever arithmetic it is from.
  package init(canonical value: Float) {
    self = value.isNaN ? .nan : BFloat16(value)
  }
}

extension Float8Element {
  /// The code nearest to a quotient, ties to even, saturating.
  ///
  /// As NVIDIA's conversion does it: NaN becomes 0x7F whatever its sign, and −0 keeps its sign.
  package static func code(_ value: Float, dividedBy divisor: Float) -> UInt8 {
    let quotient = value.magnitude / divisor
    if quotient.isNaN { return 0x7F }
    let sign: UInt8 = value.sign == .minus ? 0x80 : 0
    return sign | UInt8(Self(quotient, overflow: .saturate).bitPattern)
  }
}
