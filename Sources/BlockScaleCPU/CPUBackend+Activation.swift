// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import _BlockScaleShims

// What the operations of the FP8 activation flow have in common: rows are spread over the threads,
// and a tensor gets its one scale in a second pass over the BF16 values of the first.

/// What becomes of an operation's rows.
struct ActivationTask: Sendable {
  let rows: Int
  let columns: Int
  let format: ElementFormat
  let recipe: ActivationRecipe
  var groupSize = 16

  var groups: Int { (columns - 1) / groupSize + 1 }
}

extension CPUBackend {
  /// The rows that a thread takes at once.
  private static let panelRows = 8

  /// Runs `body` for every row with rows to work in.
  func forEachRow(
    _ rows: Int, columns: Int, scratch: Int,
    _ body: @Sendable (_ row: Int, _ scratch: [Row]) -> Void
  ) {
    let panels = (rows - 1) / Self.panelRows + 1
    let kernels = LayerKernels(tier)
    parallelFor(panels, threads: threads) { panel in
      let scratch = (0..<scratch).map { _ in Row(columns: columns, kernels) }
      for row in panel * Self.panelRows..<min(rows, (panel + 1) * Self.panelRows) {
        body(row, scratch)
      }
    }
  }

  /// Codes in groups of what `compute` leaves in the first of its rows.
  func quantizedGroups<Element: Float8Element>(
    _ task: ActivationTask, as element: Element.Type, scratch: Int,
    _ compute: @Sendable (_ row: Int, _ scratch: [Row]) -> Void
  ) throws(BlockScaleError) -> BlockScaledMatrix<Element, BFloat16> {
    let (codes, scales) = filled(task.rows * task.columns, task.rows * task.groups) {
      (codes: Output<UInt8>, scales: Output<BFloat16>) in
      forEachRow(task.rows, columns: task.columns, scratch: scratch) { row, scratch in
        compute(row, scratch)
        scratch[0].quantize(
          into: codes, scales, row: row, groupSize: task.groupSize, task.format, task.recipe)
      }
    }
    return try BlockScaledMatrix(
      rows: task.rows, columns: task.columns,
      blocking: Blocking(rows: 1, columns: task.groupSize), codes: codes, scales: scales)
  }

  /// BF16 values of what `compute` leaves in the first of its rows, and the scales of their groups.
  func groupScaled(
    _ task: ActivationTask, scratch: Int,
    _ compute: @Sendable (_ row: Int, _ scratch: [Row]) -> Void
  ) throws(BlockScaleError) -> (values: Matrix<BFloat16>, scales: Matrix<BFloat16>) {
    let (values, scales) = filled(task.rows * task.columns, task.rows * task.groups) {
      (values: Output<BFloat16>, scales: Output<BFloat16>) in
      forEachRow(task.rows, columns: task.columns, scratch: scratch) { row, scratch in
        compute(row, scratch)
        scratch[0].storeGroupScales(
          into: scales, row: row, groupSize: task.groupSize, task.format, task.recipe)
        scratch[0].store(into: values, row: row)
      }
    }
    return (
      try Matrix(values, rows: task.rows, columns: task.columns),
      try Matrix(scales, rows: task.rows, columns: task.groups)
    )
  }

  /// Codes under one scale of what `compute` leaves in the first of its rows.
  func quantizedPerTensor<Element: Float8Element, Other>(
    as element: Element.Type, scale: BFloat16, _ recipe: ActivationRecipe, transposes: Bool,
    rounding: ActivationRounding = .nearest, scratch: Int = 1, like other: Tensor<Other>,
    _ compute: @Sendable (_ row: Int, _ scratch: [Row]) -> Void
  ) throws(BlockScaleError) -> PerTensorActivation<Element> {
    let (rows, columns) = (other.matrix.rows, other.matrix.columns)
    let scale = recipe.tensorScale(scale)
    let format = Element.elementFormat
    // A transposed panel is written in lines of as many bytes as it has rows.
    let panelRows = rows >= 128 * threads ? 64 : 16
    let kernels = Kernels(tier)
    let layerKernels = LayerKernels(tier)
    func encode(into codes: Output<UInt8>, transposed: Output<UInt8>?) {
      parallelFor((rows - 1) / panelRows + 1, threads: threads) { panel in
        let scratch = (0..<scratch).map { _ in Row(columns: columns, layerKernels) }
        let panel = panel * panelRows..<min(rows, (panel + 1) * panelRows)
        for row in panel {
          compute(row, scratch)
          scratch[0].encode(
            into: codes, row: row, divisor: scale.divisor, format, rounding)
        }
        if let transposed {
          // The rows that this thread has just written.
          unsafe transposePanel(
            codes.pointer(panel.lowerBound * columns, count: panel.count * columns), rows: panel,
            columns: columns, into: transposed, rowsOfAll: rows, kernels)
        }
      }
    }
    let count = rows * columns
    var transposedCodes: [UInt8] = []
    let codes: [UInt8] = filled(count) { codes in
      if transposes {
        transposedCodes = filled(count) { encode(into: codes, transposed: $0) }
      } else {
        encode(into: codes, transposed: nil)
      }
    }
    let matrix = try BlockScaledMatrix<Element, BFloat16>(
      rows: rows, columns: columns, blocking: .tensor, codes: codes, scales: [scale.stored])
    var transposed: BlockScaledMatrix<Element, BFloat16>?
    if transposes {
      transposed = try BlockScaledMatrix(
        rows: columns, columns: rows, blocking: .tensor, codes: transposedCodes,
        scales: [scale.stored])
    }
    return PerTensorActivation(tensor: Tensor(matrix, like: other), transposed: transposed)
  }

  /// The second pass over BF16 values.
  func quantizedPerTensor<Element: Float8Element, Other>(
    _ values: Matrix<BFloat16>, groupScales: Matrix<BFloat16>, as element: Element.Type,
    _ recipe: ActivationRecipe, transposes: Bool, rounding: ActivationRounding = .nearest,
    like other: Tensor<Other>
  ) throws(BlockScaleError) -> PerTensorActivation<Element> {
    let source = ValueRows(values)
    return try quantizedPerTensor(
      as: element, scale: largestScale(groupScales.values), recipe, transposes: transposes,
      rounding: rounding, like: other
    ) { row, scratch in source.load(row, into: scratch[0]) }
  }
}

/// Transposes some rows of a matrix of bytes into the columns of another.
///
/// - Parameter from: The first of the rows.
func transposePanel(
  _ from: UnsafePointer<UInt8>, rows: Range<Int>, columns: Int, into result: Output<UInt8>,
  rowsOfAll: Int, _ kernels: Kernels?
) {
  // The rows are the caller's; their place in the result is checked here.
  let to = unsafe result.pointer(rows.lowerBound, count: (columns - 1) * rowsOfAll + rows.count)
  if let kernels {
    unsafe kernels.functions.transpose_bytes(from, columns, rows.count, columns, to, rowsOfAll)
    return
  }
  for column in 0..<columns {
    for row in 0..<rows.count {
      unsafe to[column * rowsOfAll + row] = from[row * columns + column]
    }
  }
}
