// SPDX-License-Identifier: Apache-2.0

import BlockScale
import BlockScaleCPU
import Minifloat
import _BlockScaleTestSupport

/// Kinds of values that reach the corners of quantizers.
enum TestValues: String, Sendable, CaseIterable {
  case normal, heavyTailed, tiny, huge, special, ties

  func values(_ count: Int, seed: UInt64, as format: SourceFormat) -> [Float] {
    var generator = SplitMix(seed: seed)
    let limit: Float = format == .float16 ? 65504 : .greatestFiniteMagnitude
    return (0..<count).map { index in
      let normal = generator.normal()
      let uniform = Float.random(in: 0.0001..<1, using: &generator)
      let dice = generator.next() % 64
      // Zeros of both signs, some of them filling blocks.
      if dice < 4 || index / 128 % 5 == 4 { return dice % 2 == 0 ? 0 : -0.0 }
      let value: Float
      switch self {
      case .normal: value = normal * 0.02
      case .heavyTailed: value = normal * 0.02 / (uniform * uniform)
      case .tiny:
        value = normal * (format == .float16 ? 0x1p-15 : 0x1p-127) * uniform * uniform * 8
      case .huge: value = normal * (format == .float16 ? 0x1p13 : 0x1p124)
      case .special:
        switch index % 97 {
        case 13: return .nan
        case 47: return .infinity
        case 48: return -.infinity
        default: value = normal
        }
      case .ties:
        // Multiples of quarters up to 6 next to one 6 or 448: products that are half way.
        value = index % 16 == 0 ? (index % 32 == 0 ? 6 : 448) : (normal * 8).rounded() / 4
      }
      return format.rounded(min(max(value, -limit), limit))
    }
  }

  /// Values of a source type.
  func values<Source: SourceValue>(
    _ count: Int, seed: UInt64, of type: Source.Type, _ convert: (Float) -> Source
  ) -> [Source] {
    values(count, seed: seed, as: Source.sourceFormat).map(convert)
  }
}

/// The tiers of this machine that have quantization kernels of their own; those that multiply BF16 have
/// AVX-512's.
let kernelTiers = CPUTier.available.filter { ![.portable, .avx512BF16, .amx].contains($0) }
