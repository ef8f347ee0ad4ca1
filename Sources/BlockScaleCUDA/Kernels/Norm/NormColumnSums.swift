// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
package import PTX

/// The sums of panels of 64 rows for the gradients of a norm's weight and, of LayerNorm, its bias.
///
/// A thread has eight neighbouring columns. ``PanelTotals`` adds the panels.
///
/// - Constraints: `statistics` holds 1/√… and the mean of each row (``NormBackward``); `isAligned` says
///   that N is a multiple of 16.
/// - Numerics: Those of the reference's `columnSums`: FP32, rows in their order.
/// - Traffic: 3 bytes and 2/QB of scales read an element.
package struct NormColumnSums<Input: ActivationElement>: Kernel {
  package var kind: NormKind
  package var groupSize: Int
  package var isAligned: Bool

  package init(_ kind: NormKind, groupSize: Int = 16, isAligned: Bool = true) {
    self.kind = kind
    self.groupSize = groupSize
    self.isAligned = isAligned
  }

  private static var threads: Int { 128 }
  /// Neighbouring columns of a thread.
  private static var width: Int { 8 }
  /// Rows whose loads are in flight together.
  private static var together: Int { 4 }

  /// Blocks for a matrix.
  package static func grid(rows: Int, columns: Int) -> GridShape {
    GridShape(columns.dividedUp(by: threads * width), rows.dividedUp(by: columnSumPanelRows))
  }

  package var name: String {
    kernelName(
      kind.rawValue, "norm_column_sums", Input.self, "g", groupSize, isAligned ? "" : "tails")
  }
  package var bounds: LaunchBounds {
    LaunchBounds(threads: Self.threads, minimumBlocks: isAligned ? 8 : nil)
  }

  package func body(_ k: KernelBuilder) {
    let (rows, columns) = (k.uint32("rows"), k.uint32("columns"))
    let column =
      k.special(.blockX).multiplied(by: Value(Self.threads), adding: k.thread) * Self.width
    k.exit(if: column .>= columns)
    let operands = Operands(
      k, kind, groupSize: groupSize, isAligned: isAligned, rows: rows, columns: columns,
      column: column)
    let weightSums = (0..<Self.width).map { _ in k.variable(Value<Float>(0)) }
    let biasSums = (0..<Self.width).map { _ in k.variable(Value<Float>(0)) }
    func add(_ rows: [RowOperands]) {
      for row in rows {
        for (index, term) in row.terms(k).enumerated() {
          weightSums[index].value = weightSums[index].value + term.weight
          biasSums[index].value = biasSums[index].value + term.bias
        }
      }
    }
    let panel = k.special(.blockY)
    let first = panel * columnSumPanelRows
    let end = minimum(first + columnSumPanelRows, rows)
    let whole = end - ((end - first) & (Self.together - 1))
    k.forEach(from: first, below: whole, by: Value(Self.together)) { row in
      add((0..<Self.together).map { operands.load(row + $0) })
    }
    k.forEach(from: whole, below: end, by: Value(1)) { row in add([operands.load(row)]) }
    let results = kind == .layer ? [weightSums, biasSums] : [weightSums]
    for (name, sums) in zip(["weightPanels", "biasPanels"], results) {
      let run = RowRun(
        k, row: panel, column: column, rows: panel + 1, columns: columns, isAligned: false,
        length: Self.width)
      run.store(sums.map(\.value.bits), to: k.pointer(name, to: UInt8.self), bytesPerValue: 4)
    }
  }

  /// What a thread reads of its columns.
  private struct Operands {
    let k: KernelBuilder
    let kind: NormKind
    let isAligned: Bool
    let rows: Value<UInt32>
    let columns: Value<UInt32>
    let column: Value<UInt32>
    let groups: Value<UInt32>
    let codes: GlobalPointer<UInt8>
    /// Of the thread's first column in the first row.
    let scales: GlobalPointer<BFloat16>
    let gradient: GlobalPointer<UInt8>
    let statistics: GlobalPointer<Float>

    init(
      _ k: KernelBuilder, _ kind: NormKind, groupSize: Int, isAligned: Bool, rows: Value<UInt32>,
      columns: Value<UInt32>, column: Value<UInt32>
    ) {
      self.k = k
      self.kind = kind
      self.isAligned = isAligned
      self.rows = rows
      self.columns = columns
      self.column = column
      groups = columns.dividedUp(by: groupSize)
      codes = k.pointer("input", to: Input.self).assuming(UInt8.self)
      scales = k.pointer("inputScales", to: BFloat16.self)[column / groupSize]
      gradient = k.pointer("gradient", to: UInt8.self)
      statistics = k.pointer("statistics", to: Float.self)
    }

    /// Loads a row's.
    func load(_ row: Value<UInt32>) -> RowOperands {
      let ofRow = statistics.advanced(rows: row, of: Value(8))
      return RowOperands(
        codes: words(codes, bytesPerValue: 1, row),
        gradient: words(gradient, bytesPerValue: 2, row),
        scale: scales.advanced(rows: row, of: groups << 1).load(cache: .readOnly),
        statistics: ofRow.load(count: kind == .layer ? 2 : 1, cache: .readOnly))
    }

    private func words(
      _ matrix: GlobalPointer<UInt8>, bytesPerValue: Int, _ row: Value<UInt32>
    ) -> [Value<UInt32>] {
      guard isAligned else {
        return RowRun(
          k, row: row, column: column, rows: rows, columns: columns, isAligned: false,
          length: NormColumnSums.width
        ).words(matrix, bytesPerValue: bytesPerValue)
      }
      return matrix.advanced(rows: column, of: Value(bytesPerValue))
        .advanced(rows: row, of: columns * bytesPerValue).assuming(UInt32.self)
        .load(count: NormColumnSums.width * bytesPerValue / 4, cache: .readOnly)
    }
  }

  /// What a thread reads of a row.
  private struct RowOperands {
    let codes: [Value<UInt32>]
    let gradient: [Value<UInt32>]
    let scale: Value<BFloat16>
    /// 1/√… and, of LayerNorm, the mean.
    let statistics: [Value<Float>]

    func terms(_ k: KernelBuilder) -> [(weight: Value<Float>, bias: Value<Float>)] {
      let factor = scale.float
      let values = codes.flatMap { k.values(of: $0, as: Input.self) }
      let incoming = gradient.flatMap { word in
        let floats = word.reinterpreted(as: Pair<BFloat16>.self).floats
        return [floats.low, floats.high]
      }
      return zip(values, incoming).map { value, incoming in
        var centered = value * factor
        if statistics.count > 1 { centered = centered - statistics[1] }
        return (incoming * (centered * statistics[0]), incoming)
      }
    }
  }
}

/// The sums down the columns of FP32 panels, in their order.
///
/// - Constraints: P×N panels and N sums.
/// - Traffic: The panels read once.
package struct PanelTotals: Kernel {
  package init() {}

  package static let threads = 64
  /// Panels whose loads are in flight together.
  private static let together = 16

  package var name: String { "panel_totals" }
  package var bounds: LaunchBounds { LaunchBounds(threads: Self.threads) }

  package func body(_ k: KernelBuilder) {
    let (panels, columns) = (k.uint32("rows"), k.uint32("columns"))
    let (source, target) = (k.pointer("panels", to: Float.self), k.pointer("sums", to: Float.self))
    let column = k.special(.blockX).multiplied(by: Value(Self.threads), adding: k.thread)
    k.exit(if: column .>= columns)
    let total = k.variable(Value<Float>(0))
    func add(_ panels: [Value<UInt32>]) {
      let sums = panels.map { source[column].advanced(rows: $0, of: columns << 2).load() }
      total.value = sums.reduce(total.value) { $0 + $1 }
    }
    let whole = panels & ~(Self.together - 1)
    k.forEach(from: Value<UInt32>(0), below: whole, by: Value(Self.together)) { first in
      add((0..<Self.together).map { first + $0 })
    }
    k.forEach(from: whole, below: panels.materialized(k), by: Value(1)) { add([$0]) }
    target[column].store(total.value)
  }
}
