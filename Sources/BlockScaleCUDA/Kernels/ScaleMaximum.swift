// SPDX-License-Identifier: Apache-2.0

package import BlockScale
import Minifloat
package import PTX

/// The largest magnitude of a run of values, as the bits of FP32.
///
/// - Constraints: `maximum` holds zero before. Any number of values; `isAligned` asks for a multiple of
///   eight that begins at a multiple of 16 bytes.
/// - Numerics: Exact; as bits, infinity and NaN order above all numbers.
/// - Traffic: Each value is read once.
package struct ScaleMaximum: Kernel {
  /// What counts.
  package enum Kind: String, Sendable, Hashable, CaseIterable {
    /// Every value; NaN is larger than infinity.
    case all
    /// All but NaN.
    case numbers
    /// Neither NaN nor infinity.
    case finite
  }

  package var source: SourceFormat
  package var kind: Kind
  package var isAligned = true

  package init(_ source: SourceFormat, kind: Kind = .all, isAligned: Bool = true) {
    self.source = source
    self.kind = kind
    self.isAligned = isAligned
  }

  static let threads = 256
  /// Runs whose loads a thread has in flight together.
  static let runsPerThread = 4

  package var name: String {
    "maximum_\(kind.rawValue)_\(source.rawValue)" + (isAligned ? "" : "_unaligned")
  }

  package var bounds: LaunchBounds { LaunchBounds(threads: Self.threads, minimumBlocks: 4) }

  package func body(_ k: KernelBuilder) {
    let values = k.pointer("values", to: UInt16.self)
    let result = k.pointer("maximum", to: UInt32.self)
    let (rows, columns) = (k.uint32("rows"), k.uint32("columns"))
    // Values are counted as one row of 64 bits; a block takes neighbours, and blocks take turns.
    let count = rows.multipliedWide(by: columns)
    let step = Self.threads * SourceRun.count
    let inBlock = (k.thread << 3).widened
    let stride = k.special(.blocksX).multipliedWide(by: Value(step * Self.runsPerThread))
    let first = k.special(.blockX).multipliedWide(
      by: Value(step * Self.runsPerThread), adding: inBlock)
    let reader = TensorReader(
      k: k, format: source, isAligned: isAligned, values: values, count: count)
    let largest = k.variable(Value<UInt32>(0))
    k.forEach(from: first, below: count, by: stride) { start in
      let runs = (0..<Self.runsPerThread).map { index in
        reader.run(at: start + Value(index * step))
      }
      largest.value = maximum(largest.value, reduced(runs.map { bits(of: $0) }) { maximum($0, $1) })
    }
    let ofWarp = largest.value.reducedOverWarp(.maximum)
    let maxima = k.shared(UInt32.self, count: 8)
    maxima[k.warp].store(ofWarp, if: k.lane .== 0)
    k.barrier()
    k.when(k.thread .== 0) {
      let all = [0, 4].flatMap { maxima.advanced(by: $0).load(count: 4) }
      result.atomicMaximum(reduced(all) { maximum($0, $1) })
    }
  }

  /// The bits of the largest magnitude that counts.
  private func bits(of run: SourceRun) -> Value<UInt32> {
    switch kind {
    case .all: run.largest(ignoringNaN: false).float().bits & 0x7FFF_FFFF
    case .numbers: run.largest(ignoringNaN: true).float().bits
    case .finite:
      reduced(
        run.floats().map { value in
          let magnitude = value.bits & 0x7FFF_FFFF
          return (magnitude .< 0x7F80_0000).select(magnitude, Value(0))
        }
      ) { maximum($0, $1) }
    }
  }
}
