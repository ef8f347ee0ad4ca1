// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Synchronization
import _BlockScaleShims

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// One product, cut into tasks: blocks of outputs by blocks of rows.
///
/// Each task decodes its columns once for each run of its block's k and multiplies them with all of
/// its rows. Every sum belongs to one task and is formed in the same order whatever the number of
/// threads.
struct Product<Kernels: TileKernels>: Sendable {
  let kernels: Kernels
  let threads: Int
  let left: Operand
  /// The rows of the left operand that are multiplied, which begin where one of its blocks does.
  let leftRows: Range<Int>
  let right: PackedMatrix
  /// The k of partial sums that take scales in FP32; nil if sums run over all k.
  let partDepth: Int?
  /// Scales of rows that are folded into their values, and what folding them left to the sums.
  let leftScales: FoldedRowScales?
  /// For each tile of rows and each part one for each row; empty if all are one.
  private let rowPartScales: [Float]
  /// For each sixteen outputs and each part sixteen; empty if all are one.
  private let columnPartScales: [Float]
  /// For each row; empty if all are one.
  private let rowScales: [Float]

  init(
    _ kernels: Kernels, threads: Int, left: Operand, rows leftRows: Range<Int>,
    right: PackedMatrix, partDepth: Int?
  ) {
    self.kernels = kernels
    self.threads = threads
    self.left = left
    self.leftRows = leftRows
    self.right = right
    self.partDepth = partDepth
    leftScales = FoldedRowScales(left, rows: leftRows)
    let parts = partDepth.map { (left.columns + $0 - 1) / $0 } ?? 0
    let tileRows = kernels.tileRows
    if let partDepth, case .parts(let leftDepth, let leftScales, let blocking) = left.scaling {
      let tiles = (leftRows.count + tileRows - 1) / tileRows
      let leftParts = (left.columns + leftDepth - 1) / leftDepth
      let blockRows = min(blocking.rows, left.rows)
      let ratio = leftDepth / partDepth
      var scales = [Float](repeating: 0, count: tiles * parts * tileRows)
      for row in 0..<leftRows.count {
        let source = (leftRows.lowerBound + row) / blockRows * leftParts
        let target = row / tileRows * parts * tileRows + row % tileRows
        for part in 0..<parts {
          scales[target + part * tileRows] = leftScales[source + part / ratio]
        }
      }
      rowPartScales = scales
    } else {
      rowPartScales = []
    }
    if let partDepth, let rightDepth = right.partDepth {
      let rightParts = (right.depth + rightDepth - 1) / rightDepth
      columnPartScales =
        rightDepth == partDepth
        ? right.partScales
        : (0..<(right.blockCount + 1) * parts * 16).map { index in
          let (block, part, lane) = (index / 16 / parts, index / 16 % parts, index % 16)
          guard block < right.blockCount else { return 0 }
          return right.partScales[(block * rightParts + part * partDepth / rightDepth) * 16 + lane]
        }
    } else {
      columnPartScales = []
    }
    rowScales =
      if case .rows = left.scaling { leftRows.map { left.rowScale($0) } } else { [] }
  }

  /// Computes the product.
  ///
  /// - Parameters:
  ///   - values: Receives M×N values.
  ///   - bias: N values, or none.
  ///   - adds: Whether the product is added to what is there.
  func run(into values: Output<UInt8>, format: bs_values_t, bias: [Float]?, adds: Bool) {
    let leftFactor = left.factor * (leftScales?.factor ?? 1)
    var factor = leftFactor * right.factor
    var outputScales = right.outputScales
    if factor == 0 || factor.isInfinite, leftFactor.isFinite, right.factor.isFinite {
      // FP32 holds each factor, not their product: the sums take one after the other.
      factor = leftFactor
      outputScales =
        outputScales.isEmpty
        ? [Float](repeating: right.factor, count: right.blockCount * 16)
        : outputScales.map { $0 * right.factor }
    }
    let result = Result(
      values: values, format: format, adds: adds, factor: factor, outputScales: outputScales,
      bias: bias ?? [])
    let stored = right.format
    let takesDigits =
      stored.codes == BS_CODES_E2M1 && stored.scalePlace == BS_SCALES_BY_OUTPUT
      && kernels.fewRowsInDigits > 0
    // Scales folded into columns and scales of partial sums together need tiles.
    let needsTiles =
      stored.scalePlace != BS_SCALES_NONE
      && (stored.scalePlace != BS_SCALES_BY_OUTPUT || partDepth != nil)
    if needsTiles || leftRows.count > (takesDigits ? kernels.fewRowsInDigits : kernels.fewRows) {
      multiplyTiles(result)
    } else {
      multiplyFewRows(result, takesDigits: takesDigits)
    }
  }

  /// Where sums go, and what is done to them on the way.
  private struct Result: Sendable {
    let values: Output<UInt8>
    let format: bs_values_t
    let adds: Bool
    let factor: Float
    let outputScales: [Float]
    let bias: [Float]
  }

  /// What kernels read beside rows and columns, and where they write, for one thread.
  @unsafe
  private struct Places {
    let output: bs_output_t
    let rowPartScales: UnsafeBufferPointer<Float>
    let columnPartScales: UnsafeBufferPointer<Float>
  }

  /// Calls `body` with what kernels read and write.
  private func withPlaces(_ result: Result, _ body: (Places) -> Void) {
    let width = result.format == BS_VALUES_FP32 ? 4 : 2
    // Buffers of arrays that are alive during the call; the result has room for all outputs.
    unsafe rowScales.withUnsafeBufferPointer { rowScales in
      unsafe result.outputScales.withUnsafeBufferPointer { outputScales in
        unsafe result.bias.withUnsafeBufferPointer { bias in
          unsafe rowPartScales.withUnsafeBufferPointer { rowPartScales in
            unsafe columnPartScales.withUnsafeBufferPointer { columnPartScales in
              let output = unsafe bs_output_t(
                values: result.values.pointer(0, count: leftRows.count * right.outputs * width),
                stride: right.outputs, format: result.format, accumulate: result.adds,
                scale: result.factor, row_scales: rowScales.isEmpty ? nil : rowScales.baseAddress,
                column_scales: outputScales.isEmpty ? nil : outputScales.baseAddress,
                bias: bias.isEmpty ? nil : bias.baseAddress)
              unsafe body(
                Places(
                  output: output, rowPartScales: rowPartScales,
                  columnPartScales: columnPartScales))
            }
          }
        }
      }
    }
  }

  /// Calls `body` with the left operand as kernels read it.
  private func withRows(_ body: (bs_rows_t) -> Void) {
    // Buffers of arrays that are alive during the call.
    unsafe left.withCodes { codes in
      unsafe (leftScales?.codes ?? []).withUnsafeBufferPointer { scales in
        let firstScale = leftScales?.offset ?? 0
        unsafe body(
          bs_rows_t(
            codes: codes.baseAddress.map { unsafe $0 + leftRows.lowerBound * left.rowBytes },
            row_bytes: left.rowBytes, depth: left.columns,
            code_format: left.codeFormat,
            scales: scales.baseAddress.flatMap { unsafe scales.isEmpty ? nil : $0 + firstScale },
            scale_row_stride: leftScales?.rowStride ?? 0,
            scale_block: Int32(leftScales?.block ?? 16),
            scales_are_powers: leftScales?.arePowers ?? false,
            power_offset: Int32(leftScales?.powerOffset ?? 0)))
      }
    }
  }

  /// The scales of partial sums from `k0` on.
  private func promotion(
    rowTile: Int, block: Int, k0: Int, _ places: Places
  ) -> bs_promotion_t {
    let (rows, columns) = unsafe (places.rowPartScales, places.columnPartScales)
    guard let partDepth else { return unsafe bs_promotion_t() }
    let parts = (left.columns + partDepth - 1) / partDepth
    let first = k0 / partDepth
    // Inside the arrays, by their layout.
    return unsafe bs_promotion_t(
      depth: partDepth,
      rows: rows.baseAddress.flatMap {
        unsafe rows.isEmpty ? nil : $0 + (rowTile * parts + first) * kernels.tileRows
      },
      row_stride: kernels.tileRows,
      columns: columns.baseAddress.flatMap {
        unsafe columns.isEmpty ? nil : $0 + (block * parts + first) * 16
      },
      column_stride: 16, column_block_stride: parts * 16,
      columns_are_equal: right.partRows % kernels.tileColumns == 0)
  }

  // MARK: Tiles

  private func multiplyTiles(_ result: Result) {
    let tileRows = kernels.tileRows
    let paddedDepth = right.paddedDepth
    let rowTiles = (leftRows.count + tileRows - 1) / tileRows
    let packed = AlignedBuffer(
      byteCount: rowTiles * tileRows * paddedDepth * MemoryLayout<Kernels.Element>.stride)
    let rows = packed.output(of: Kernels.Element.self)
    let tasks = Tasks(
      kernels: kernels, threads: threads, rowTiles: rowTiles, blockCount: right.blockCount,
      depth: paddedDepth, partDepth: partDepth,
      decodes: Kernels.Element.self == Float.self || right.format.codes != BS_CODES_BF16)
    // Packing and multiplying share one start of threads: whoever takes a task after all rows are taken
    // waits for the last of them, which are being packed. One tile of rows and one task need one thread.
    let packedTiles = Atomic<Int>(0)
    parallelFor(
      rowTiles + tasks.count, threads: min(threads, max(rowTiles, tasks.count)),
      scratch: { TaskScratch(tasks, kernels) }
    ) { index, scratch in
      if index < rowTiles {
        let first = index * tileRows
        unsafe withRows { source in
          // Each tile has its own part of the buffer.
          unsafe kernels.packRows(
            source, row: first, rows: min(tileRows, leftRows.count - first),
            paddedDepth: paddedDepth,
            into: rows.pointer(first * paddedDepth, count: tileRows * paddedDepth))
        }
        packedTiles.wrappingAdd(1, ordering: .releasing)
        return
      }
      while packedTiles.load(ordering: .acquiring) < rowTiles { sched_yield() }
      unsafe withPlaces(result) { places in
        kernels.begin()
        unsafe run(
          tasks[index - rowTiles], tasks,
          rows: rows.pointer(0, count: rowTiles * tileRows * paddedDepth), places, scratch: scratch)
        kernels.end()
      }
    }
    extendLifetime(packed)
  }

  /// The columns of a task, tile by tile.
  private func columns(_ task: Tasks.Task) -> [bs_columns_t] {
    let tileBlocks = kernels.tileColumns / 16
    let tiles = (task.blocks.count + tileBlocks - 1) / tileBlocks
    return unsafe (0..<tiles * tileBlocks).map {
      // Where a tile has more columns than are left, the last sixteen stand in for the others.
      unsafe right.columns(
        ofBlock: min(task.blocks.lowerBound + $0, task.blocks.upperBound - 1))
    }
  }

  private func run(
    _ task: Tasks.Task, _ tasks: Tasks, rows: UnsafeMutablePointer<Kernels.Element>,
    _ places: Places, scratch: TaskScratch<Kernels>
  ) {
    let (tileRows, tileColumns) = (kernels.tileRows, kernels.tileColumns)
    let paddedDepth = right.paddedDepth
    let tileBlocks = tileColumns / 16
    let decodes = Kernels.Element.self == Float.self || right.format.codes != BS_CODES_BF16
    let columns = unsafe columns(task)
    let columnTiles = unsafe columns.count / tileBlocks
    let sumCount = tileRows * tileColumns
    for k0 in stride(from: 0, to: paddedDepth, by: tasks.depth) {
      let depth = min(tasks.depth, paddedDepth - k0)
      let isLast = k0 + depth == paddedDepth
      // The first rows, behind which the columns are decoded; the others find them decoded.
      let first = task.rowTiles.lowerBound
      let others = min(first + tasks.decodingRowTiles, task.rowTiles.upperBound)
      if first < others {
        // The task's own part of the packed rows, and the scratch, which was made for these tasks.
        unsafe kernels.decodeAndMultiply(
          rows + first * tileRows * paddedDepth,
          rows: min(leftRows.count, others * tileRows) - first * tileRows,
          paddedDepth: paddedDepth, columns: columns,
          panel: scratch.panel.pointer(to: Kernels.Element.self),
          keeps: others < task.rowTiles.upperBound, k0: k0, depth: depth,
          promotion: promotion(rowTile: first, block: task.blocks.lowerBound, k0: k0, places),
          promotionStride: rowPartScales.count / tasks.rowTiles,
          sums: scratch.sums.pointer(to: Float.self), accumulate: k0 > 0)
      }
      for rowTile in task.rowTiles {
        let row = rowTile * tileRows
        let rowCount = min(tileRows, leftRows.count - row)
        // Where they wait, all rows have sums of their own.
        let place =
          tasks.keepsSums || rowTile < others
          ? (rowTile - first) * columnTiles * sumCount : 0
        // Inside the scratch, which was made for these tasks.
        let sums = unsafe scratch.sums.pointer(to: Float.self) + place
        if rowTile >= others {
          // The tile's own part of the packed rows.
          let a = unsafe rows + row * paddedDepth
          let isFirst = rowTile == first
          // What follows is brought nearer meanwhile: the next rows, and those that are first to meet the
          // next columns, of this task or another.
          var next = unsafe NextRows()
          if !isFirst, rowTile + 1 < task.rowTiles.upperBound {
            unsafe next.add(UnsafeRawPointer(a + tileRows * (paddedDepth + k0)))
          }
          let again = rowTile + others - task.rowTiles.upperBound
          if again >= first {
            let k = isLast ? 0 : k0 + depth
            unsafe next.add(UnsafeRawPointer(rows + tileRows * (again * paddedDepth + k)))
          }
          unsafe kernels.multiply(
            a, rows: rowCount, paddedDepth: paddedDepth, columns: columns,
            panel: decodes ? scratch.panel.pointer(to: Kernels.Element.self) : nil,
            isFirst: isFirst, k0: k0, depth: depth,
            promotion: promotion(
              rowTile: rowTile, block: task.blocks.lowerBound, k0: k0, places),
            sums: sums, accumulate: k0 > 0, next: next)
        }
        guard isLast else { continue }
        // Some rows at a time through all columns, since each row may lie on a page of its own.
        let rowsAtOnce = 8
        for place in stride(from: 0, to: rowCount, by: rowsAtOnce) {
          for index in 0..<columnTiles {
            let block = task.blocks.lowerBound + index * tileBlocks
            let blocks = min(tileBlocks, task.blocks.upperBound - block)
            unsafe kernels.store(
              sums + index * sumCount + place * tileColumns, stride: tileColumns,
              rows: min(rowsAtOnce, rowCount - place),
              columns: min(blocks * 16, right.outputs - block * 16), output: places.output,
              row: row + place, column: block * 16)
          }
        }
      }
    }
  }

  // MARK: A few rows

  private func multiplyFewRows(_ result: Result, takesDigits: Bool) {
    let most = FewRows.most
    let groupCount = (leftRows.count + most - 1) / most
    let made = OrderedResults<FewRows>(groupCount)
    parallelFor(groupCount, threads: threads) { group in
      let rows = group * most..<min(leftRows.count, (group + 1) * most)
      unsafe withRows {
        made.set(
          group,
          unsafe FewRows(
            $0, rows: rows, depth: right.paddedDepth, takesDigits: takesDigits, kernels: kernels))
      }
    }
    let groups = made.values
    let columnGroups = kernels.fewRowsColumnGroups
    // Memory is read best in long runs.
    let tasks = Tasks.blocks(
      right.blockCount, most: 32, least: FewRows.columnGroups,
      sharing: min(threads, right.blockCount))
    parallelFor(
      tasks.count, threads: threads,
      scratch: { AlignedBuffer(byteCount: most * FewRows.sumsStride * 4) }
    ) { task, scratch in
      let blocks = tasks[task]
      let sums = unsafe scratch.pointer(to: Float.self)
      let columns = unsafe blocks.map { unsafe right.columns(ofBlock: $0) }
      unsafe withPlaces(result) { places in
        unsafe columns.withUnsafeBufferPointer { columns in
          for first in stride(from: 0, to: blocks.count, by: columnGroups) {
            let some = first..<min(first + columnGroups, blocks.count)
            let block = blocks.lowerBound + first
            for (group, rows) in groups.enumerated() {
              // Sums for as many rows and outputs.
              unsafe kernels.multiplyRows(
                rows.view, columns: UnsafeBufferPointer(rebasing: columns[some]),
                depth: right.paddedDepth,
                promotion: promotion(rowTile: 0, block: block, k0: 0, places), sums: sums)
              unsafe kernels.store(
                sums, stride: FewRows.sumsStride, rows: rows.view.rows,
                columns: min(16 * some.count, right.outputs - block * 16), output: places.output,
                row: group * most, column: block * 16)
            }
          }
        }
      }
    }
    extendLifetime(groups)
  }
}
