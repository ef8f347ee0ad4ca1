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
  /// The same at a row's end.
  static let rest = 4
}

extension NormRows {
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
  ///   - gradient: What is loaded besides codes and scales.
  ///   - terms: For each sum the terms of both rows; those of columns outside do not count.
  ///   - result: What becomes of a sum.
  func sums(
    _ count: Int = 1, in tiles: SharedPointer<UInt8>, gradient: Matrix? = nil,
    _ terms: (Value<UInt32>, Inputs) -> [[[Value<Float>]]],
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
    // How many steps ahead inputs are loaded: gradients, or the terms of two sums, leave registers for one.
    let stepsAhead = gradient == nil ? 2 : 1

    func column(_ start: Value<UInt32>) -> Value<UInt32> {
      // Those beyond a row read its end again; their terms are not added.
      isAligned ? minimum(start + firstColumn, columns - Self.width) : start + firstColumn
    }
    func load(_ start: Value<UInt32>) -> Inputs {
      // `ptxas` would move read-only loads behind the barrier that follows.
      inputs(at: column(start), gradient: gradient, cache: .normal)
    }
    let ahead = (0..<stepsAhead).map {
      InputVariables(k, load((Value<UInt32>($0 * stride)).materialized(k)))
    }
    k.forEach(from: Value<UInt32>(0), below: columns.materialized(k), by: Value(stride)) { start in
      let terms = terms(column(start), ahead[0].inputs)
      let next = start + stepsAhead * stride
      // One body for all steps, at the price of moves, so that the driver compiles it fast.
      for (variables, later) in zip(ahead, ahead.dropFirst()) { variables.set(later.inputs) }
      k.when(next .< columns) { ahead[stepsAhead - 1].set(load(next)) }
      // Until the step before is added up.
      k.barrier()
      for (index, rows) in terms.enumerated() {
        store(rows, to: kept.advanced(by: index * Self.tileBytes), column: column(start))
      }
      k.barrier()
      k.when(isAdding) {
        let left = minimum(groups - (start >> 4), Value(stride / 16))
        addTerms(of: left, to: sum, from: ofLane)
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
    func add(
      _ count: Int, from first: SharedPointer<UInt8>, _ isThere: ((Int) -> Value<Bool>)? = nil
    ) {
      let terms = (0..<count).map { group in
        let place = first.advanced(by: group / 2 * TermTile.pairBytes + group % 2 * 64)
          .assuming(Float.self)
        // Sums begin at +0, which adding a zero does not change.
        return isThere.map { place.load(if: $0(group), otherwise: Value(0)) } ?? place.load()
      }
      sum.value = terms.reduce(sum.value) { $0 + $1 }
    }
    func bytes(_ groups: Value<UInt32>) -> Value<UInt32> { groups * (TermTile.pairBytes / 2) }
    let whole = groups & ~(TermTile.together - 1)
    k.forEach(from: Value<UInt32>(0), below: whole, by: Value(TermTile.together)) { group in
      add(TermTile.together, from: start[bytes(group)])
    }
    k.forEach(from: whole, below: groups, by: Value(TermTile.rest)) { group in
      add(TermTile.rest, from: start[bytes(group)]) { group + $0 .< groups }
    }
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

  /// Inputs that a loop carries.
  private struct InputVariables {
    private let codes: [[Variable<UInt32>]]
    private let scales: [Variable<BFloat16>]
    private let gradient: [[Variable<UInt32>]]

    init(_ k: KernelBuilder, _ inputs: Inputs) {
      codes = inputs.codes.map { $0.map(k.variable) }
      scales = inputs.scales.map(k.variable)
      gradient = inputs.gradient.map { $0.map(k.variable) }
    }

    var inputs: Inputs {
      Inputs(
        codes: codes.map { $0.map(\.value) }, scales: scales.map(\.value),
        gradient: gradient.map { $0.map(\.value) })
    }

    func set(_ inputs: Inputs) {
      for (variables, values) in zip(codes + gradient, inputs.codes + inputs.gradient) {
        for (variable, value) in zip(variables, values) { variable.value = value }
      }
      for (variable, value) in zip(scales, inputs.scales) { variable.value = value }
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
      ? sums(in: tiles) {
        [values(of: $1)]
      } result: {
        $0 / count
      }[0] : nil
    let inverses = sums(in: tiles) { _, inputs in
      [
        values(of: inputs).enumerated().map { row, values in
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
