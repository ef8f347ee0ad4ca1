// SPDX-License-Identifier: Apache-2.0

/// The second level of NVFP4: one number that scales every block of a tensor.
///
/// Producers store either the number that block scales are multiplied by or its reciprocal. The
/// two do not convert into each other without rounding, so a matrix keeps the one that it has.
public struct TensorScale: Sendable, Hashable {
  /// The stored number.
  public var value: Float
  /// Whether block scales are divided by `value` (compressed-tensors) rather than multiplied.
  public var isDivisor: Bool

  /// Creates a tensor scale.
  public init(_ value: Float, isDivisor: Bool = false) {
    self.value = value
    self.isDivisor = isDivisor
  }

  /// The number that block scales are multiplied by, rounded once if it is stored as a divisor.
  public var multiplier: Float { isDivisor ? 1 / value : value }

  /// Applies the tensor scale to a value that already has its block scale.
  @inline(__always)
  package func applied(to value: Float) -> Float {
    isDivisor ? value / self.value : value * self.value
  }

  /// Applies the tensor scale to values that already have their block scales.
  @inline(__always)
  package func applied(to values: SIMD16<Float>) -> SIMD16<Float> {
    isDivisor ? values / value : values * value
  }
}
