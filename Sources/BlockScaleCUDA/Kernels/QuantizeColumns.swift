// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
package import PTX

/// Codes and scales of a row-major matrix in blocks of 128×1, in the order of the matrix.
///
/// - Constraints: Any number of rows and columns; `isAligned` as for `QuantizeRows`.
/// - Numerics: Those of `rule`, whose bytes the reference gives.
/// - Traffic: Each value is read once, each code and scale written once.
package struct QuantizeColumns: Kernel {
  package var rule: QuantizeRule
  package var scaleLayout = ScaleLayout.linear
  package var isAligned = true

  package init(_ rule: QuantizeRule, scaleLayout: ScaleLayout = .linear, isAligned: Bool = true) {
    self.rule = rule
    self.scaleLayout = scaleLayout
    self.isAligned = isAligned
  }

  /// Rows of a block of values, and columns that a block of the grid covers.
  static let extent = 128
  static let threads = 256

  package var name: String {
    "quantize_128x1_\(rule.name)_\(scaleLayout.rawValue)" + (isAligned ? "" : "_unaligned")
  }

  package var bounds: LaunchBounds {
    LaunchBounds(threads: Self.threads, minimumBlocks: rule.source == .float32 ? 2 : 3)
  }

  package func body(_ k: KernelBuilder) {
    // Converting by hand takes more registers.
    if !k.has(.float8Conversion) { k.bounds.minimumBlocks = 1 }
    let values = k.pointer("values", to: UInt16.self)
    let codes = k.pointer("codes", to: UInt8.self)
    let scales = k.pointer("scales", to: UInt8.self)
    let (rows, columns) = (k.uint32("rows"), k.uint32("columns"))
    let tensor = rule.usesTensorMaximum ? TensorLevel(k, rule) : nil
    let choose = rule.chooser(k, tensorMaximum: tensor?.maximum)

    let (lane, warp) = (k.lane, k.warp)
    let tileRow = k.special(.blockZ).multiplied(by: k.special(.blocksY), adding: k.special(.blockY))
    let (firstRow, firstColumn) = (tileRow << 7, k.special(.blockX) << 7)
    // Half a warp reads a row; a warp takes 16 rows, two at a time.
    let chunk = lane & 15
    let column = firstColumn + (chunk << 3)
    let row = firstRow + (warp << 4 | lane >> 4)
    let reader = SourceReader(
      k: k, format: rule.source, isAligned: isAligned, values: values, rows: rows, columns: columns)
    let runs = (0..<8).map { reader.run(row: row + 2 * $0, column: column) }

    // Each warp leaves the maxima of its 16 rows for every column.
    let ofWarp = ColumnMaxima(runs, ignoringNaN: rule.hidesNonFinite).words
    let maxima = k.shared(Float.self, count: 8 * Self.extent)
    let place = maxima[(warp << 7) + (chunk << 3)]
    for first in [0, 4] {
      place.advanced(by: first).store(Array(ofWarp[first..<first + 4]), if: lane .< 16)
    }
    k.barrier()

    // A thread for each column finds its scale and leaves the factor in place of the maxima.
    let factors = k.shared(Float.self, count: Self.extent)
    let kept = k.shared(UInt32.self, count: Self.extent)
    let writer = ScaleWriter(
      layout: scaleLayout, format: rule.scale, scales: scales, rows: rows.dividedUp(by: 128),
      columns: columns)
    var divides = false
    var masks = false
    k.when(k.thread .< Self.extent) {
      let own = (0..<8).map { maxima[k.thread].advanced(by: Self.extent * $0).load() }
      let choice = choose(
        reduced(own) { rule.hidesNonFinite ? maximum($0, $1) : maximumOrNaN($0, $1) })
      divides = choice.divides
      factors[k.thread].store(choice.factor)
      if let bits = choice.keptBits {
        masks = true
        kept[k.thread].store(bits)
      }
      writer.store(
        choice.scaleCode, row: tileRow, column: firstColumn + k.thread, if: k.thread .< Self.extent)
    }
    k.barrier()

    let own = [0, 4].flatMap { factors[chunk << 3].advanced(by: $0).load(count: 4) }
    let bits = masks ? [0, 4].flatMap { kept[chunk << 3].advanced(by: $0).load(count: 4) } : nil
    let encoder = RunEncoder(k: k, rule: rule, random: nil)
    let output = CodeWriter(
      k: k, element: rule.element, isAligned: isAligned, codes: codes, rows: rows, columns: columns)
    for (index, run) in runs.enumerated() {
      let words = encoder.words(run, factors: own, divides: divides, keptBits: bits)
      output.store(words, row: row + 2 * index, column: column)
    }
    tensor?.storeScale(isFirst: (firstRow .== 0) .& (firstColumn .== 0) .& (k.thread .== 0))
  }
}

/// The largest magnitude of each of eight columns over the rows of a warp, in FP32.
private struct ColumnMaxima {
  let words: [Value<Float>]

  init(_ runs: [SourceRun], ignoringNaN: Bool) {
    // Word by word, each of one or two columns; the other half of the warp has the rows between.
    words = runs[0].words.indices.flatMap { index in
      let column = runs.map { run in
        LargestMagnitude(
          format: run.format,
          bits: run.words[index] & (run.format == .float32 ? 0x7FFF_FFFF : 0x7FFF_7FFF),
          ignoresNaN: ignoringNaN)
      }
      return column.dropFirst().reduce(column[0]) { $0.combined($1) }.reduced(over: [16]).columns()
    }
  }
}

extension LargestMagnitude {
  /// The maxima of even and odd columns apart; of FP32 there is one.
  fileprivate func columns() -> [Value<Float>] {
    switch format {
    case .float32: return [bits.floatFromBits]
    case .bfloat16:
      let pair = bits.reinterpreted(as: Pair<BFloat16>.self).floats
      return [pair.low, pair.high]
    case .float16:
      let pair = bits.reinterpreted(as: Pair<Half>.self).floats
      return [pair.low, pair.high]
    }
  }
}
