// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import PTX

/// The normalizations of rows.
package enum NormKind: String, Sendable, Hashable {
  case rms, layer
}

/// A row of FP8 codes in groups, which half a warp has: lane j the columns j, j + 16 and so on.
///
/// So each lane sums what is one of the sixteen sums of `rowSum`, in its order.
struct NormRow<Input: ActivationElement> {
  static var threads: Int { 256 }
  static var rowsPerBlock: Int { threads / 16 }
  /// Columns of a lane whose loads are in flight together.
  private static var together: Int { 8 }

  private let k: KernelBuilder
  private let codes: GlobalPointer<Input>
  private let scales: GlobalPointer<BFloat16>
  private let groupSize: Int
  let row: Value<UInt32>
  let isInside: Value<Bool>
  private let first: Value<UInt64>
  private let firstScale: Value<UInt64>
  private let lane: Value<UInt32>
  private let columns: Value<UInt32>

  init(_ k: KernelBuilder, rows: Value<UInt32>, columns: Value<UInt32>, groupSize: Int) {
    self.k = k
    self.columns = columns
    self.groupSize = groupSize
    codes = k.pointer("input", to: Input.self)
    scales = k.pointer("inputScales", to: BFloat16.self)
    row = k.special(.blockX).multiplied(by: Value(Self.rowsPerBlock), adding: k.thread >> 4)
    isInside = row .< rows
    first = row.multipliedWide(by: columns)
    firstScale = row.multipliedWide(by: columns.dividedUp(by: groupSize))
    lane = k.thread & 15
  }

  /// Whether the calling lane is the row's first.
  var isLeader: Value<Bool> { isInside .& (lane .== 0) }

  /// A column of the row.
  struct Element {
    let column: Value<UInt32>
    let place: Value<UInt64>
    /// Whether the matrix has it.
    let isInside: Value<Bool>
    /// Code times scale; zero outside.
    let value: Value<Float>

    /// The value of a parameter with one for each column; zero outside.
    func parameter(_ pointer: GlobalPointer<Float>) -> Value<Float> {
      pointer[column].load(cache: .readOnly, if: isInside, otherwise: Value(0))
    }

    /// The value of a matrix; zero outside.
    func matrix(_ pointer: GlobalPointer<BFloat16>) -> Value<Float> {
      pointer[place].load(cache: .readOnly, if: isInside, otherwise: Value(bits: 0)).float
    }
  }

  /// Does something with the lane's columns in their order.
  ///
  /// - Parameter load: What is loaded for a column besides its value; all loads come before `body`.
  func forEach<Loaded>(_ load: (Element) -> Loaded, _ body: (Element, Loaded) -> Void) {
    k.forEach(
      from: lane.materialized(k), below: columns.materialized(k), by: Value(16 * Self.together)
    ) { start in
      let elements = (0..<Self.together).map { index in
        let column = start + 16 * index
        let inside = isInside .& (column .< columns)
        let place = first + column.widened
        let code = codes[place].load(
          cache: .readOnly, if: inside, otherwise: Value<UInt16>(bits: 0))
        let scale = scales[firstScale + (column / groupSize).widened].load(
          cache: .readOnly, if: inside, otherwise: Value(bits: 0))
        return Element(
          column: column, place: place, isInside: inside,
          value: k.value(ofCode: code.widened, as: Input.self) * scale.float)
      }
      let loaded = elements.map(load)
      for (element, more) in zip(elements, loaded) { body(element, more) }
    }
  }

  /// The sum of a term of each column, in the order of `rowSum`, the same in the row's lanes.
  func sum<Loaded>(
    _ load: (Element) -> Loaded, _ term: (Element, Loaded) -> Value<Float>
  ) -> Value<Float> {
    let sum = k.variable(Value<Float>(0))
    forEach(load) { element, more in
      // Sums begin at +0, which adding a zero does not change.
      sum.value = sum.value + element.isInside.select(term(element, more), Value(0))
    }
    return sum.snapshot().reduced(lanes: 16) { $0 + $1 }
  }

  // MARK: Normalizing

  /// What makes a value normalized: `(x − mean) · inverse`, or `x · inverse`.
  struct Statistics {
    let mean: Value<Float>?
    let inverse: Value<Float>

    func normalized(_ value: Value<Float>) -> Value<Float> {
      (mean.map { value - $0 } ?? value) * inverse
    }
  }

  /// The statistics of the row.
  func statistics(_ kind: NormKind, epsilon: Value<Float>) -> Statistics {
    let count = columns.float
    let mean =
      kind == .layer
      ? sum { _ in
      } _: { element, _ in
        element.value
      } / count : nil
    let squares = sum { _ in
    } _: { element, _ in
      let centered = mean.map { element.value - $0 } ?? element.value
      return centered * centered
    }
    return Statistics(mean: mean, inverse: (squares / count + epsilon).squareRoot.reciprocal)
  }
}
