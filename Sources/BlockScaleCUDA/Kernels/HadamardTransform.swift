// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import PTX

/// The rotation that spreads outliers over groups of 16 values before they are quantized.
///
/// The steps are those of `Matrix.rotated`, in the same order, so bytes are equal.
struct HadamardTransform {
  let k: KernelBuilder

  init(_ k: KernelBuilder) { self.k = k }

  /// Eight values of a group, whose other half a neighbouring lane holds, after the rotation, in BF16.
  func rotated(_ run: SourceRun) -> SourceRun {
    let lane = k.lane
    let isUpper = (lane & 1) .!= 0
    let signs = RandomHadamard.signs
    var values = run.floats().enumerated().map { index, value in
      // The upper half has signs of its own; turning the sign bit negates.
      let lower = signs[index] < 0 ? 0x8000_0000 : 0
      let upper = signs[index + 8] < 0 ? 0x8000_0000 : 0
      let turned =
        lower == upper
        ? value.bits ^ lower : value.bits ^ isUpper.select(Value<UInt32>(upper), Value(lower))
      return turned.floatFromBits
    }
    for distance in [1, 2, 4] {
      var next = values
      for index in 0..<8 where index & distance == 0 {
        next[index] = values[index] + values[index + distance]
        next[index + distance] = values[index] - values[index + distance]
      }
      values = next
    }
    // Between halves: the lower lane keeps sums, the upper one differences.
    values = values.map { value in
      let other = value.shuffled(xor: 1)
      return isUpper.select(other - value, value + other)
    }
    return packed(values)
  }

  /// Sixteen values of a group that one lane holds, after the rotation, in BF16.
  func rotated(_ group: [SourceRun]) -> [SourceRun] {
    var values = zip(group.flatMap { $0.floats() }, RandomHadamard.signs).map { value, sign in
      // The sum takes an operand's sign turned.
      sign < 0 ? -value : value
    }
    for distance in [1, 2, 4, 8] {
      var next = values
      for index in 0..<16 where index & distance == 0 {
        next[index] = values[index] + values[index + distance]
        next[index + distance] = values[index] - values[index + distance]
      }
      values = next
    }
    return [0, 8].map { first in packed(Array(values[first..<first + 8])) }
  }

  private func packed(_ values: [Value<Float>]) -> SourceRun {
    let words = stride(from: 0, to: 8, by: 2).map {
      k.pair(low: values[$0] * 0.25, high: values[$0 + 1] * 0.25, as: BFloat16.self)
        .reinterpreted(as: UInt32.self)
    }
    return SourceRun(k, .bfloat16, words: words)
  }
}
