// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
package import PTX

/// Codes and scales of a row-major matrix in blocks that lie along its rows: 1×16 to 1×128, and 16×16.
///
/// - Constraints: Any number of rows and columns; blocks at the edges may be partial. `isAligned`
///   asks for columns in multiples of eight and for values and codes that begin at multiples of 16
///   bytes; without it values are read and written one by one.
/// - Numerics: Those of `rule`, whose bytes the reference gives.
/// - Traffic: Each value is read once, each code and scale written once: 2 + 1 + 4/128 bytes an
///   element from BF16 to E4M3 in 1×128.
package struct QuantizeRows: Kernel {
  package var rule: QuantizeRule
  /// Rows of a block: 1 or 16.
  package var blockRows = 1
  /// Columns of a block: 16, 32, 64 or 128.
  package var blockColumns = 128
  package var scaleLayout = ScaleLayout.linear
  package var isAligned = true
  /// Whether values are rounded up or down at random, in proportion to their distance.
  package var isStochastic = false
  /// Whether groups of 16 values are rotated before (`HadamardTransform`).
  package var isRotated = false

  package init(
    _ rule: QuantizeRule, blockRows: Int = 1, blockColumns: Int, scaleLayout: ScaleLayout = .linear,
    isAligned: Bool = true, isStochastic: Bool = false, isRotated: Bool = false
  ) {
    precondition(
      blockRows == 1 || blockRows == 16 && blockColumns == 16, "blocks of one row, or 16 by 16")
    precondition([16, 32, 64, 128].contains(blockColumns), "blocks of 16 to 128 columns")
    precondition(!isRotated || rule.source == .bfloat16, "rotated values are BF16")
    self.rule = rule
    self.blockRows = blockRows
    self.blockColumns = blockColumns
    self.scaleLayout = scaleLayout
    self.isAligned = isAligned
    self.isStochastic = isStochastic
    self.isRotated = isRotated
  }

  /// Threads a block of the grid, a warp for each `rowsPerThread` rows.
  static let threads = 256
  /// Columns that a warp covers: eight for each lane.
  static let columnsPerWarp = 256
  /// Rows whose loads a thread has in flight together.
  var rowsPerThread: Int { blockRows == 1 ? 4 : 16 }
  /// Rows that a block of the grid covers.
  var rowsPerBlock: Int { Self.threads / 32 * rowsPerThread }

  package var name: String {
    var parts = ["quantize_\(blockRows)x\(blockColumns)", rule.name, scaleLayout.rawValue]
    if !isAligned { parts.append("unaligned") }
    if isStochastic { parts.append("stochastic") }
    if isRotated { parts.append("rotated") }
    return parts.joined(separator: "_")
  }

  /// Without a minimum of blocks `ptxas` aims at full occupancy and moves loads behind each other's
  /// use, where they wait in turn; with too high a one it spills.
  package var bounds: LaunchBounds {
    // Sixteen rows in FP32 take all registers there are.
    if blockRows > 1 { return LaunchBounds(threads: Self.threads) }
    // Numbers of runs that begin anywhere take more.
    let blocks = rule.source == .float32 ? 2 : isStochastic && !isAligned ? 3 : 4
    return LaunchBounds(threads: Self.threads, minimumBlocks: blocks)
  }

  package func body(_ k: KernelBuilder) {
    let values = k.pointer("values", to: UInt16.self)
    let codes = k.pointer("codes", to: UInt8.self)
    let scales = k.pointer("scales", to: UInt8.self)
    let (rows, columns) = (k.uint32("rows"), k.uint32("columns"))
    let tensor = rule.usesTensorMaximum ? TensorLevel(k, rule) : nil
    let random = isStochastic ? PlaceRandom(k) : nil
    let gridRows = rows.dividedUp(by: blockRows)
    let gridColumns = columns.dividedUp(by: blockColumns)
    let writer = ScaleWriter(
      layout: scaleLayout, format: rule.scale, scales: scales, rows: gridRows,
      columns: gridColumns)

    let lane = k.lane
    let column = k.special(.blockX).multiplied(by: Value(Self.columnsPerWarp), adding: lane << 3)
    let group = k.special(.blockZ).multiplied(by: k.special(.blocksY), adding: k.special(.blockY))
    let firstRow = (group << 3 | k.warp) * rowsPerThread
    let places = (0..<rowsPerThread).map { firstRow + $0 }

    // All loads come first, so that they are in flight together.
    let reader = SourceReader(
      k: k, format: rule.source, isAligned: isAligned, values: values, rows: rows, columns: columns)
    var runs = places.map { reader.run(row: $0, column: column) }
    if isRotated { runs = runs.map { HadamardTransform(k).rotated($0) } }

    let blockMaxima = maxima(of: runs)
    let choose = rule.chooser(k, tensorMaximum: tensor?.maximum)
    let choices = blockMaxima.map { choose($0) }

    let encoder = RunEncoder(k: k, rule: rule, random: random)
    let output = CodeWriter(
      k: k, element: rule.element, isAligned: isAligned, codes: codes, rows: rows, columns: columns)
    for (index, row) in places.enumerated() {
      let place =
        isStochastic
        ? RunPlace(
          first: row.multipliedWide(by: columns, adding: column.widened), isAligned: isAligned)
        : nil
      let words = encoder.words(runs[index], choices[index / blockRows], place: place)
      output.store(words, row: row, column: column)
    }

    // The first lane of a block writes its scale.
    let leads = (lane & (blockColumns / SourceRun.count - 1)) .== 0
    let blockColumn = column / blockColumns
    if scaleLayout == .blockMajor, rule.scale == .float32, choices.count == 4 {
      writer.storeFour(choices.map(\.scaleCode), row: firstRow, column: blockColumn, if: leads)
    } else {
      let firstBlockRow = firstRow / blockRows
      for (index, choice) in choices.enumerated() {
        writer.store(
          choice.scaleCode, row: firstBlockRow + index, column: blockColumn, if: leads)
      }
    }
    tensor?.storeScale(isFirst: (column .== 0) .& (firstRow .== 0))
  }

  /// The largest magnitude of each block, in all of its lanes.
  private func maxima(of runs: [SourceRun]) -> [Value<Float>] {
    let largest = runs.map { $0.largest(ignoringNaN: rule.hidesNonFinite) }
    var distances: [Int] = []
    var distance = blockColumns / SourceRun.count / 2
    while distance > 0 {
      distances.append(distance)
      distance /= 2
    }
    return stride(from: 0, to: largest.count, by: blockRows).map { first in
      let block = largest[first..<first + blockRows]
      return block.dropFirst().reduce(block[first]) { $0.combined($1) }
        .reduced(over: distances).float()
    }
  }
}

/// NVFP4's second level in a kernel: the maximum that a kernel before it found, and the scale that
/// follows from it.
struct TensorLevel {
  let rule: QuantizeRule
  /// The largest finite magnitude of the tensor.
  let maximum: Value<Float>
  private let scale: GlobalPointer<Float>

  init(_ k: KernelBuilder, _ rule: QuantizeRule) {
    self.rule = rule
    maximum = k.pointer("tensorMaximum", to: Float.self).load(cache: .readOnly)
    scale = k.pointer("tensorScale", to: Float.self)
  }

  /// Writes the tensor scale where the predicate holds.
  func storeScale(isFirst: Value<Bool>) {
    scale.store(rule.tensorScale(maximum), if: isFirst)
  }
}
