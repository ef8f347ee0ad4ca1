// SPDX-License-Identifier: Apache-2.0

import Minifloat

extension Operand {
  /// Some rows as an operand of their own.
  ///
  /// - Parameter range: Begins where a block of rows begins and ends anywhere; for blocks of one row
  ///   it also begins anywhere.
  /// - Throws: ``BlockScaleError`` if the range is empty, lies outside, or begins inside a block.
  /// - Complexity: O(rows × columns) of the result.
  public func rows(_ range: Range<Int>) throws(BlockScaleError) -> Operand {
    let height = try checkRows(range)
    func slice<Value>(_ values: [Value], perRow count: Int) -> [Value] {
      Array(values[range.lowerBound * count..<range.upperBound * count])
    }
    let codes: Codes =
      switch codes {
      case .bfloat16(let values): .bfloat16(slice(values, perRow: columns))
      case .element(let format, let bytes):
        .element(format, slice(bytes, perRow: format.byteCount(columns)))
      }
    let blockRows = range.lowerBound / height..<(range.upperBound + height - 1) / height
    func blocks<Value>(_ scales: [Value], _ blocking: Blocking) -> [Value] {
      let count = blocking.grid(rows: rows, columns: columns).columns
      return Array(scales[blockRows.lowerBound * count..<blockRows.upperBound * count])
    }
    let scaling: Scaling
    switch self.scaling {
    case .none: scaling = .none
    case .folded(let scales, let format, let blocking):
      scaling = .folded(codes: blocks(scales, blocking), format: format, blocking: blocking)
    case .parts(let depth, let scales, let blocking):
      scaling = .parts(depth: depth, scales: blocks(scales, blocking), blocking: blocking)
    case .rows(let scales, let groupRows):
      scaling = .rows(scales: Array(scales[blockRows]), rows: groupRows)
    }
    return Operand(
      rows: range.count, columns: columns, codes: codes, scaling: scaling, factor: factor)
  }

  /// Checks that some rows can be an operand of their own.
  ///
  /// - Returns: The rows of a block.
  /// - Throws: ``BlockScaleError`` as ``rows(_:)`` does.
  @discardableResult
  package func checkRows(_ range: Range<Int>) throws(BlockScaleError) -> Int {
    guard !range.isEmpty, range.lowerBound >= 0, range.upperBound <= rows else {
      throw BlockScaleError(
        .wrongShape, "Rows \(range) are not some of the \(rows) rows of an operand.")
    }
    let height =
      switch scaling {
      case .none: 1
      case .folded(_, _, let blocking), .parts(_, _, let blocking): min(blocking.rows, rows)
      case .rows(_, let groupRows): min(groupRows, rows)
      }
    guard range.lowerBound % height == 0 else {
      throw BlockScaleError(
        .wrongShape, "Row \(range.lowerBound) lies inside a block of \(height) rows.")
    }
    return height
  }

  private init(rows: Int, columns: Int, codes: Codes, scaling: Scaling, factor: Float) {
    self.rows = rows
    self.columns = columns
    self.codes = codes
    self.scaling = scaling
    self.factor = factor
  }
}
