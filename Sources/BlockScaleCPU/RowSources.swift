// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import _BlockScaleShims

/// A matrix of codes as rows read it.
struct CodeRows: Sendable {
  let codes: [UInt8]
  let scales: [BFloat16]
  let format: ElementFormat
  let columns: Int
  /// The values that share a scale.
  let groupSize: Int
  /// The scales of a row; zero if there is one for all.
  let scaleStride: Int

  init<Element: Float8Element>(_ matrix: BlockScaledMatrix<Element, BFloat16>) {
    codes = matrix.codes
    scales = matrix.scales
    format = Element.elementFormat
    columns = matrix.columns
    let isGrouped = matrix.blocking.rows == 1 && matrix.blocking.columns % 16 == 0
    groupSize = isGrouped ? matrix.blocking.columns : columns
    scaleStride = isGrouped ? (columns - 1) / groupSize + 1 : 0
  }

  /// Code times scale.
  func decode(_ row: Int, into result: Row) {
    precondition(result.columns == columns)
    let groups = (columns - 1) / groupSize + 1
    codes.withInput { codes in
      scales.withInput { scales in
        // Places that were checked to have the row and a scale for each of its groups.
        unsafe result.kernels.functions.decode_groups(
          format == .e5m2 ? 1 : 0, codes.pointer(row * columns, count: columns), columns,
          scales.bits(row * scaleStride, count: groups), groupSize, result.values)
      }
    }
    result.clearTail()
  }
}

/// A matrix of values as rows read it.
struct ValueRows: Sendable {
  private enum Storage: Sendable {
    case float32([Float])
    case bfloat16([BFloat16])
  }

  private let storage: Storage
  let columns: Int

  init<Value>(_ matrix: Matrix<Value>) {
    columns = matrix.columns
    // Casting an array with `as` would go through its elements. The types are compared first.
    storage =
      if Value.self == BFloat16.self {
        .bfloat16(unsafe unsafeBitCast(matrix.values, to: [BFloat16].self))
      } else if Value.self == Float.self {
        .float32(unsafe unsafeBitCast(matrix.values, to: [Float].self))
      } else {
        .float32(matrix.widened())
      }
  }

  init(_ values: [BFloat16], columns: Int) {
    storage = .bfloat16(values)
    self.columns = columns
  }

  /// The values in FP32.
  func load(_ row: Int, into result: Row) {
    precondition(result.columns == columns)
    switch storage {
    case .bfloat16(let values): result.load(values, row: row)
    case .float32(let values):
      values.withInput {
        // Both have a whole row.
        unsafe result.values.update(
          from: $0.pointer(row * columns, count: columns), count: columns)
      }
      result.clearTail()
    }
  }
}
