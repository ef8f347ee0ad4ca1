// SPDX-License-Identifier: Apache-2.0

public import BlockScale
import Minifloat
import Synchronization

extension CPUBackend {
  /// Quantizes a row-major matrix on the threads of this back end.
  ///
  /// The result is that of ``BlockScaledMatrix/quantized(_:rows:columns:recipe:blocking:sharedMaximum:searchesScales:)``
  /// to the last bit, errors included, whatever the tier and the number of threads.
  ///
  /// - Returns: The matrix and its distance from `values`.
  /// - Throws: ``BlockScaleError`` if the counts do not fit or the recipe does not define these
  ///   formats.
  /// - Complexity: O(rows × columns).
  public func quantized<Element, Scale, Source: SourceValue>(
    _ values: [Source], rows: Int, columns: Int,
    as type: BlockScaledMatrix<Element, Scale>.Type = BlockScaledMatrix<Element, Scale>.self,
    recipe: Recipe, blocking: Blocking? = nil, sharedMaximum: Float? = nil,
    searchesScales: Bool = false
  ) throws(BlockScaleError) -> (matrix: BlockScaledMatrix<Element, Scale>, error: ErrorMetrics) {
    let blocking = try type.checkedBlocking(
      count: values.count, rows: rows, columns: columns, blocking: blocking)
    if blocking.isTallAndNarrow {
      let result = try quantized(
        transposed(values, rows: rows, columns: columns), rows: columns, columns: rows, as: type,
        recipe: recipe, blocking: blocking.transposed, sharedMaximum: sharedMaximum,
        searchesScales: searchesScales)
      return (result.matrix.transposed(), result.error)
    }
    var matrix = type.blank(rows: rows, columns: columns, blocking: blocking)
    let metrics = try quantize(
      values, into: &matrix, recipe: recipe, sharedMaximum: sharedMaximum,
      searchesScales: searchesScales, measures: true)
    return (matrix, metrics)
  }

  /// Quantizes a row-major matrix into the memory of another one of its shape and blocks.
  ///
  /// Repeated use touches no new pages, which cost more than the work itself.
  ///
  /// - Parameters:
  ///   - values: As many values as `matrix` has.
  ///   - matrix: Gives shape and blocks, and receives the result.
  ///   - measures: Whether errors are wanted; without them the metrics are empty and the work is
  ///     about half.
  /// - Throws: ``BlockScaleError`` as `quantized` does; blocks of fewer than 16 columns and more
  ///   rows are not quantized in place.
  /// - Complexity: O(rows × columns).
  @discardableResult
  public func quantize<Element, Scale, Source: SourceValue>(
    _ values: [Source], into matrix: inout BlockScaledMatrix<Element, Scale>, recipe: Recipe,
    sharedMaximum: Float? = nil, searchesScales: Bool = false, measures: Bool = false
  ) throws(BlockScaleError) -> ErrorMetrics {
    let (rows, columns) = (matrix.rows, matrix.columns)
    let blocking = try type(of: matrix).checkedBlocking(
      count: values.count, rows: rows, columns: columns, blocking: matrix.blocking)
    guard !blocking.isTallAndNarrow else {
      throw BlockScaleError(
        .wrongShape, "Blocks of \(blocking) are quantized as those of the transpose.")
    }
    let quantizer = try quantizer(
      of: type(of: matrix), for: values, recipe: recipe, blocking: blocking,
      sharedMaximum: sharedMaximum, searchesScales: searchesScales)
    matrix.tensorScale = quantizer.rule.tensorScale
    // Buffers of three arrays that are alive during the call.
    return unsafe values.withUnsafeBytes { source in
      unsafe matrix.codes.withUnsafeMutableBytes { codes in
        unsafe matrix.scales.withUnsafeMutableBytes { scales in
          unsafe quantize(
            BlockQuantizer.Panel(
              values: source, rows: rows, columns: columns, codes: codes, scales: scales),
            by: quantizer, measures: measures)
        }
      }
    }
  }

  /// The quantizer of a whole matrix; the tensor's maximum is found only where it counts.
  func quantizer<Element, Scale, Source: SourceValue>(
    of type: BlockScaledMatrix<Element, Scale>.Type, for values: [Source], recipe: Recipe,
    blocking: Blocking, sharedMaximum: Float? = nil, searchesScales: Bool = false
  ) throws(BlockScaleError) -> BlockQuantizer {
    let hasTensorScale = Element.elementFormat == .e2m1 && Scale.scaleFormat == .e4m3
    return unsafe try type.quantizer(
      for: values, recipe: recipe, blocking: blocking, sharedMaximum: sharedMaximum,
      searchesScales: searchesScales
    ) {
      guard hasTensorScale || blocking == .tensor else { return 0 }
      // The buffer is only passed on.
      return unsafe maximumMagnitudeBits($0, of: Source.sourceFormat)
    }
  }

  /// The largest magnitude of a run of values, as a bit pattern of FP32 without sign.
  ///
  /// NaN orders above infinity, so a result of `0x7F80_0000` or more tells that a value is not finite.
  package func maximumMagnitudeBits(
    _ values: UnsafeRawBufferPointer, of source: SourceFormat
  ) -> UInt32 {
    let chunk = 1 << 20
    let kernels = Kernels(tier)
    let maximum = Atomic<UInt32>(0)
    // Sendable in spite of its pointer: all threads only read, and are done before the call returns.
    nonisolated(unsafe) let values = unsafe values
    let count = unsafe values.count
    parallelFor((count + chunk - 1) / chunk, threads: threads) { index in
      let offset = index * chunk
      let bits = unsafe PanelQuantizer.maximumMagnitudeBits(
        slice(values, offset, min(chunk, count - offset)), source, kernels)
      maximum.max(bits, ordering: .relaxed)
    }
    return maximum.load(ordering: .relaxed)
  }

  /// Quantizes a whole matrix, in panels that are spread over the threads.
  private func quantize(
    _ whole: BlockQuantizer.Panel, by reference: BlockQuantizer, measures: Bool
  ) -> ErrorMetrics {
    let quantizer = PanelQuantizer(reference, on: self)
    let (columns, blocking) = (whole.columns, reference.blocking)
    let width = reference.source.byteCount
    let codeRow = reference.rule.element.format.byteCount(columns)
    let scaleRow =
      blocking.grid(rows: whole.rows, columns: columns).columns
      * reference.rule.scaleFormat.byteCount
    // Errors under one scale add up in one order; without them any split will do.
    let panels = panels(
      rows: whole.rows, rowValues: columns, blocking: blocking,
      mayCut: blocking == .tensor && !measures)
    let parts = Guarded([[ErrorMetrics]](repeating: [], count: panels.count))
    // Sendable in spite of its pointers: each thread writes its own panels, and all are done before
    // the call returns.
    nonisolated(unsafe) let whole = whole
    // The tensor's maximum was found from its beginning to its end, which the caches still hold.
    let isReversed = quantizer.rule.tensorScale != nil
    parallelFor(panels.count, threads: threads) { place in
      let index = isReversed ? panels.count - 1 - place : place
      let rows = panels[index]
      let blockRows = blocking.blockRows(rows)
      // Checked ranges of the whole panel's buffers.
      var panel = unsafe BlockQuantizer.Panel(
        values: slice(
          whole.values, rows.lowerBound * columns * width, rows.count * columns * width),
        rows: rows.count, columns: columns,
        codes: slice(whole.codes, rows.lowerBound * codeRow, rows.count * codeRow),
        scales: slice(whole.scales, blockRows.lowerBound * scaleRow, blockRows.count * scaleRow))
      guard blocking.rows != .max || index == 0 else {
        // The first panel stores the one scale of the tensor; from the others it is dropped.
        var dropped: UInt32 = 0
        unsafe withUnsafeMutableBytes(of: &dropped) {
          unsafe panel.scales = $0
          quantizer.quantize(panel, measures: false)
        }
        return
      }
      let metrics = quantizer.quantize(panel, measures: measures)
      if measures { parts.withLock { $0[index] = metrics } }
    }
    var result = ErrorMetrics()
    guard measures else { return result }
    for part in parts.withLock({ $0 }) { for metrics in part { result.merge(metrics) } }
    return result
  }

  /// Ranges of rows, each on a block boundary, of a size that keeps all threads busy.
  ///
  /// - Parameter mayCut: Whether panels need not hold whole blocks.
  func panels(
    rows: Int, rowValues: Int, blocking: Blocking, mayCut: Bool = false
  ) -> [Range<Int>] {
    let unit = mayCut ? 1 : min(blocking.rows, rows)
    // About 128 Ki values are worked on in the time of many thread switches.
    let height = max(1, (1 << 17) / max(1, rowValues * unit)) * unit
    return stride(from: 0, to: rows, by: height).map { $0..<min(rows, $0 + height) }
  }
}

extension Blocking {
  /// The rows of blocks that cover a range of rows which begins on a block boundary.
  func blockRows(_ rows: Range<Int>) -> Range<Int> {
    guard self.rows != .max else { return 0..<1 }
    return rows.lowerBound / self.rows..<(rows.upperBound + self.rows - 1) / self.rows
  }
}

extension BlockScaledMatrix {
  /// A matrix whose codes and scales are all to be written over.
  static func blank(rows: Int, columns: Int, blocking: Blocking) -> Self {
    let grid = blocking.grid(rows: rows, columns: columns)
    let codeCount = rows * Element.elementFormat.byteCount(columns)
    do {
      return try Self(
        rows: rows, columns: columns, blocking: blocking,
        // Clearing memory would be one thread's work between those of all. Half of a byte may belong
        // to no code of four bits, and is zero.
        codes: Element.elementFormat.bitWidth == 8
          ? filled(codeCount) { _ in } : [UInt8](repeating: 0, count: codeCount),
        // Scale types are plain bits, and quantizing writes them all.
        scales: unsafe [Scale](unsafeUninitializedCapacity: grid.rows * grid.columns) {
          $1 = $0.count
        })
    } catch {
      preconditionFailure("The counts are those of the shape: \(error)")
    }
  }
}
