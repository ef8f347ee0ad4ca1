// SPDX-License-Identifier: Apache-2.0

import BlockScale
import PTX

/// What the threads of a block do with a tile of 128×128 values, wherever those come from.
///
/// Half a warp has a row of the tile, eight values a lane; a warp has 16 rows, two at a time. For the
/// transpose a warp has 16 columns, eight at a time.
struct TileWork {
  /// Rows that a thread has a run of.
  static let runsPerThread = 8

  private let k: KernelBuilder
  /// How values are quantized.
  private let tiles: QuantizeTiles
  private let encoder: RunEncoder
  private let choose: ScaleChooser
  private let rows: Value<UInt32>
  private let columns: Value<UInt32>
  /// The tile's row in the grid of tiles.
  private let tileRow: Value<UInt32>
  private let warp: Value<UInt32>
  let lane: Value<UInt32>
  /// The first row and column of the tile.
  let firstRow: Value<UInt32>
  let firstColumn: Value<UInt32>
  /// The first column of the thread's runs.
  let column: Value<UInt32>
  /// The row of the thread's first run, in the tile; the others follow two rows apart.
  let rowInTile: Value<UInt32>

  init(
    _ k: KernelBuilder, _ tiles: QuantizeTiles, rows: Value<UInt32>, columns: Value<UInt32>,
    random: PlaceRandom? = nil, tensorMaximum: Value<Float>? = nil
  ) {
    self.k = k
    self.tiles = tiles
    self.rows = rows
    self.columns = columns
    encoder = RunEncoder(k: k, rule: tiles.rule, random: random)
    choose = tiles.rule.chooser(k, tensorMaximum: tensorMaximum)
    lane = k.lane
    warp = k.warp
    tileRow = k.special(.blockZ).multiplied(by: k.special(.blocksY), adding: k.special(.blockY))
    (firstRow, firstColumn) = (tileRow << 7, k.special(.blockX) << 7)
    column = firstColumn + ((lane & 15) << 3)
    rowInTile = warp << 4 | lane >> 4
  }

  /// Read again where it is needed, which keeps a register free.
  private var tileColumn: Value<UInt32> { k.special(.blockX) }

  private var rule: QuantizeRule { tiles.rule }
  private var blockLength: Int { tiles.blockLength }
  private var isSquare: Bool { tiles.isSquare }

  // MARK: Results

  /// Where one of the results goes.
  struct Result {
    let writer: CodeWriter
    let scales: ScaleWriter
    let columns: Value<UInt32>
  }

  /// The matrix in its own order, in parameters of these names.
  func matrix(codes: String = "codes", scales: String = "scales") -> Result {
    result(codes: codes, scales: scales, rows: rows, columns: columns, isAligned: tiles.isAligned)
  }

  /// The transpose, in parameters of these names.
  func transpose(
    codes: String = "transposedCodes", scales: String = "transposedScales"
  ) -> Result {
    result(
      codes: codes, scales: scales, rows: columns, columns: rows,
      isAligned: tiles.isTransposeAligned)
  }

  private func result(
    codes: String, scales: String, rows: Value<UInt32>, columns: Value<UInt32>, isAligned: Bool
  ) -> Result {
    Result(
      writer: CodeWriter(
        k: k, element: rule.element, isAligned: isAligned, codes: k.pointer(codes, to: UInt8.self),
        rows: rows, columns: columns),
      scales: ScaleWriter(
        layout: tiles.scaleLayout, format: rule.scale, scales: k.pointer(scales, to: UInt8.self),
        rows: isSquare ? rows.dividedUp(by: blockLength) : rows,
        columns: columns.dividedUp(by: blockLength)), columns: columns)
  }

  // MARK: Rows

  /// Writes the codes and scales of runs two rows apart.
  ///
  /// Square blocks take all runs of the thread together.
  ///
  /// - Parameter shared: The choice of the whole tile, if it is one block.
  func storeRows(
    _ runs: [SourceRun], firstRow: Value<UInt32>, to target: Result, _ shared: BlockChoice? = nil
  ) {
    let runs = tiles.isRotated ? runs.map { HadamardTransform(k).rotated($0) } : runs
    let choices =
      shared.map { choice in runs.map { _ in choice } }
      ?? (isSquare ? squareChoices(runs, target) : rowChoices([runs], firstRow, [target]))
    if let shared {
      target.scales.store(
        shared.scaleCode, row: tileRow, column: tileColumn, if: k.thread .== 0)
    }
    storeRows(runs, choices, firstRow: firstRow, to: target)
  }

  /// Writes the codes and scales of as many runs of each of some results, whose choices lanes share.
  ///
  /// - Parameters:
  ///   - runs: Of each result, two rows apart.
  ///   - targets: One or two results of the same shape, in 1×128 blocks.
  func storeRows(_ runs: [[SourceRun]], firstRow: Value<UInt32>, to targets: [Result]) {
    let choices = rowChoices(runs, firstRow, targets)
    for (index, target) in targets.enumerated() {
      let count = runs[index].count
      storeRows(
        runs[index], Array(choices[index * count..<(index + 1) * count]), firstRow: firstRow,
        to: target)
    }
  }

  private func storeRows(
    _ runs: [SourceRun], _ choices: [BlockChoice], firstRow: Value<UInt32>, to target: Result
  ) {
    for (index, run) in runs.enumerated() {
      let row = firstRow + 2 * index
      let place =
        tiles.isStochastic
        ? RunPlace(
          first: row.multipliedWide(by: columns, adding: column.widened),
          isAligned: tiles.isAligned) : nil
      target.writer.store(
        encoder.words(run, choices[index], place: place), row: row, column: column)
    }
  }

  /// The choice of the square block that a thread's runs lie in, whose scale is stored.
  private func squareChoices(_ runs: [SourceRun], _ target: Result) -> [BlockChoice] {
    precondition(runs.count == Self.runsPerThread, "a warp has the rows of square blocks")
    let largest = runs.map { $0.largest(ignoringNaN: rule.hidesNonFinite) }
    let ofBlock = largest.dropFirst().reduce(largest[0]) { $0.combined($1) }
      .reduced(over: [1, 16])
    let choice = choose(ofBlock.float())
    // A warp has 16 rows; the even lanes of its first half lead a block each.
    target.scales.store(
      choice.scaleCode, row: tileRow << 3 | warp, column: column / blockLength,
      if: (lane & 17) .== 0)
    return runs.map { _ in choice }
  }

  /// The choices of the blocks that a thread's runs of each result lie in, whose scales are stored.
  private func rowChoices(
    _ runs: [[SourceRun]], _ firstRow: Value<UInt32>, _ targets: [Result]
  ) -> [BlockChoice] {
    let largest = runs.flatMap { $0.map { $0.largest(ignoringNaN: rule.hidesNonFinite) } }
    let ofLanes = LaneChoices(largest, lanes: blockLength / SourceRun.count, lane: lane, choose)
    let count = runs[0].count
    for (index, choice) in ofLanes.own.enumerated() {
      let block = ofLanes.firstOwn + index
      let isFirstResult = block .< count
      let scales =
        targets.count == 1
        ? targets[0].scales
        : ScaleWriter(isFirstResult, targets[0].scales, else: targets[1].scales)
      let run = targets.count == 1 ? block : isFirstResult.select(block, block - count)
      scales.store(
        choice.scaleCode, row: firstRow + run * 2, column: column / blockLength,
        if: ofLanes.isFirst)
    }
    return largest.indices.map { ofLanes.factor(ofBlock: $0) }
  }

  // MARK: Columns

  /// Writes the codes and scales of the tile's columns, after all rows lie in shared memory.
  ///
  /// - Parameter shared: The choice of the whole tile, if it is one block.
  func storeColumns(of tile: TurnedTile, to target: Result, _ shared: BlockChoice? = nil) {
    // A warp takes 16 columns, eight at a time; four lanes share a column.
    if tiles.isStochastic, !isSquare {
      // Random numbers take so many instructions that written out twice they are slow to compile, and
      // hide the loads as it is.
      k.repeated(Value(2)) { group in
        let column = firstColumn + (warp << 4 | lane >> 2) + (group << 3)
        storeColumns(
          [ColumnGroup(column: column, parts: tile.columnRuns(chunk: warp << 1 | group))],
          to: target, shared)
      }
      return
    }
    let groups = [0, 1].map { group in
      ColumnGroup(
        column: firstColumn + (warp << 4 | lane >> 2) + 8 * group,
        parts: tile.columnRuns(chunk: warp << 1 | group))
    }
    storeColumns(groups, to: target, shared)
    if let shared {
      target.scales.store(
        shared.scaleCode, row: tileColumn, column: tileRow, if: k.thread .== 0)
    }
  }

  /// Eight columns of the tile, one for every four lanes: 16 neighbours from each half of the rows.
  private struct ColumnGroup {
    let column: Value<UInt32>
    var parts: [[SourceRun]]
  }

  /// The codes and scales of columns of the tile.
  private func storeColumns(
    _ groups: [ColumnGroup], to target: Result, _ shared: BlockChoice?
  ) {
    var groups = groups
    if tiles.isRotated {
      for index in groups.indices {
        groups[index].parts = groups[index].parts.map { HadamardTransform(k).rotated($0) }
      }
    }
    let choices =
      shared.map { choice in groups.map { _ in [choice, choice] } } ?? columnChoices(groups, target)
    for (group, choices) in zip(groups, choices) {
      for (half, part) in group.parts.enumerated() {
        let row = firstRow + 64 * half + ((lane & 3) << 4)
        let words = part.enumerated().flatMap { index, run in
          let place =
            tiles.isStochastic
            ? RunPlace(
              first: group.column.multipliedWide(by: target.columns, adding: row.widened)
                + Value(8 * index), isAligned: tiles.isTransposeAligned) : nil
          return encoder.words(run, choices[half], place: place)
        }
        target.writer.store(words, row: group.column, column: row)
      }
    }
  }

  /// The choices of each group for either half of the rows, whose scales are stored.
  private func columnChoices(_ groups: [ColumnGroup], _ target: Result) -> [[BlockChoice]] {
    let largest = groups.map { group in
      group.parts.map { part in
        let runs = part.map { $0.largest(ignoringNaN: rule.hidesNonFinite) }
        return runs.dropFirst().reduce(runs[0]) { $0.combined($1) }
      }
    }
    let column = groups[0].column
    let row = firstRow + ((lane & 3) << 4)
    if isSquare {
      let choices = [0, 1].map { half in
        choose(largest[0][half].combined(largest[1][half]).reduced(over: [16, 8, 4]).float())
      }
      for (half, choice) in choices.enumerated() {
        target.scales.store(
          choice.scaleCode, row: column >> 4, column: (row + 64 * half) / blockLength,
          if: lane .< 4)
      }
      return [choices, choices]
    }
    // A lane's blocks: one for each group, or one for either half of the rows of each.
    let halves = blockLength == QuantizeTiles.extent ? 1 : 2
    let blocks = halves == 1 ? largest.map { $0[0].combined($0[1]) } : largest.flatMap { $0 }
    let ofLanes = LaneChoices(
      blocks, lanes: halves == 1 ? 4 : blockLength / 16, lane: lane, choose)
    for (index, choice) in ofLanes.own.enumerated() {
      let block = ofLanes.firstOwn + index
      let group = halves == 1 ? block : block >> 1
      let blockRow = halves == 1 ? row : row + ((block & 1) << 6)
      target.scales.store(
        choice.scaleCode, row: column + (group << 3), column: blockRow / blockLength,
        if: ofLanes.isFirst)
    }
    let choices = blocks.indices.map { ofLanes.factor(ofBlock: $0) }
    return groups.indices.map { group in
      [choices[halves * group], choices[halves * group + halves - 1]]
    }
  }

  // MARK: Whole tiles

  /// The choice of the whole tile in all threads; they also wait for the tile in shared memory.
  func squareChoice(_ runs: [SourceRun]) -> BlockChoice {
    let largest = runs.map { $0.largest(ignoringNaN: rule.hidesNonFinite) }
    let ofWarp = largest.dropFirst().reduce(largest[0]) { $0.combined($1) }
      .reduced(over: [16, 8, 4, 2, 1]).float()
    let maxima = k.shared(Float.self, count: QuantizeTiles.threads / 32)
    maxima[warp].store(ofWarp, if: lane .== 0)
    k.barrier()
    let all = [0, 4].flatMap { maxima.advanced(by: $0).load(count: 4) }
    return choose(reduced(all) { rule.hidesNonFinite ? maximum($0, $1) : maximumOrNaN($0, $1) })
  }
}
