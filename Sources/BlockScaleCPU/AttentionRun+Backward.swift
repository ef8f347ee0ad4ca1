// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import _BlockScaleShims

extension AttentionRun {
  /// What the backward pass reads beyond the operands, and what it writes.
  struct Gradients: Sendable {
    let output: Input<BFloat16>
    let gradient: Input<BFloat16>
    let logSums: [Float]
    let query: Output<BFloat16>
    let key: Output<BFloat16>
    let value: Output<BFloat16>
  }

  /// The gradients of every head of keys and values, and of the queries that see it.
  func backward<Kernels: TileKernels>(_ kernels: Kernels, _ gradients: Gradients) {
    // About a hundred queries at a time are the depth of the products for keys and values.
    let chunk = max(1, 128 / kernels.tileRows) * kernels.tileRows
    parallelFor(
      extents.batch * heads.keyValueCount, threads: backend.threads,
      scratch: {
        BackwardScratch(
          kernels, keys: extents.keys, dimension: heads.dimension, queries: chunk)
      }
    ) { index, scratch in
      kernels.begin()
      let head = BackwardHead(
        run: self, gradients: gradients, kernels: kernels, scratch: scratch,
        sequence: index / heads.keyValueCount, head: index % heads.keyValueCount)
      scratch.clearSums()
      for own in head.head * heads.groupSize..<(head.head + 1) * heads.groupSize {
        for first in stride(from: 0, to: extents.queries, by: chunk) {
          head.add(queryHead: own, first..<min(extents.queries, first + chunk))
        }
      }
      head.store()
      kernels.end()
    }
  }
}

/// One head of keys and values of one sequence in the backward pass.
private struct BackwardHead<Kernels: TileKernels> {
  let run: AttentionRun
  let gradients: AttentionRun.Gradients
  let kernels: Kernels
  let scratch: BackwardScratch<Kernels>
  let sequence: Int
  let head: Int
  private let layer: LayerKernels
  private let keyRows: HeadColumns
  private let keyColumns: HeadColumns
  private let valueRows: HeadColumns

  init(
    run: AttentionRun, gradients: AttentionRun.Gradients, kernels: Kernels,
    scratch: BackwardScratch<Kernels>, sequence: Int, head: Int
  ) {
    self.run = run
    self.gradients = gradients
    self.kernels = kernels
    self.scratch = scratch
    self.sequence = sequence
    self.head = head
    layer = LayerKernels(run.backend.tier)
    let vectors = FP32Kernels(run.backend.tier)
    let keys = run.head(run.key, sequence, head)
    keyRows = HeadColumns(rows: keys, vectors)
    keyColumns = HeadColumns(columns: keys, depth: scratch.paddedKeys)
    valueRows = HeadColumns(rows: run.head(run.value, sequence, head), vectors)
  }

  private var dimension: Int { run.heads.dimension }

  /// Adds what some queries of one head have to give, and writes their own gradients.
  func add(queryHead own: Int, _ queries: Range<Int>) {
    let tiles = scratch.tiles
    let (tileRows, tileColumns) = (kernels.tileRows, kernels.tileColumns)
    let limit = run.extents.visible(queries.upperBound - 1)
    let depth = (limit + 31) / 32 * 32
    let paddedQueries = (queries.count + 31) / 32 * 32
    let query = run.queryHead(run.query, sequence, own)
    let incoming = run.queryHead(gradients.gradient, sequence, own)
    let output = run.queryHead(gradients.output, sequence, own)
    let sums = (sequence * run.heads.count + own) * run.extents.queries
    for first in stride(from: 0, to: queries.count, by: tileRows) {
      let row = queries.lowerBound + first
      let count = min(tileRows, queries.count - first)
      // The scratch has room for a tile of rows of scores and their gradients; all rows are of this
      // head, whose extents were checked.
      unsafe tiles.multiply(
        query.source, row: row, rows: count, columns: keyRows.tiles(limit, columns: tileColumns),
        depth: run.paddedDimension, into: scratch.scores)
      unsafe tiles.multiply(
        incoming.source, row: row, rows: count,
        columns: valueRows.tiles(limit, columns: tileColumns), depth: run.paddedDimension,
        into: scratch.products)
      for index in 0..<count {
        let mean = unsafe layer.functions.dot(
          incoming.row(row + index), output.row(row + index), dimension)
        unsafe layer.functions.softmax_backward(
          tiles.row(scratch.scores, index), tiles.row(scratch.products, index),
          run.extents.visible(row + index), depth, run.heads.scale,
          gradients.logSums[sums + row + index], mean,
          scratch.probabilities + (first + index) * depth,
          scratch.changes + (first + index) * depth)
      }
      unsafe tiles.multiply(
        HeadRows.source(scratch.changes, stride: depth, depth: depth), row: first, rows: count,
        columns: keyColumns.tiles(dimension, columns: tileColumns), depth: depth,
        into: scratch.sums)
      let place =
        (sequence * run.extents.queries + row) * run.queryColumns + own * dimension
      unsafe tiles.store(
        scratch.sums, rows: count, columns: dimension, factors: nil,
        into: gradients.query.bits(place, count: (count - 1) * run.queryColumns + dimension),
        stride: run.queryColumns)
    }
    let rows = sequence * run.extents.queries + queries.lowerBound
    func part(_ matrix: Input<BFloat16>) -> HeadRows {
      HeadRows(
        matrix, columns: run.queryColumns, rows: rows..<rows + queries.count, head: own,
        dimension: dimension)
    }
    unsafe accumulate(
      scratch.probabilities, queries.count, depth, paddedQueries,
      HeadColumns(columns: part(gradients.gradient), depth: paddedQueries),
      into: scratch.valueSums, limit: limit)
    unsafe accumulate(
      scratch.changes, queries.count, depth, paddedQueries,
      HeadColumns(columns: part(run.query), depth: paddedQueries), into: scratch.keySums,
      limit: limit)
  }

  /// Adds the product of a transpose with columns to the sums of all keys.
  private func accumulate(
    _ rows: UnsafeMutablePointer<UInt16>, _ count: Int, _ keys: Int, _ paddedQueries: Int,
    _ columns: HeadColumns, into sums: UnsafeMutablePointer<Float>, limit: Int
  ) {
    // Inside the scratch, which was made for these extents.
    let turned = unsafe scratch.turned
    if count < paddedQueries {
      // What is not overwritten meets zeros of the columns, and must be a number.
      unsafe turned.update(repeating: 0, count: keys * paddedQueries)
    }
    unsafe bs_transpose_16_bit(rows, keys, count, keys, turned, paddedQueries)
    let tiles = unsafe columns.tiles(dimension, columns: kernels.tileColumns)
    let source = unsafe HeadRows.source(turned, stride: paddedQueries, depth: paddedQueries)
    for (index, first) in stride(from: 0, to: limit, by: kernels.tileRows).enumerated() {
      unsafe scratch.tiles.multiply(
        source, row: first, rows: min(kernels.tileRows, limit - first), columns: tiles,
        depth: paddedQueries, into: sums + index * scratch.sumCount, adding: true)
    }
    extendLifetime(columns)
  }

  /// Writes the gradients of keys and values.
  func store() {
    for (index, first) in stride(from: 0, to: run.extents.keys, by: kernels.tileRows).enumerated() {
      let rows = min(kernels.tileRows, run.extents.keys - first)
      let place = (sequence * run.extents.keys + first) * run.keyColumns + head * dimension
      let count = (rows - 1) * run.keyColumns + dimension
      // Sums of whole tiles, and places that were checked.
      unsafe scratch.tiles.store(
        scratch.keySums + index * scratch.sumCount, rows: rows, columns: dimension, factors: nil,
        into: gradients.key.bits(place, count: count), stride: run.keyColumns)
      unsafe scratch.tiles.store(
        scratch.valueSums + index * scratch.sumCount, rows: rows, columns: dimension,
        factors: nil, into: gradients.value.bits(place, count: count), stride: run.keyColumns)
    }
  }
}

/// The memory of a thread in the backward pass.
@safe private final class BackwardScratch<Kernels: TileKernels> {
  let tiles: AttentionTiles<Kernels>
  let paddedKeys: Int
  /// The sums of a tile of rows over the dimension.
  let sumCount: Int
  private let buffer: AlignedBuffer
  private let keyTiles: Int
  let scores: UnsafeMutablePointer<Float>
  let products: UnsafeMutablePointer<Float>
  let sums: UnsafeMutablePointer<Float>
  let keySums: UnsafeMutablePointer<Float>
  let valueSums: UnsafeMutablePointer<Float>
  let probabilities: UnsafeMutablePointer<UInt16>
  let changes: UnsafeMutablePointer<UInt16>
  let turned: UnsafeMutablePointer<UInt16>

  init(_ kernels: Kernels, keys: Int, dimension: Int, queries: Int) {
    tiles = AttentionTiles(kernels)
    paddedKeys = (keys + 31) / 32 * 32
    sumCount = tiles.sumCount(dimension)
    keyTiles = (keys + kernels.tileRows - 1) / kernels.tileRows
    let scoreCount = tiles.sumCount(paddedKeys)
    let floats = 2 * scoreCount + sumCount + 2 * keyTiles * sumCount
    let halves = (queries + 31) / 32 * 32 * paddedKeys
    buffer = AlignedBuffer(byteCount: floats * 4 + 3 * halves * 2)
    // Parts of the buffer, which lives as long as this object.
    unsafe scores = buffer.pointer(to: Float.self)
    unsafe products = scores + scoreCount
    unsafe sums = products + scoreCount
    unsafe keySums = sums + sumCount
    unsafe valueSums = keySums + keyTiles * sumCount
    unsafe probabilities = UnsafeMutableRawPointer(valueSums + keyTiles * sumCount)
      .assumingMemoryBound(to: UInt16.self)
    unsafe changes = probabilities + halves
    unsafe turned = changes + halves
  }

  /// Begins the sums of another head.
  func clearSums() {
    // Both lie side by side.
    unsafe keySums.update(repeating: 0, count: 2 * keyTiles * sumCount)
  }
}
