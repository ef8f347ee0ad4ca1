// SPDX-License-Identifier: Apache-2.0

public import BlockScale
import Minifloat
import _BlockScaleShims

extension CPUBackend {
  /// Quantizes a row-major matrix and its transpose, reading the values once.
  ///
  /// The result is that of ``BlockScaledMatrix/quantizedBothWays(_:rows:columns:recipe:blocking:)`` to
  /// the last bit.
  ///
  /// - Parameter blocking: The shape of the blocks of both results, each in its own rows and columns.
  /// - Returns: The matrix, and its transpose of `columns` rows.
  /// - Throws: ``BlockScaleError`` as `quantized` does.
  /// - Complexity: O(rows × columns).
  public func quantizedBothWays<Element, Scale, Source: SourceValue>(
    _ values: [Source], rows: Int, columns: Int,
    as type: BlockScaledMatrix<Element, Scale>.Type = BlockScaledMatrix<Element, Scale>.self,
    recipe: Recipe, blocking: Blocking? = nil
  ) throws(BlockScaleError) -> (
    matrix: BlockScaledMatrix<Element, Scale>, transposed: BlockScaledMatrix<Element, Scale>
  ) {
    let blocking = try type.checkedBlocking(
      count: values.count, rows: rows, columns: columns, blocking: blocking)
    var result = (
      matrix: type.blank(rows: rows, columns: columns, blocking: blocking),
      transposed: type.blank(rows: columns, columns: rows, blocking: blocking)
    )
    try quantizeBothWays(values, into: &result, recipe: recipe)
    return result
  }

  /// Quantizes a row-major matrix and its transpose into the memory of earlier results.
  ///
  /// 8-bit codes in blocks of one row and a multiple of 16 columns, or square ones, are made from one
  /// read of the values; others from two.
  ///
  /// - Parameter result: Gives shape and blocks, and receives the matrix and its transpose.
  /// - Throws: ``BlockScaleError`` as `quantized` does, or if the two are not each other's transposes
  ///   in shape.
  /// - Complexity: O(rows × columns).
  public func quantizeBothWays<Element, Scale, Source: SourceValue>(
    _ values: [Source],
    into result:
      inout (
        matrix: BlockScaledMatrix<Element, Scale>, transposed: BlockScaledMatrix<Element, Scale>
      ), recipe: Recipe
  ) throws(BlockScaleError) {
    // Of smaller matrices the codes stay in the second level of the caches for who reads them next.
    try quantizeBothWays(values, into: &result, recipe: recipe, streamsFrom: 1 << 20)
  }

  /// The same, whose codes go past the caches from a number of values on.
  package func quantizeBothWays<Element, Scale, Source: SourceValue>(
    _ values: [Source],
    into result:
      inout (
        matrix: BlockScaledMatrix<Element, Scale>, transposed: BlockScaledMatrix<Element, Scale>
      ), recipe: Recipe, streamsFrom: Int
  ) throws(BlockScaleError) {
    let type = type(of: result.matrix)
    let (rows, columns) = (result.matrix.rows, result.matrix.columns)
    let blocking = try type.checkedBlocking(
      count: values.count, rows: rows, columns: columns, blocking: result.matrix.blocking)
    guard result.transposed.rows == columns, result.transposed.columns == rows,
      result.transposed.blocking == blocking
    else {
      throw BlockScaleError(
        .wrongShape,
        "The transpose of a \(rows)x\(columns) matrix in blocks of \(blocking) is no "
          + "\(result.transposed.rows)x\(result.transposed.columns) one in blocks of "
          + "\(result.transposed.blocking).")
    }
    guard let kernels = Kernels(tier), Element.elementFormat.bitWidth == 8,
      blocking.rows == 1 || blocking.rows == blocking.columns, blocking.columns % 16 == 0,
      blocking.columns <= 1024
    else {
      // A matrix of blocks that are quantized along the transpose has no form in place.
      let both = try (
        quantized(
          values, rows: rows, columns: columns, as: type, recipe: recipe, blocking: blocking
        )
        .matrix,
        blocking.rows == blocking.columns
          ? nil
          : quantized(
            transposed(values, rows: rows, columns: columns), rows: columns, columns: rows,
            as: type, recipe: recipe, blocking: blocking
          ).matrix
      )
      result = (both.0, both.1 ?? both.0.transposed())
      return
    }
    let reference = try quantizer(of: type, for: values, recipe: recipe, blocking: blocking)
    let quantizer = PanelQuantizer(reference, on: self)
    result.matrix.tensorScale = reference.rule.tensorScale
    result.transposed.tensorScale = reference.rule.tensorScale
    guard reference.rule.element.zeroSign == .kept else {
      preconditionFailure("Recipes of 8-bit elements keep the sign of zero")
    }
    // Buffers of five arrays that are alive during the call.
    unsafe values.withUnsafeBytes { source in
      unsafe result.matrix.codes.withUnsafeMutableBytes { codes in
        unsafe result.matrix.scales.withUnsafeMutableBytes { scales in
          unsafe result.transposed.codes.withUnsafeMutableBytes { otherCodes in
            unsafe result.transposed.scales.withUnsafeMutableBytes { otherScales in
              let both = unsafe BothWays(
                quantizer: quantizer, kernels: kernels,
                panel: BlockQuantizer.Panel(
                  values: source, rows: rows, columns: columns, codes: codes, scales: scales),
                otherCodes: otherCodes, otherScales: otherScales,
                isStreamed: rows * columns >= streamsFrom)
              both.run(threads: threads)
            }
          }
        }
      }
    }
  }
}

/// A matrix that is quantized together with its transpose, in tiles.
///
/// A tile is some strips of as many rows as the transpose has columns in a block. The values of a
/// strip stay in the cache while they are looked at from both sides. Where a tier's kernels send codes past
/// the caches, a strip's columns follow its rows; elsewhere the codes of the transpose are turned when a tile
/// is complete, so that they are written in longer runs.
// Sendable in spite of its pointers: every tile writes to places of its own.
@safe private struct BothWays: @unchecked Sendable {
  let quantizer: PanelQuantizer
  let kernels: Kernels
  let panel: BlockQuantizer.Panel
  let otherCodes: UnsafeMutableRawBufferPointer
  let otherScales: UnsafeMutableRawBufferPointer
  /// Whether codes go past the caches.
  let isStreamed: Bool

  struct Tile {
    var rows: Range<Int>
    var columns: Range<Int>
  }

  private var block: Int { quantizer.blocking.columns }

  /// About `extent` rows or columns, a multiple of those of blocks.
  private func wholeBlocks(_ extent: Int) -> Int { (extent + block - 1) / block * block }

  func run(threads: Int) {
    let (rows, columns) = (panel.rows, panel.columns)
    let hasRowStrips =
      isStreamed && PanelRun.hasStrips(quantizer, rows: rows, columns: columns)
    let hasSquareStrips =
      isStreamed && PanelRun.hasSquareStrips(quantizer, rows: rows, columns: columns)
    let hasStrips = hasRowStrips || hasSquareStrips
    // Where strips follow each other, the ends of rows and of columns of a tile share lines of memory with
    // other tiles, which costs more than smaller tiles gain.
    let most = hasStrips ? (rows: 2048, columns: 4096) : (rows: 512, columns: 2048)
    // Small matrices are cut finer, so that all threads have work.
    let share = panel.rows * panel.columns / (2 * threads)
    let width = wholeBlocks(max(1, min(most.columns, share / min(panel.rows, most.rows))))
    let height = wholeBlocks(hasStrips ? min(most.rows, max(1, share / width)) : most.rows)
    let tiles = (panel.columns + width - 1) / width
    parallelFor((panel.rows + height - 1) / height * tiles, threads: threads) { index in
      let first = (row: index / tiles * height, column: index % tiles * width)
      let tile = Tile(
        rows: first.row..<min(panel.rows, first.row + height),
        columns: first.column..<min(panel.columns, first.column + width))
      quantizer.withWorkspace { workspace in
        if hasRowStrips {
          var run = panelRun(workspace)
          // The tile lies inside the two matrices, and so does its transpose.
          unsafe run.quantizeStrips(
            tile.rows, tile.columns, otherCodes: otherCodes, otherScales: otherScales)
        } else if hasSquareStrips {
          var run = panelRun(workspace)
          // As above.
          unsafe run.quantizeSquareStrips(tile.rows, tile.columns, otherCodes: otherCodes)
          turnScales(of: tile)
        } else if quantizer.blocking.rows > 1 {
          quantizeSquares(tile, workspace)
        } else {
          quantizeRows(tile, workspace)
        }
      }
    }
  }

  private func strips(_ tile: Tile) -> [Range<Int>] {
    stride(from: tile.rows.lowerBound, to: tile.rows.upperBound, by: block).map {
      $0..<min(tile.rows.upperBound, $0 + block)
    }
  }

  private func panelRun(_ workspace: Workspace) -> PanelRun {
    PanelRun(
      quantizer: quantizer, kernels: kernels, panel: panel, workspace: workspace, measures: false)
  }

  private func quantizeRows(_ tile: Tile, _ workspace: Workspace) {
    let columns = tile.columns
    let strips = strips(tile)
    // Codes strip by strip, in each a block for each column; then the values of some columns.
    let stripBytes = columns.count * block
    workspace.reserve(
      scratch: strips.count * stripBytes
        + PanelRun.turnedColumns * block * quantizer.source.byteCount)
    // Both lie inside the memory just reserved, and every strip has its place in the first.
    let codes = unsafe workspace.scratch.assumingMemoryBound(to: UInt8.self)
    let turned = unsafe workspace.scratch + strips.count * stripBytes
    var run = panelRun(workspace)
    for (index, rows) in strips.enumerated() {
      run.quantizeRows(rows, columns)
      unsafe run.quantizeTransposed(
        rows, columns, codes: codes + index * stripBytes, turned: turned, otherScales: otherScales)
    }
    // The rows of the transpose that are columns here, and in them the columns that are rows here.
    unsafe kernels.functions.join_runs(
      codes, block, stripBytes, columns.count, tile.rows.count, 0,
      otherCodes.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self)
        + columns.lowerBound * panel.rows + tile.rows.lowerBound, panel.rows)
  }

  private func quantizeSquares(_ tile: Tile, _ workspace: Workspace) {
    var run = panelRun(workspace)
    for rows in strips(tile) { run.quantizeTallBlocks(rows, tile.columns) }
    // All places lie inside the two matrices, whose sizes are those of their shape.
    let codes = unsafe panel.codes.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self)
    unsafe transpose(
      codes + tile.rows.lowerBound * panel.columns + tile.columns.lowerBound,
      stride: panel.columns, tile)
    turnScales(of: tile)
  }

  /// Writes the scales of square blocks to the transpose.
  private func turnScales(of tile: Tile) {
    let width = quantizer.rule.scaleFormat.byteCount
    // All places lie inside the two matrices, whose sizes are those of their shape.
    let grid = quantizer.blocking.grid(rows: panel.rows, columns: panel.columns)
    for row in stride(from: tile.rows.lowerBound, to: tile.rows.upperBound, by: block) {
      for column in stride(from: tile.columns.lowerBound, to: tile.columns.upperBound, by: block) {
        let (row, column) = (row / block, column / block)
        let other = unsafe otherScales.baseAddress.unsafelyUnwrapped
        unsafe (other + (column * grid.rows + row) * width).copyMemory(
          from: panel.scales.baseAddress.unsafelyUnwrapped + (row * grid.columns + column) * width,
          byteCount: width)
      }
    }
  }

  /// Writes the codes of a tile to the transpose.
  private func transpose(_ codes: UnsafePointer<UInt8>, stride: Int, _ tile: Tile) {
    // The tile lies inside the matrix, and so does its transpose.
    unsafe PanelRun.transpose(
      codes, stride: stride, rows: tile.rows.count, columns: tile.columns.count,
      to: otherCodes.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self)
        + tile.columns.lowerBound * panel.rows + tile.rows.lowerBound,
      stride: panel.rows, isStreamed: isStreamed, kernels)
  }
}
