// SPDX-License-Identifier: Apache-2.0

import BlockScale

/// How a product is cut.
struct Tasks: Sendable {
  struct Task {
    var rowTiles: Range<Int>
    /// Groups of sixteen outputs.
    var blocks: Range<Int>
  }

  let rowTiles: Int
  /// The most that a task takes of tiles of rows and of groups of outputs.
  let taskRowTiles: Int
  let taskBlocks: Int
  /// What tasks take of the groups of outputs, the last ones less than others.
  private let blocks: [Range<Int>]
  private let order: ProductBlock.Order
  /// The k that a task works on at once.
  let depth: Int
  /// The tiles of rows that a task multiplies at once while it decodes its columns.
  let decodingRowTiles: Int
  /// Whether the sums of all rows of a task wait from one run of k to the next.
  let keepsSums: Bool

  var count: Int { rowTasks * blocks.count }
  private var rowTasks: Int { (rowTiles + taskRowTiles - 1) / taskRowTiles }

  init(
    kernels: some TileKernels, threads: Int, rowTiles: Int, blockCount: Int, depth: Int,
    partDepth: Int?, decodes: Bool
  ) {
    self.rowTiles = rowTiles
    // Neither parts nor what kernels read at once are cut.
    let unit = leastCommonMultiple(partDepth ?? 1, kernels.depthUnit)
    let block = kernels.block(decodes: decodes, rowTiles: rowTiles)
    self.depth = min(depth, max(1, block.depth / unit) * unit)
    let cutsDepth = self.depth < depth
    order = block.rowsVary
    var taskBlocks = block.columns / 16
    var taskRowTiles = rowTiles
    if cutsDepth {
      // Waiting sums are to stay in the second-level cache.
      taskRowTiles = max(1, min(rowTiles, 1024 / kernels.tileRows))
    }
    // Several tasks for each thread even out what they take; then columns are decoded more often.
    func tasks(_ rows: Int, _ blocks: Int) -> Int {
      ((rowTiles + rows - 1) / rows) * ((blockCount + blocks - 1) / blocks)
    }
    while threads > 1, taskBlocks > kernels.tileColumns / 16,
      tasks(taskRowTiles, taskBlocks) / 4 < threads
    {
      taskBlocks /= 2
    }
    while threads > 1, taskRowTiles > 1, tasks(taskRowTiles, taskBlocks) / 2 < threads {
      taskRowTiles = (taskRowTiles + 1) / 2
    }
    self.taskBlocks = taskBlocks
    self.taskRowTiles = taskRowTiles
    blocks = Self.blocks(
      blockCount, most: taskBlocks, least: min(taskBlocks, 2 * kernels.tileColumns / 16),
      sharing: threads, rowTasks: (rowTiles + taskRowTiles - 1) / taskRowTiles)
    decodingRowTiles = decodes ? min(taskRowTiles, kernels.decodingRowTiles) : 0
    keepsSums = cutsDepth
  }

  /// Cuts groups of outputs for tasks.
  ///
  /// The last ones are smaller, so that threads end together even if one is much slower than the other:
  /// none takes more than half of a thread's share of what is left.
  ///
  /// - Parameter least: What all but the last one are a multiple of, if they are not of the `most`.
  static func blocks(
    _ count: Int, most: Int, least: Int, sharing threads: Int, rowTasks: Int = 1
  ) -> [Range<Int>] {
    var result: [Range<Int>] = []
    var first = 0
    while first < count {
      var some = most
      while threads > 1, some % 2 == 0, some / 2 >= least,
        some * 2 * threads > (count - first) * rowTasks
      {
        some /= 2
      }
      result.append(first..<min(count, first + some))
      first += some
    }
    return result
  }

  subscript(index: Int) -> Task {
    let (block, row) =
      switch order {
      case .first: (index / rowTasks, index % rowTasks)
      case .last: (index % blocks.count, index / blocks.count)
      }
    return Task(
      rowTiles: row * taskRowTiles..<min(rowTiles, (row + 1) * taskRowTiles),
      blocks: blocks[block])
  }
}

/// What a thread needs for its tasks, one after the other.
struct TaskScratch<Kernels: TileKernels> {
  /// Decoded columns.
  let panel: AlignedBuffer
  /// Tiles of sums: all of a task where k is cut, else those of the tiles of rows that are multiplied at
  /// once.
  let sums: AlignedBuffer

  init(_ tasks: Tasks, _ kernels: Kernels) {
    let columnTiles =
      (tasks.taskBlocks * 16 + kernels.tileColumns - 1) / kernels.tileColumns
    panel = AlignedBuffer(
      byteCount: max(2, columnTiles) * kernels.tileColumns * tasks.depth
        * MemoryLayout<Kernels.Element>.stride)
    let sumTiles =
      columnTiles * (tasks.keepsSums ? tasks.taskRowTiles : max(1, tasks.decodingRowTiles))
    sums = AlignedBuffer(byteCount: sumTiles * kernels.tileRows * kernels.tileColumns * 4)
  }
}

/// Scales of the left operand's blocks that are folded into its values.
struct FoldedRowScales: Sendable {
  /// One byte for each block of a row.
  let codes: [UInt8]
  /// Where those of the first row begin, and from one row to the next.
  let offset, rowStride: Int
  let block: Int
  let arePowers: Bool
  let powerOffset: Int
  /// What `powerOffset` left to the sums.
  var factor: Float { Float(sign: .plus, exponent: powerOffset, significand: 1) }

  /// Nil if the operand has no such scales.
  ///
  /// - Parameter rows: Those whose scales are looked at; they begin where a block does.
  init?(_ operand: Operand, rows: Range<Int>) {
    guard case .folded(let scales, let format, let blocking) = operand.scaling else { return nil }
    let grid = blocking.grid(rows: operand.rows, columns: operand.columns)
    block = blocking.columns
    rowStride = grid.columns
    arePowers = format == .e8m0
    let height = min(blocking.rows, operand.rows)
    let blocks = rows.lowerBound / height..<(rows.upperBound + height - 1) / height
    powerOffset =
      arePowers
      ? BlockScaleCPU.powerOffset(
        scales[blocks.lowerBound * grid.columns..<blocks.upperBound * grid.columns]) : 0
    offset = blocking.rows == 1 ? rows.lowerBound * grid.columns : 0
    codes =
      blocking.rows == 1
      ? scales
      : rows.flatMap { row in
        let first = row / height * grid.columns
        return scales[first..<first + grid.columns]
      }
  }
}

private func leastCommonMultiple(_ a: Int, _ b: Int) -> Int {
  var (divisor, rest) = (a, b)
  while rest != 0 { (divisor, rest) = (rest, divisor % rest) }
  return a / divisor * b
}
