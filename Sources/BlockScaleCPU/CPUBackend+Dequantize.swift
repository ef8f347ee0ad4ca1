// SPDX-License-Identifier: Apache-2.0

public import BlockScale

extension CPUBackend {
  /// The values of a matrix, row by row, on the threads of this back end.
  ///
  /// Each is `code × scale × tensor scale` in FP32 from the left, rounded once to `Value`; a NaN
  /// scale gives NaN.
  ///
  /// - Complexity: O(rows × columns).
  public func dequantized<Element, Scale, Value: SourceValue>(
    _ matrix: BlockScaledMatrix<Element, Scale>, as type: Value.Type = Value.self
  ) -> [Value] {
    let count = matrix.rows * matrix.columns
    // The memory is written in full before it is counted.
    return unsafe [Value](unsafeUninitializedCapacity: count) { values, initialized in
      unsafe dequantize(matrix, into: UnsafeMutableRawBufferPointer(values), as: type)
      initialized = count
    }
  }

  /// Decodes a matrix into an array that has as many values.
  ///
  /// Repeated use touches no new pages, which cost more than the work itself.
  ///
  /// - Throws: ``BlockScaleError`` if the counts differ.
  /// - Complexity: O(rows × columns).
  public func dequantize<Element, Scale, Value: SourceValue>(
    _ matrix: BlockScaledMatrix<Element, Scale>, into values: inout [Value]
  ) throws(BlockScaleError) {
    guard values.count == matrix.rows * matrix.columns else {
      throw BlockScaleError(
        .wrongCount,
        "A \(matrix.rows)x\(matrix.columns) matrix has \(matrix.rows * matrix.columns) values, "
          + "not \(values.count).")
    }
    // The array is alive during the call, and its elements are plain bits.
    unsafe values.withUnsafeMutableBytes {
      unsafe dequantize(matrix, into: $0, as: Value.self)
    }
  }

  private func dequantize<Element, Scale, Value: SourceValue>(
    _ matrix: BlockScaledMatrix<Element, Scale>, into values: UnsafeMutableRawBufferPointer,
    as type: Value.Type
  ) {
    let blocking = matrix.blocking
    let dequantizer = PanelDequantizer(
      BlockDequantizer(
        element: Element.elementFormat, scaleFormat: Scale.scaleFormat, blocking: blocking,
        tensorScale: matrix.tensorScale), to: Value.sourceFormat, on: self)
    let columns = matrix.columns
    let width = Value.sourceFormat.byteCount
    let codeRow = Element.elementFormat.byteCount(columns)
    let scaleRow =
      blocking.grid(rows: matrix.rows, columns: columns).columns * Scale.scaleFormat.byteCount
    let panels = panels(
      rows: matrix.rows, rowValues: columns, blocking: blocking, mayCut: blocking.rows == .max)
    // Sendable in spite of its pointer: each thread writes its own rows, and all are done before the
    // call returns.
    nonisolated(unsafe) let values = unsafe values
    parallelFor(panels.count, threads: threads) { index in
      let rows = panels[index]
      let blockRows = blocking.blockRows(rows)
      // Checked ranges of buffers of arrays that are alive during the call.
      unsafe matrix.codes.withUnsafeBytes { codes in
        unsafe matrix.scales.withUnsafeBytes { scales in
          unsafe dequantizer.dequantize(
            codes: slice(codes, rows.lowerBound * codeRow, rows.count * codeRow),
            scales: slice(scales, blockRows.lowerBound * scaleRow, blockRows.count * scaleRow),
            rows: rows.count, columns: columns,
            into: slice(
              values, rows.lowerBound * columns * width, rows.count * columns * width))
        }
      }
    }
  }
}
