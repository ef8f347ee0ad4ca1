// SPDX-License-Identifier: Apache-2.0

import RealModule

// The scalar functions of activations, in FP32 and in this order of operations.
//
// All back ends agree to the bit: they call these, or have the same operations in vectors (σ). GELU's
// `exp` and `erf` are those of the platform's C library (within one unit in the last place in glibc);
// another library may give another last bit, and with it, rarely, another code. σ and SiLU are right
// within five units in the last place, and zero below −88.7, where e^−x overflows. Φ is `(1 + erf) / 2`, as COAT has it, whose
// absolute error is 1e-7; far below zero, where Φ is smaller than that, GELU keeps fewer digits.

/// 1 / (1 + e^−x).
package func sigmoid(_ x: Float) -> Float {
  1 / (1 + exponential(-x))
}

/// x·σ(x).
package func silu(_ x: Float) -> Float {
  x * sigmoid(x)
}

/// The derivative of SiLU: σ + x·σ·(1 − σ).
package func siluDerivative(_ x: Float) -> Float {
  let sigma = sigmoid(x)
  return sigma + x * sigma * (1 - sigma)
}

/// (1 + erf(x / √2)) / 2, the distribution function of the standard normal distribution.
package func normalDistribution(_ x: Float) -> Float {
  (1 + Float.erf(x / 1.414_213_6)) / 2
}

/// GELU by the error function.
package func gelu(_ x: Float) -> Float {
  x * normalDistribution(x)
}

/// The derivative of GELU: Φ(x) + x·e^(−x²/2) / √(2π).
package func geluDerivative(_ x: Float) -> Float {
  // √(2π)
  normalDistribution(x) + x * Float.exp(-(x * x) / 2) / 2.506_628_3
}
