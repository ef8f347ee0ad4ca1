// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
package import PTX

/// FP8 codes of a row-major matrix under one scale a row.
///
/// - Constraints: Any number of rows; columns up to `heldColumns`, or any for eight warps a row; `isAligned`
///   as for `QuantizeRows`.
/// - Numerics: Those of `rule`, whose bytes the reference gives.
/// - Traffic: Each code and scale is written once. Each value is read once, and those beyond a row's
///   first `heldColumns`, which stay in registers meanwhile, once more, mostly from the L2 cache.
package struct QuantizeWholeRows: Kernel {
  package var rule: QuantizeRule
  /// Warps that share a row: 1, 2, 4 or all eight of a block of the grid.
  package var warpsPerRow: Int
  package var isAligned: Bool

  package init(_ rule: QuantizeRule, warpsPerRow: Int, isAligned: Bool = true) {
    precondition(!rule.isPerTensor && rule.element != .e2m1, "FP8 under one scale a row")
    precondition(
      Self.warpCounts.contains(warpsPerRow), "one, two, four or eight warps share a row")
    self.rule = rule
    self.warpsPerRow = warpsPerRow
    self.isAligned = isAligned
  }

  static let threads = 256
  package static let warpCounts = [1, 2, 4, 8]
  /// Whether rows may be longer than what stays in registers.
  private var takesAnyRow: Bool { warpsPerRow == Self.threads / 32 }
  /// Rows that a block of the grid covers.
  var rowsPerBlock: Int { Self.threads / 32 / warpsPerRow }
  /// Columns from one run of a thread to its next.
  private var step: Int { Self.threads / rowsPerBlock * SourceRun.count }
  /// Runs of a thread whose loads are in flight together, and which stay in 32 registers.
  private var heldRuns: Int { rule.source == .float32 ? 4 : 8 }
  /// Columns of a row that stay in registers.
  package var heldColumns: Int { heldRuns * step }

  package var name: String {
    "quantize_row_\(rule.name)_warps\(warpsPerRow)" + (isAligned ? "" : "_unaligned")
  }

  /// Values that are read one by one take more registers for their places.
  package var bounds: LaunchBounds {
    LaunchBounds(threads: Self.threads, minimumBlocks: takesAnyRow && !isAligned ? 3 : 4)
  }

  package func body(_ k: KernelBuilder) {
    let values = k.pointer("values", to: UInt16.self)
    let codes = k.pointer("codes", to: UInt8.self)
    let scales = k.pointer("scales", to: UInt8.self)
    let (rows, columns) = (k.uint32("rows"), k.uint32("columns"))
    let block = k.special(.blockX)
    let row = block.multiplied(
      by: Value(rowsPerBlock), adding: k.warp >> warpsPerRow.trailingZeroBitCount)
    let place = k.thread & (warpsPerRow * 32 - 1)
    let column = place << 3
    let reader = SourceReader(
      k: k, format: rule.source, isAligned: isAligned, values: values, rows: rows, columns: columns)

    let held = (0..<heldRuns).map { reader.run(row: row, column: column + $0 * step) }
    let ofHeld = largest(of: held)
    let ofThread = k.variable(ofHeld.bits)
    // What does not stay in registers.
    let beyond = column + heldColumns
    if takesAnyRow {
      // With half as many loads in flight, since those before keep their registers.
      let together = heldRuns / 2
      k.forEach(from: beyond, below: columns, by: Value(together * step)) { start in
        let runs = (0..<together).map { reader.run(row: row, column: start + $0 * step) }
        ofThread.value = largest(of: runs).combined(ofHeld.with(bits: ofThread.value)).bits
      }
    }
    let choice = rule.chooser(k, tensorMaximum: nil)(
      largestOfRow(k, ofHeld.with(bits: ofThread.snapshot())))

    let encoder = RunEncoder(k: k, rule: rule, random: nil)
    let output = CodeWriter(
      k: k, element: rule.element, isAligned: isAligned, codes: codes, rows: rows, columns: columns)
    for (index, run) in held.enumerated() {
      // The same for all that share the row, so that short ones skip what they do not reach.
      k.when(columns .> index * step) {
        output.store(encoder.words(run, choice), row: row, column: column + index * step)
      }
    }
    if takesAnyRow {
      k.forEach(from: beyond, below: columns, by: Value(step)) { column in
        let run = reader.run(row: row, column: column)
        output.store(encoder.words(run, choice), row: row, column: column)
      }
    }
    ScaleWriter(layout: .linear, format: rule.scale, scales: scales, rows: rows, columns: Value(1))
      .store(choice.scaleCode, row: row, column: Value(0).materialized(k), if: place .== 0)
  }

  private func largest(of runs: [SourceRun]) -> LargestMagnitude {
    let magnitudes = runs.map { $0.largest(ignoringNaN: rule.hidesNonFinite) }
    return magnitudes.dropFirst().reduce(magnitudes[0]) { $0.combined($1) }
  }

  /// The largest magnitude among the threads that share a row, in all of them.
  private func largestOfRow(_ k: KernelBuilder, _ largest: LargestMagnitude) -> Value<Float> {
    let ofWarp = largest.reduced(over: [16, 8, 4, 2, 1]).float()
    if warpsPerRow == 1 { return ofWarp }
    let maxima = k.shared(Float.self, count: Self.threads / 32)
    maxima[k.warp].store(ofWarp, if: k.lane .== 0)
    k.barrier()
    let ofRow = maxima[k.warp & ~(warpsPerRow - 1)]
    let together = min(warpsPerRow, 4)
    let all = stride(from: 0, to: warpsPerRow, by: together).flatMap {
      ofRow.advanced(by: $0).load(count: together)
    }
    return reduced(all) { rule.hidesNonFinite ? maximum($0, $1) : maximumOrNaN($0, $1) }
  }
}

extension LargestMagnitude {
  /// Other magnitudes of the same kind.
  fileprivate func with(bits: Value<UInt32>) -> LargestMagnitude {
    LargestMagnitude(format: format, bits: bits, ignoresNaN: ignoresNaN)
  }
}

extension QuantizeWholeRows {
  /// The configuration for rows of so many columns.
  package static func chosen(_ rule: QuantizeRule, for shape: MatrixShape) -> QuantizeWholeRows {
    let kernels = warpCounts.map {
      QuantizeWholeRows(rule, warpsPerRow: $0, isAligned: shape.isAligned)
    }
    // The fewer threads share a row, the more loads each has in flight, up to what stays in registers.
    return kernels.first { shape.columns <= $0.heldColumns } ?? kernels[kernels.count - 1]
  }

  /// The launch that quantizes a matrix.
  ///
  /// - Parameters:
  ///   - values: The address of `rows × columns` values of the rule's source format.
  ///   - matrix: Receives the codes row by row, and a scale for each row.
  /// - Throws: ``KernelError`` if the shape or an address does not fit this configuration.
  package func launch(
    in library: KernelLibrary, values: UInt64, matrix: BlockScaledAddresses, shape: MatrixShape
  ) throws(KernelError) -> KernelLaunch {
    if isAligned { try checkAlignment(name, shape, values: values, codes: matrix.codes) }
    guard takesAnyRow || shape.columns <= heldColumns else {
      throw KernelError(
        "\(name) takes rows of no more than \(heldColumns) columns, not \(shape.columns).")
    }
    var arguments = shape.arguments
    arguments["values"] = .pointer(values)
    arguments["codes"] = .pointer(matrix.codes)
    arguments["scales"] = .pointer(matrix.scales)
    return KernelLaunch(
      try library.tree(of: self), grid: GridShape(shape.rows.dividedUp(by: rowsPerBlock)),
      arguments: arguments)
  }
}
