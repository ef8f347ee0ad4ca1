// SPDX-License-Identifier: Apache-2.0

public import BlockScale
import Minifloat
import _BlockScaleShims

extension CPUBackend {
  /// The queries of one sequence up to which products without tiles are quicker.
  private static let fewQueries = 4

  /// Causal attention: softmax(q·kᵀ/√d)·v.
  ///
  /// Threads take a tile of queries of one head at a time, whose scores stay in the cache.
  public func attentionForward(
    query: BFloat16Tensor, key: BFloat16Tensor, value: BFloat16Tensor, heads: AttentionHeads
  ) throws(BlockScaleError) -> AttentionOutput {
    let extents = try AttentionExtents(query: query, key: key, value: value, heads: heads)
    var logSums: [Float] = []
    let values: [BFloat16] = filled(query.matrix.values.count) { output in
      query.matrix.values.withInput { query in
        key.matrix.values.withInput { key in
          value.matrix.values.withInput { value in
            let run = AttentionRun(
              backend: self, extents: extents, heads: heads, query: query, key: key, value: value)
            logSums = filled(extents.batch * heads.count * extents.queries) { logSums in
              if extents.queries <= Self.fewQueries {
                run.forwardFew(into: output, logSums: logSums)
                return
              }
              if let kernels = BF16Kernels(tier) {
                run.forward(kernels, into: output, logSums: logSums)
                return
              }
              run.forward(FP32Kernels(tier), into: output, logSums: logSums)
            }
          }
        }
      }
    }
    return AttentionOutput(
      output: Tensor(
        Matrix(unchecked: values, rows: query.matrix.rows, columns: query.matrix.columns),
        like: query), logSums: logSums)
  }

  /// The gradients of attention.
  ///
  /// A thread takes one head of keys and values of one sequence with all queries that see it, so that
  /// the sums have the same order whatever the number of threads.
  public func attentionBackward(
    query: BFloat16Tensor, key: BFloat16Tensor, value: BFloat16Tensor, heads: AttentionHeads,
    forward: AttentionOutput, gradient: BFloat16Tensor
  ) throws(BlockScaleError) -> AttentionGradients {
    let extents = try AttentionExtents(query: query, key: key, value: value, heads: heads)
    try extents.check(gradient: gradient, forward: forward, query: query, heads: heads)
    var keys: [BFloat16] = []
    var values: [BFloat16] = []
    let queries: [BFloat16] = filled(query.matrix.values.count) { queryGradient in
      let count = key.matrix.values.count
      (keys, values) = filled(count, count) {
        (keyGradient: Output<BFloat16>, valueGradient: Output<BFloat16>) in
        query.matrix.values.withInput { query in
          key.matrix.values.withInput { key in
            value.matrix.values.withInput { value in
              gradient.matrix.values.withInput { gradient in
                forward.output.matrix.values.withInput { output in
                  let run = AttentionRun(
                    backend: self, extents: extents, heads: heads, query: query, key: key,
                    value: value)
                  let results = AttentionRun.Gradients(
                    output: output, gradient: gradient, logSums: forward.logSums,
                    query: queryGradient, key: keyGradient, value: valueGradient)
                  if let kernels = BF16Kernels(tier) {
                    run.backward(kernels, results)
                    return
                  }
                  run.backward(FP32Kernels(tier), results)
                }
              }
            }
          }
        }
      }
    }
    func tensor(_ values: [BFloat16], like other: BFloat16Tensor) -> BFloat16Tensor {
      Tensor(
        Matrix(unchecked: values, rows: other.matrix.rows, columns: other.matrix.columns),
        like: other)
    }
    return AttentionGradients(
      query: tensor(queries, like: query), key: tensor(keys, like: key),
      value: tensor(values, like: value))
  }
}

/// One call of attention.
struct AttentionRun: Sendable {
  let backend: CPUBackend
  let extents: AttentionExtents
  let heads: AttentionHeads
  let query: Input<BFloat16>
  let key: Input<BFloat16>
  let value: Input<BFloat16>

  var queryColumns: Int { heads.count * heads.dimension }
  var keyColumns: Int { heads.keyValueCount * heads.dimension }
  var paddedDimension: Int { (heads.dimension + 31) / 32 * 32 }

  /// The rows of a sequence among those of all sequences.
  func rows(_ sequence: Int, _ length: Int) -> Range<Int> {
    sequence * length..<(sequence + 1) * length
  }

  /// A head of keys or values of one sequence.
  func head(_ matrix: Input<BFloat16>, _ sequence: Int, _ head: Int) -> HeadRows {
    HeadRows(
      matrix, columns: keyColumns, rows: rows(sequence, extents.keys), head: head,
      dimension: heads.dimension)
  }

  /// A head of queries, or of what has their shape, of one sequence.
  func queryHead(_ matrix: Input<BFloat16>, _ sequence: Int, _ head: Int) -> HeadRows {
    HeadRows(
      matrix, columns: queryColumns, rows: rows(sequence, extents.queries), head: head,
      dimension: heads.dimension)
  }

  //MARK: Forward

  /// Queries one by one, as in generation.
  func forwardFew(into output: Output<BFloat16>, logSums: Output<Float>) {
    let kernels = LayerKernels(backend.tier)
    let padded = (extents.keys + 15) / 16 * 16
    let width = (heads.dimension + 15) / 16 * 16
    parallelFor(
      extents.batch * heads.count, threads: backend.threads,
      scratch: { AlignedBuffer(byteCount: (padded + width) * 4) }
    ) { index, scratch in
      let (sequence, head) = (index / heads.count, index % heads.count)
      let queries = queryHead(query, sequence, head)
      let keys = self.head(key, sequence, head / heads.groupSize)
      let values = self.head(value, sequence, head / heads.groupSize)
      let scores = unsafe scratch.pointer(to: Float.self)
      for place in 0..<extents.queries {
        let row = sequence * extents.queries + place
        // The scratch has room for the scores of all keys and for a head; keys are visible ones.
        let logSum = unsafe kernels.functions.attend(
          queries.row(place), keys.row(0), values.row(0), keyColumns, extents.visible(place),
          heads.dimension, heads.scale, scores, scores + padded,
          output.bits(row * queryColumns + head * heads.dimension, count: heads.dimension))
        unsafe logSums.pointer(index * extents.queries + place, count: 1).pointee = logSum
      }
    }
  }

  /// Queries tile by tile.
  func forward<Kernels: TileKernels>(
    _ kernels: Kernels, into output: Output<BFloat16>, logSums: Output<Float>
  ) {
    let layer = LayerKernels(backend.tier)
    let vectors = FP32Kernels(backend.tier)
    let paddedKeys = (extents.keys + 31) / 32 * 32
    let pairs = extents.batch * heads.keyValueCount
    let columns = packed(pairs) { index in
      let (sequence, head) = (index / heads.keyValueCount, index % heads.keyValueCount)
      return (
        keys: HeadColumns(rows: self.head(key, sequence, head), vectors),
        values: HeadColumns(columns: self.head(value, sequence, head), depth: paddedKeys)
      )
    }
    let tileRows = kernels.tileRows
    let tiles = (extents.queries + tileRows - 1) / tileRows
    parallelFor(
      extents.batch * heads.count * tiles, threads: backend.threads,
      scratch: { ForwardScratch(kernels, keys: paddedKeys, dimension: heads.dimension) }
    ) { index, scratch in
      // The longest rows of scores first.
      let (sequenceHead, tile) = (index / tiles, tiles - 1 - index % tiles)
      let (sequence, head) = (sequenceHead / heads.count, sequenceHead % heads.count)
      let own = columns[sequence * heads.keyValueCount + head / heads.groupSize]
      let first = tile * tileRows
      let count = min(tileRows, extents.queries - first)
      let limit = extents.visible(first + count - 1)
      let depth = (limit + 31) / 32 * 32
      let queries = queryHead(query, sequence, head)
      kernels.begin()
      // The scratch has room for a tile of rows of scores, of probabilities and of results.
      unsafe scratch.tiles.multiply(
        queries.source, row: first, rows: count,
        columns: own.keys.tiles(limit, columns: kernels.tileColumns), depth: paddedDimension,
        into: scratch.scores)
      for row in 0..<count {
        let logSum = unsafe layer.functions.softmax(
          scratch.tiles.row(scratch.scores, row), extents.visible(first + row), depth,
          heads.scale, scratch.probabilities + row * depth, scratch.factors + row)
        unsafe logSums.pointer(sequenceHead * extents.queries + first + row, count: 1).pointee =
          logSum
      }
      unsafe scratch.tiles.multiply(
        HeadRows.source(scratch.probabilities, stride: depth, depth: depth), row: 0, rows: count,
        columns: own.values.tiles(heads.dimension, columns: kernels.tileColumns), depth: depth,
        into: scratch.sums)
      let place = (sequence * extents.queries + first) * queryColumns + head * heads.dimension
      unsafe scratch.tiles.store(
        scratch.sums, rows: count, columns: heads.dimension, factors: scratch.factors,
        into: output.bits(place, count: (count - 1) * queryColumns + heads.dimension),
        stride: queryColumns)
      kernels.end()
      extendLifetime(own)
    }
  }

  /// What is prepared for each head of keys and values.
  func packed<Value: Sendable>(_ count: Int, _ make: @Sendable (Int) -> Value) -> [Value] {
    let results = OrderedResults<Value>(count)
    parallelFor(count, threads: backend.threads) { results.set($0, make($0)) }
    return results.values
  }
}

/// The memory of a thread in the forward pass.
@safe private final class ForwardScratch<Kernels: TileKernels> {
  let tiles: AttentionTiles<Kernels>
  private let buffer: AlignedBuffer
  let scores: UnsafeMutablePointer<Float>
  let sums: UnsafeMutablePointer<Float>
  let factors: UnsafeMutablePointer<Float>
  let probabilities: UnsafeMutablePointer<UInt16>

  init(_ kernels: Kernels, keys: Int, dimension: Int) {
    tiles = AttentionTiles(kernels)
    let rows = (kernels.tileRows + 15) / 16 * 16
    let counts = (tiles.sumCount(keys), tiles.sumCount(dimension))
    buffer = AlignedBuffer(
      byteCount: (counts.0 + counts.1 + rows) * 4 + kernels.tileRows * keys * 2)
    // Parts of the buffer, which lives as long as this object.
    unsafe scores = buffer.pointer(to: Float.self)
    unsafe sums = scores + counts.0
    unsafe factors = sums + counts.1
    unsafe probabilities = UnsafeMutableRawPointer(factors + rows).assumingMemoryBound(
      to: UInt16.self)
  }
}
