// SPDX-License-Identifier: Apache-2.0

import _BlockScaleShims

/// A class of processors that kernels exist for, from the plainest to the fastest.
///
/// Quantizers give the same bytes on every tier; products of matrices differ in the order of their
/// FP32 sums alone.
public enum CPUTier: String, Sendable, Hashable, CaseIterable, Comparable, CustomStringConvertible {
  /// Swift and C without instructions that some processor lacks.
  case portable
  /// Advanced SIMD of 64-bit Arm.
  case neon
  /// AVX2, FMA and F16C: x86 since 2013.
  case avx2
  /// AVX-512 with BW, DQ, VL, VBMI and VNNI: Ice Lake, Zen 4 and later.
  case avx512
  /// AVX-512 with BF16 products beside these: Zen 4, Sapphire Rapids and later.
  case avx512BF16 = "avx512-bf16"
  /// AMX tiles with BF16 products, beside AVX-512: Sapphire Rapids and later.
  case amx = "amx-bf16"

  /// The tiers that this processor and its operating system offer, from the plainest.
  public static var available: [CPUTier] {
    let features = bs_cpu_features()
    return allCases.filter {
      switch $0 {
      case .portable: true
      case .neon: features.neon
      case .avx2: features.avx2
      case .avx512: features.avx512
      case .avx512BF16: features.avx512_bf16
      case .amx: features.amx_bf16
      }
    }
  }

  /// The tier of this machine on which products take the least time.
  ///
  /// It is the last of those available, but AVX-512's products of FP32 are quicker than those of BF16 on
  /// Intel's processors (`docs/performance/cpu-products.md`).
  public static var fastest: CPUTier {
    let isQuick = bs_cpu_features().avx512_bf16_is_quick
    // The portable tier is always there.
    return available.last { $0 != .avx512BF16 || isQuick } ?? .portable
  }

  /// Compares in the order of declaration.
  public static func < (left: CPUTier, right: CPUTier) -> Bool { left.rank < right.rank }

  private var rank: Int {
    switch self {
    case .portable: 0
    case .neon: 1
    case .avx2: 2
    case .avx512: 3
    case .avx512BF16: 4
    case .amx: 5
    }
  }

  /// The name that options and reports use.
  public var description: String { rawValue }
}
