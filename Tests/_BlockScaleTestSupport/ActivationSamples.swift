// SPDX-License-Identifier: Apache-2.0

package import BlockScale
import Minifloat

/// Seeded operands of the FP8 activation flow.
package struct ActivationSamples: Sendable {
  /// (M, N) or (B, S, N).
  package let shape: [Int]
  package let seed: UInt64

  package init(_ shape: [Int], seed: UInt64 = 1) {
    self.shape = shape
    self.seed = seed
  }

  /// Shapes that fill no vector, group or panel, among some that do.
  package static let shapes = [
    [1, 1], [3, 17], [33, 130], [64, 128], [2, 5, 48], [3, 43, 33],
  ]

  package var columns: Int { shape[shape.count - 1] }
  package var rows: Int { shape.dropLast().reduce(1, *) }

  /// Normal numbers, every sixteenth of them ten times as large.
  package func values(_ salt: UInt64, deviation: Float = 1) -> [Float] {
    var generator = SplitMix(seed: seed &* 1000 &+ salt)
    return (0..<rows * columns).map { index in
      generator.normal() * deviation * (index % 16 == 3 ? 10 : 1)
    }
  }

  /// A parameter of N values around a number.
  package func parameter(_ salt: UInt64, around center: Float) -> [Float] {
    var generator = SplitMix(seed: seed &* 1000 &+ salt)
    return (0..<columns).map { _ in center + generator.normal() / 4 }
  }

  package func bfloats(_ salt: UInt64, deviation: Float = 1) throws -> BFloat16Tensor {
    try Tensor(
      Matrix(
        values(salt, deviation: deviation).map { BFloat16($0) }, rows: rows, columns: columns),
      shape: shape)
  }

  package func codes<Element>(
    _ salt: UInt64, as element: Element.Type = Float8E4M3.self, groupSize: Int = 16,
    deviation: Float = 1
  ) throws -> Float8Tensor<Element> {
    try ReferenceBackend().quantizeGroups(
      bfloats(salt, deviation: deviation), as: element, groupSize: groupSize)
  }
}
