// SPDX-License-Identifier: Apache-2.0

/// What happens to a value that lies exactly half way between two neighbouring codes.
///
/// The producers of quantized checkpoints do not agree here, so a byte-exact encoder must let its
/// caller choose: hardware and most libraries round ties to even; searches by smallest distance
/// (MLX and ggml on the CPU, ModelOpt's MXFP4) keep the first, smaller candidate.
public enum TieRule: Sendable, Hashable, CaseIterable {
  /// The neighbour whose code is even, as IEEE 754 rounds.
  case even
  /// The neighbour of smaller magnitude.
  case towardZero
  /// The neighbour of larger magnitude.
  case awayFromZero

  /// Rounds a nonnegative value to an integer under this rule.
  @inlinable
  func rounded(_ magnitude: Double) -> Double {
    switch self {
    case .even: magnitude.rounded(.toNearestOrEven)
    case .awayFromZero: magnitude.rounded(.toNearestOrAwayFromZero)
    case .towardZero: (magnitude - 0.5).rounded(.up)
    }
  }
}

/// What happens to a finite value that rounds beyond the largest finite code, and to infinities.
public enum OverflowRule: Sendable, Hashable, CaseIterable {
  /// The format's infinity, or its NaN where it has no infinity, as a conversion of the standard
  /// library overflows. `Float4E2M1` has neither and saturates.
  case ieee
  /// The largest finite code of the same sign, as NVIDIA's `cvt.satfinite` does.
  case saturate
}
