// SPDX-License-Identifier: Apache-2.0

import BlockScale
import _BlockScaleShims

/// Where what belongs to the strips of a tile begins in its memory, each at a multiple of 64 bytes.
struct StripLayout {
  /// The rows of a strip, which are also the values of its blocks.
  static let rowCount = 128
  static let columnCount = Int(BS_STRIP_COLUMNS)
  /// The rows that are encoded at a time.
  static let rowsAtOnce = Int(BS_STRIP_ROWS_AT_ONCE)

  private let columnMaxima, columnMinima, rowRests, columnRests, scales: Int
  let byteCount: Int

  /// - Parameters:
  ///   - columns: Those of the tile, a multiple of 128.
  ///   - strips: The strips of the tile, one below the other.
  init(columns: Int, strips: Int, scaleBytes: Int) {
    columnMaxima = Self.columnCount / 8 * Int(BS_STRIP_PITCH)
    columnMinima = columnMaxima + Self.columnCount * 2
    rowRests = columnMinima + Self.columnCount * 2
    columnRests = rowRests + Self.rowCount * 64
    scales = columnRests + columns * 64
    byteCount = scales + columns * strips * scaleBytes
  }

  /// The strip that begins with a column of the tile, in memory of `byteCount` bytes that begins at a
  /// multiple of 64.
  ///
  /// - Parameter known: Choices by magnitude.
  func strip(
    at column: Int, in memory: UnsafeMutableRawPointer, known: UnsafePointer<bs_choice_t>,
    scaleBytes: Int
  ) -> bs_strip_t {
    // All parts lie inside the memory.
    unsafe bs_strip_t(
      groups: memory.assumingMemoryBound(to: UInt8.self),
      column_maxima: (memory + columnMaxima).assumingMemoryBound(to: UInt16.self),
      column_minima: (memory + columnMinima).assumingMemoryBound(to: UInt16.self),
      row_rests: (memory + rowRests).assumingMemoryBound(to: UInt8.self),
      column_rests: (memory + columnRests + column * 64).assumingMemoryBound(to: UInt8.self),
      known: known, scale_bytes: scaleBytes)
  }

  /// The scales of the tile's columns: those of the first strip, then of the next.
  func scales(in memory: UnsafeMutableRawPointer) -> UnsafeMutableRawBufferPointer {
    // The end of the memory.
    unsafe UnsafeMutableRawBufferPointer(start: memory + scales, count: byteCount - scales)
  }
}

extension PanelRun {
  /// Whether a tier's kernels make both orientations of such values from one read.
  static func hasStrips(_ quantizer: PanelQuantizer, rows: Int, columns: Int) -> Bool {
    guard let kernels = quantizer.kernels, unsafe kernels.functions.encode_strip_rows != nil else {
      return false
    }
    return quantizer.source == .bfloat16 && quantizer.rule.element.format == .e4m3
      && quantizer.blocking == Blocking(rows: 1, columns: StripLayout.rowCount)
      && rows % StripLayout.rowCount == 0 && columns % StripLayout.rowCount == 0
  }

  /// Whether a tier's kernels write codes of square blocks in both orientations at once.
  static func hasSquareStrips(_ quantizer: PanelQuantizer, rows: Int, columns: Int) -> Bool {
    guard let kernels = quantizer.kernels, unsafe kernels.functions.turn_strip_squares != nil else {
      return false
    }
    return quantizer.blocking == Blocking(rows: StripLayout.rowCount, columns: StripLayout.rowCount)
      && rows % StripLayout.rowCount == 0 && columns % StripLayout.rowCount == 0
  }

  /// A tile of whole strips, in both orientations; `hasStrips` must hold.
  ///
  /// - Parameters:
  ///   - rows: A multiple of 128, as are the columns.
  ///   - otherCodes: The codes of the transpose.
  mutating func quantizeStrips(
    _ rows: Range<Int>, _ columns: Range<Int>, otherCodes: UnsafeMutableRawBufferPointer,
    otherScales: UnsafeMutableRawBufferPointer
  ) {
    let strips = rows.count / StripLayout.rowCount
    let width = rule.scaleFormat.byteCount
    let layout = StripLayout(columns: columns.count, strips: strips, scaleBytes: width)
    workspace.reserve(scratch: layout.byteCount)
    // Rows or columns may be chosen for at once.
    workspace.reserve(blocks: max(StripLayout.rowsAtOnce, Self.columnsAtOnce))
    kernelRule.ahead = 0
    // The memory was just reserved, and holds the scales of the transpose until they are turned.
    let scales = unsafe layout.scales(in: workspace.scratch)
    for strip in 0..<strips {
      let first = rows.lowerBound + strip * StripLayout.rowCount
      for done in stride(from: 0, to: columns.count, by: StripLayout.columnCount) {
        // As above.
        var part = unsafe layout.strip(
          at: done, in: workspace.scratch, known: workspace.known, scaleBytes: width)
        let lower = columns.lowerBound + done
        let some = lower..<min(columns.upperBound, lower + StripLayout.columnCount)
        let edges = edges(of: some, in: columns)
        for row in stride(from: 0, to: StripLayout.rowCount, by: StripLayout.rowsAtOnce) {
          unsafe encodeRows(first + row, some, of: &part, row, edges: edges)
        }
        unsafe encodeColumns(
          first, some, of: &part, scales: scales, at: strip * columns.count + done,
          otherCodes: otherCodes, isFirst: strip == 0)
      }
    }
    // The codes of the transpose have as many columns as there are rows here.
    unsafe finishStrips(layout, rows, columns, otherCodes: otherCodes)
    unsafe turn(
      scales, strips: strips, columns: columns, firstStrip: rows.lowerBound / StripLayout.rowCount,
      to: otherScales)
  }

  /// A tile of whole square blocks, in both orientations; `hasSquareStrips` must hold.
  mutating func quantizeSquareStrips(
    _ rows: Range<Int>, _ columns: Range<Int>, otherCodes: UnsafeMutableRawBufferPointer
  ) {
    guard let turn = unsafe kernels.functions.turn_strip_squares else {
      preconditionFailure("The tier has no kernels for strips")
    }
    let layout = StripLayout(columns: columns.count, strips: 0, scaleBytes: 0)
    workspace.reserve(scratch: layout.byteCount)
    workspace.reserve(blocks: StripLayout.columnCount / block)
    kernelRule.ahead = 0
    let others = unsafe otherCodes.baseAddress.unsafelyUnwrapped
      .assumingMemoryBound(to: UInt8.self)
    for first in stride(from: rows.lowerBound, to: rows.upperBound, by: StripLayout.rowCount) {
      for done in stride(from: 0, to: columns.count, by: StripLayout.columnCount) {
        let lower = columns.lowerBound + done
        let some = lower..<min(columns.upperBound, lower + StripLayout.columnCount)
        // The memory was just reserved; codes wait in the strip until they are turned.
        var part = unsafe layout.strip(
          at: done, in: workspace.scratch, known: workspace.known, scaleBytes: 0)
        let edges = edges(of: some, in: columns)
        unsafe encodeSquares(first, some, of: &part, edges: edges)
        unsafe turn(
          &part, some.count, others + lower * panel.rows + first, panel.rows,
          first == rows.lowerBound ? 1 : 0)
      }
    }
    unsafe finishStrips(layout, rows, columns, otherCodes: otherCodes)
  }

  /// Some square blocks, whose first row is `row`.
  private func encodeSquares(
    _ row: Int, _ columns: Range<Int>, of strip: inout bs_strip_t, edges: Int32
  ) {
    guard let encode = unsafe kernels.functions.encode_strip_squares else {
      preconditionFailure("The tier has no kernels for strips")
    }
    let rows = row..<row + StripLayout.rowCount
    findMaxima(rows, columns)
    // A constant, so that the closure below holds no copy of all this.
    let block = block
    // Blocks to be erased are known by their factors.
    _ = unsafe chooseAll(
      columns.count / block, scale: row / block * blockCount + columns.lowerBound / block,
      in: panel.scales
    ) {
      let first = columns.lowerBound + $0 * block
      return (rows, first..<first + block)
    }
    var rule = kernelRule
    for index in stride(from: 0, to: StripLayout.rowCount, by: StripLayout.rowsAtOnce) {
      // Rows and codes lie inside the panel.
      unsafe encode(
        &rule, &strip, values(row + index, columns.lowerBound), valueRowBytes, index,
        columns.count, workspace.factors, codes(row + index, columns.lowerBound), panel.columns,
        edges)
    }
  }

  /// Which ends of some columns' rows are those of the tile's.
  private func edges(of some: Range<Int>, in columns: Range<Int>) -> Int32 {
    Int32(
      (some.lowerBound == columns.lowerBound ? BS_STRIP_BEGINS : 0)
        | (some.upperBound == columns.upperBound ? BS_STRIP_ENDS : 0))
  }

  /// The columns of one strip that are transposed and chosen for at once.
  private static let columnsAtOnce = 8

  /// A few rows of the matrix, which are also rows of the strip.
  private mutating func encodeRows(
    _ row: Int, _ columns: Range<Int>, of strip: inout bs_strip_t, _ stripRow: Int, edges: Int32
  ) {
    guard let encode = unsafe kernels.functions.encode_strip_rows else {
      preconditionFailure("The tier has no kernels for strips")
    }
    let width = rule.scaleFormat.byteCount
    let blocks = columns.count / block
    let firstScale = row * blockCount + columns.lowerBound / block
    var done = 0
    var own: UnsafeMutablePointer<bs_factor_t>?
    while true {
      // Rows, codes and scales lie inside the panel.
      done = unsafe encode(
        &kernelRule, &strip, values(row, columns.lowerBound), valueRowBytes, stripRow,
        columns.count, done, own,
        (panel.scales.baseAddress.unsafelyUnwrapped + firstScale * width)
          .assumingMemoryBound(to: UInt8.self), blockCount * width,
        codes(row, columns.lowerBound), panel.columns, edges, workspace.maxima)
      guard done < blocks else { return }
      let first = columns.lowerBound + done * block
      for index in 0..<StripLayout.rowsAtOnce {
        // Blocks to be erased are known by their factors.
        _ = unsafe choose(
          at: index, scaleIndex: firstScale + index * blockCount + done, in: panel.scales,
          rows: row + index..<row + index + 1, columns: first..<first + block)
      }
      unsafe own = workspace.factors
    }
  }

  /// The columns of a full strip, whose first row is `row`.
  private mutating func encodeColumns(
    _ row: Int, _ columns: Range<Int>, of strip: inout bs_strip_t,
    scales: UnsafeMutableRawBufferPointer, at firstScale: Int,
    otherCodes: UnsafeMutableRawBufferPointer, isFirst: Bool
  ) {
    guard let encode = unsafe kernels.functions.encode_strip_columns else {
      preconditionFailure("The tier has no kernels for strips")
    }
    let width = rule.scaleFormat.byteCount
    // Row `columns.lowerBound` of the transpose, whose blocks along it are strips here.
    let codes =
      unsafe otherCodes.baseAddress.unsafelyUnwrapped
      .assumingMemoryBound(to: UInt8.self) + columns.lowerBound * panel.rows + row
    var done = 0
    var own: UnsafeMutablePointer<bs_factor_t>?
    while true {
      // Scales and codes lie inside the memory that was made for them.
      done = unsafe encode(
        &kernelRule, &strip, columns.count, done, own,
        (scales.baseAddress.unsafelyUnwrapped + firstScale * width)
          .assumingMemoryBound(to: UInt8.self), codes, panel.rows, isFirst ? 1 : 0)
      guard done < columns.count else { return }
      for index in 0..<Self.columnsAtOnce {
        let column = columns.lowerBound + done + index
        unsafe workspace.maxima[index] = UInt32(strip.column_maxima[done + index])
        // Blocks to be erased are known by their factors.
        _ = unsafe choose(
          at: index, scaleIndex: firstScale + done + index, in: scales,
          rows: row..<row + StripLayout.rowCount, columns: column..<column + 1)
      }
      unsafe own = workspace.factors
    }
  }

  /// Writes the codes of the transpose that do not fill a line of memory.
  private func finishStrips(
    _ layout: StripLayout, _ rows: Range<Int>, _ columns: Range<Int>,
    otherCodes: UnsafeMutableRawBufferPointer
  ) {
    guard let finish = unsafe kernels.functions.finish_strip_columns else {
      preconditionFailure("The tier has no kernels for strips")
    }
    // The memory of the tile, and places inside the transpose.
    unsafe withUnsafePointer(
      to: layout.strip(
        at: 0, in: workspace.scratch, known: workspace.known,
        scaleBytes: rule.scaleFormat.byteCount)
    ) {
      unsafe finish(
        $0, columns.count,
        otherCodes.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self)
          + columns.lowerBound * panel.rows + rows.upperBound, panel.rows)
    }
  }

  /// Writes scales that lie strip by strip to the transpose, whose rows have a scale for each strip.
  private func turn(
    _ scales: UnsafeMutableRawBufferPointer, strips: Int, columns: Range<Int>, firstStrip: Int,
    to otherScales: UnsafeMutableRawBufferPointer
  ) {
    let width = rule.scaleFormat.byteCount
    let stride = panel.rows / StripLayout.rowCount
    let first = columns.lowerBound * stride + firstStrip
    // Both lie inside their memory.
    let from = unsafe scales.baseAddress.unsafelyUnwrapped
    let to = unsafe otherScales.baseAddress.unsafelyUnwrapped + first * width
    if width == 1 {
      unsafe kernels.functions.transpose_bytes(
        from.assumingMemoryBound(to: UInt8.self), columns.count, strips, columns.count,
        to.assumingMemoryBound(to: UInt8.self), stride)
    } else {
      unsafe kernels.functions.transpose_values(
        width, from, columns.count * width, strips, columns.count, to, stride * width)
    }
  }
}
