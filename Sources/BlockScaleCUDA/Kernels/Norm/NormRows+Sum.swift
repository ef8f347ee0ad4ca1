// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import PTX

// Sums in the order of `rowSum`: sum j of a row is that of the terms of columns j, j + 16 and so on, one
// after the other. Threads leave their terms in shared memory, and a warp adds those of both rows, lane
// by lane one of the thirty-two sums.

/// Terms of two rows, those of a step's columns.
private struct TermTile {
  /// Groups of sixteen terms, of which two lie together; the room after them keeps the eight threads that
  /// store at once on banks of their own.
  static let pairBytes = 2 * 64 + 16
  /// From a row to the next, so that lanes of both rows read from banks of their own.
  static func rowBytes(columns: Int) -> Int { columns / 32 * pairBytes + 64 }
  /// Groups whose terms a warp loads at once.
  static let together = 32
}

extension NormRows {
  /// Steps whose loads are in flight together.
  private static var stepsTogether: Int { 2 }
  private static var rowBytes: Int { TermTile.rowBytes(columns: columnsPerStep) }
  private static var tileBytes: Int { rowsPerBlock * rowBytes }

  /// Room for the terms of one sum, or of two at once, which all sums of a kernel share.
  func termTiles(_ count: Int = 1) -> SharedPointer<UInt8> {
    k.shared(UInt8.self, count: count * Self.tileBytes)
  }

  /// Sums of terms of each column in both rows, the same in all threads: for each sum its rows.
  ///
  /// - Parameters:
  ///   - count: One sum or two.
  ///   - load: What is loaded for the thread's columns; that of two steps is loaded together.
  ///   - terms: For each sum the terms of both rows; those of columns outside do not count.
  ///   - result: What becomes of a sum.
  func sums<Loaded>(
    _ count: Int = 1, in tiles: SharedPointer<UInt8>, _ load: (Value<UInt32>) -> Loaded,
    _ terms: (Value<UInt32>, Loaded) -> [[[Value<Float>]]],
    result: (Value<Float>) -> Value<Float>
  ) -> [[Value<Float>]] {
    let thread = k.thread
    // Half a group of sixteen.
    let kept = tiles[
      (thread >> 2) * TermTile.pairBytes + (thread >> 1 & 1) * 64 + (thread & 1) * 32]
    let isAdding = thread .< 32 * count
    let ofLane = tiles[
      (thread >> 5) * Self.tileBytes + (thread >> 4 & 1) * Self.rowBytes + (thread & 15) * 4]
    let sum = k.variable(Value<Float>(0))
    let groups = columns.dividedUp(by: 16)
    let stride = Self.columnsPerStep

    k.forEach(
      from: Value<UInt32>(0), below: columns.materialized(k),
      by: Value(Self.stepsTogether * stride)
    ) { start in
      let runs = (0..<Self.stepsTogether).map { step in
        let column = start + step * stride + firstColumn
        // Those beyond a row read its end again; their terms are not added.
        return isAligned ? minimum(column, columns - Self.width) : column
      }
      let loaded = runs.map(load)
      for step in 0..<Self.stepsTogether {
        func add() {
          let terms = terms(runs[step], loaded[step])
          // Until the step before is added up.
          k.barrier()
          for (index, rows) in terms.enumerated() {
            store(rows, to: kept.advanced(by: index * Self.tileBytes), column: runs[step])
          }
          k.barrier()
          k.when(isAdding) {
            let before = (start + step * stride) >> 4
            addTerms(of: minimum(groups - before, Value(stride / 16)), to: sum, from: ofLane)
          }
        }
        if step == 0 { add() } else { k.when(start + step * stride .< columns) { add() } }
      }
    }
    return shared(sum, count, isAdding, result)
  }

  private func store(
    _ rows: [[Value<Float>]], to tile: SharedPointer<UInt8>, column: Value<UInt32>
  ) {
    for (row, terms) in rows.enumerated() {
      let inside =
        isAligned
        ? terms
        : terms.enumerated().map { isInside(column, $0).select($1, Value(0)) }
      let place = tile.advanced(by: row * Self.rowBytes).assuming(Float.self)
      place.store(Array(inside[..<4]))
      place.advanced(by: 4).store(Array(inside[4...]))
    }
  }

  /// Adds the lane's terms of so many groups, in their order.
  private func addTerms(
    of groups: Value<UInt32>, to sum: Variable<Float>, from start: SharedPointer<UInt8>
  ) {
    let batchBytes = TermTile.together / 2 * TermTile.pairBytes
    func add(from first: SharedPointer<UInt8>, _ isThere: ((Int) -> Value<Bool>)?) {
      let terms = (0..<TermTile.together).map { group in
        let place = first.advanced(by: group / 2 * TermTile.pairBytes + group % 2 * 64)
          .assuming(Float.self)
        // Sums begin at +0, which adding a zero does not change.
        return isThere.map { place.load(if: $0(group), otherwise: Value(0)) } ?? place.load()
      }
      sum.value = terms.reduce(sum.value) { $0 + $1 }
    }
    let batches = groups / TermTile.together
    k.forEach(from: Value<UInt32>(0), below: batches, by: Value(1)) { batch in
      add(from: start[batch * batchBytes], nil)
    }
    let rest = groups % TermTile.together
    k.when(rest .> 0) { add(from: start[batches * batchBytes]) { rest .> $0 } }
  }

  /// What becomes of the sums that warps have, in all threads.
  private func shared(
    _ sum: Variable<Float>, _ count: Int, _ isAdding: Value<Bool>,
    _ result: (Value<Float>) -> Value<Float>
  ) -> [[Value<Float>]] {
    let thread = k.thread
    let results = k.shared(Float.self, count: count * Self.rowsPerBlock)
    k.when(isAdding) {
      let total = result(sum.snapshot().reduced(lanes: 16) { $0 + $1 })
      results[thread >> 4].store(total, if: (thread & 15) .== 0)
    }
    k.barrier()
    return (0..<count).map { index in
      results.advanced(by: index * Self.rowsPerBlock).load(count: Self.rowsPerBlock)
    }
  }

  // MARK: Normalizing

  /// What makes a row's values normalized: `(x − mean) · inverse`, or `x · inverse`.
  struct Statistics {
    let mean: Value<Float>?
    let inverse: Value<Float>

    func normalized(_ value: Value<Float>) -> Value<Float> {
      (mean.map { value - $0 } ?? value) * inverse
    }
  }

  /// The statistics of the rows.
  func statistics(
    _ kind: NormKind, epsilon: Value<Float>, in tiles: SharedPointer<UInt8>
  ) -> [Statistics] {
    let count = columns.float
    let means =
      kind == .layer
      ? sums(in: tiles, codes(at:)) {
        [values(of: $1)]
      } result: {
        $0 / count
      }[0] : nil
    let inverses = sums(in: tiles, codes(at:)) { _, codes in
      [
        values(of: codes).enumerated().map { row, values in
          values.map { value in
            let centered = means.map { value - $0[row] } ?? value
            return centered * centered
          }
        }
      ]
    } result: {
      ($0 / count + epsilon).squareRoot.reciprocal
    }[0]
    return inverses.enumerated().map { Statistics(mean: means?[$0], inverse: $1) }
  }
}
