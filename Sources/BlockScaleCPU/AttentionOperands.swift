// SPDX-License-Identifier: Apache-2.0

import BlockScale
import Minifloat
import _BlockScaleShims

/// One head of a matrix of tokens: rows of `dimension` values that lie `stride` apart.
// Sendable in spite of its pointer: nothing is written while it is used.
@safe struct HeadRows: @unchecked Sendable {
  let rows: Int
  let dimension: Int
  let stride: Int
  private let base: UnsafePointer<UInt16>

  /// A head of some rows of a matrix.
  init(
    _ matrix: Input<BFloat16>, columns: Int, rows: Range<Int>, head: Int, dimension: Int
  ) {
    self.rows = rows.count
    self.dimension = dimension
    stride = columns
    // From the head's first value in the first row to its last in the last one.
    unsafe base = matrix.bits(
      rows.lowerBound * columns + head * dimension, count: (rows.count - 1) * columns + dimension)
  }

  /// The place of a row.
  func row(_ index: Int) -> UnsafePointer<UInt16> {
    precondition((0..<rows).contains(index), "A row lies outside its head")
    return unsafe base + index * stride
  }

  /// The rows as the kernels of products read them.
  var source: bs_rows_t { unsafe Self.source(base, stride: stride, depth: dimension) }

  /// BF16 rows without scales.
  static func source(_ base: UnsafePointer<UInt16>, stride: Int, depth: Int) -> bs_rows_t {
    // The caller vouches for the extents.
    unsafe bs_rows_t(
      codes: UnsafeRawPointer(base), row_bytes: stride * 2, depth: depth,
      code_format: BS_CODES_BF16, scales: nil, scale_row_stride: 0, scale_block: 16,
      scales_are_powers: false, power_offset: 0)
  }
}

/// A head as the right operand of products: columns in groups of sixteen outputs.
struct HeadColumns: Sendable {
  private let codes: AlignedBuffer
  private let blockBytes: Int
  let outputs: Int
  private let blockCount: Int

  /// Products with every row: outputs are rows, and sums run along the dimension.
  init(rows head: HeadRows, _ kernels: FP32Kernels) {
    outputs = head.rows
    blockCount = (head.rows + 15) / 16
    let depth = (head.dimension + 31) / 32 * 32
    blockBytes = depth * 32
    codes = AlignedBuffer(byteCount: blockCount * blockBytes)
    if depth != head.dimension { codes.clear() }
    for block in 0..<blockCount {
      let count = min(16, head.rows - block * 16)
      // The block's own part of the buffer, and rows of the head.
      let words = unsafe (codes.address + block * blockBytes).assumingMemoryBound(to: UInt32.self)
      unsafe kernels.packWords(
        UnsafeRawPointer(head.row(block * 16)), rowBytes: head.stride * 2, rowCount: count,
        wordCount: head.dimension / 2, into: words)
      guard head.dimension % 2 != 0 else { continue }
      for row in 0..<count {
        unsafe words[head.dimension / 2 * 16 + row] = UInt32(
          head.row(block * 16 + row)[head.dimension - 1])
      }
    }
  }

  /// Products with every column: outputs are the values of the dimension, and sums run along the rows,
  /// as many as are asked for.
  init(columns head: HeadRows, depth: Int) {
    outputs = head.dimension
    blockCount = (head.dimension + 15) / 16
    blockBytes = depth * 32
    codes = AlignedBuffer(byteCount: blockCount * blockBytes)
    if depth != head.rows || outputs % 16 != 0 { codes.clear() }
    // Room for every pair of rows in each block.
    let words = unsafe codes.pointer(to: UInt32.self)
    for pair in 0..<(head.rows + 1) / 2 {
      unsafe bs_pack_row_pairs(
        head.row(2 * pair), 2 * pair + 1 < head.rows ? head.row(2 * pair + 1) : nil, outputs,
        words + pair * 16, depth / 2 * 16)
    }
  }

  /// The outputs up to a limit as tiles of the kernels.
  ///
  /// The pointers are valid while this value is alive.
  func tiles(_ limit: Int, columns: Int) -> [bs_columns_t] {
    let blocks = (min(limit, outputs) + 15) / 16
    let ofTile = columns / 16
    return unsafe (0..<(blocks + ofTile - 1) / ofTile * ofTile).map { index in
      // Where a tile has more columns than are left, the last sixteen stand in for the others.
      let block = min(index, blockCount - 1)
      return unsafe bs_columns_t(
        codes: UnsafeRawPointer(codes.address + block * blockBytes), scales: nil,
        code_format: BS_CODES_BF16, scale_place: BS_SCALES_NONE, scale_block: 16,
        scales_are_powers: false, power_offset: 0)
    }
  }
}

/// What a thread multiplies tiles of attention with.
final class AttentionTiles<Kernels: TileKernels> {
  let kernels: Kernels
  private var packed = AlignedBuffer(byteCount: 0)
  private var panel = AlignedBuffer(byteCount: 0)

  init(_ kernels: Kernels) { self.kernels = kernels }

  /// Products of up to a tile of rows with tiles of columns, one tile of sums after the other.
  func multiply(
    _ source: bs_rows_t, row: Int, rows: Int, columns: [bs_columns_t], depth: Int,
    into sums: UnsafeMutablePointer<Float>, adding: Bool = false
  ) {
    let elementBytes = MemoryLayout<Kernels.Element>.stride
    Self.reserve(&packed, kernels.tileRows * depth * elementBytes)
    // FP32 kernels read columns that are decoded; hardware tiles are columns as they are.
    let decodes = Kernels.Element.self == Float.self
    if decodes {
      unsafe Self.reserve(&panel, columns.count * 16 * depth * elementBytes)
    }
    // Buffers of the sizes above; the caller vouches for the rows, the columns and the sums.
    let a = unsafe packed.pointer(to: Kernels.Element.self)
    unsafe kernels.packRows(source, row: row, rows: rows, paddedDepth: depth, into: a)
    unsafe kernels.multiply(
      a, rows: rows, paddedDepth: depth, columns: columns,
      panel: decodes ? panel.pointer(to: Kernels.Element.self) : nil, isFirst: true, k0: 0,
      depth: depth, promotion: bs_promotion_t(), sums: sums, accumulate: adding, next: NextRows())
  }

  /// Writes tiles of sums that lie side by side.
  ///
  /// - Parameter factors: One for each row, or none.
  func store(
    _ sums: UnsafePointer<Float>, rows: Int, columns: Int, factors: UnsafePointer<Float>?,
    into result: UnsafeMutablePointer<UInt16>, stride: Int
  ) {
    // The caller vouches for the extents.
    let output = unsafe bs_output_t(
      values: UnsafeMutableRawPointer(result), stride: stride, format: BS_VALUES_BF16,
      accumulate: false, scale: 1, row_scales: factors, column_scales: nil, bias: nil)
    let tile = kernels.tileColumns
    for (index, first) in Swift.stride(from: 0, to: columns, by: tile).enumerated() {
      unsafe kernels.store(
        sums + index * kernels.tileRows * tile, stride: tile, rows: rows,
        columns: min(tile, columns - first), output: output, row: 0, column: first)
    }
  }

  /// The sums of a row among tiles that lie side by side.
  func row(_ sums: UnsafePointer<Float>, _ row: Int) -> bs_tiled_row_t {
    // The caller vouches for the extents.
    unsafe bs_tiled_row_t(
      values: sums + row * kernels.tileColumns, columns: kernels.tileColumns,
      tile_stride: kernels.tileRows * kernels.tileColumns)
  }

  /// The floats of tiles that cover some columns.
  func sumCount(_ columns: Int) -> Int {
    (columns + kernels.tileColumns - 1) / kernels.tileColumns * kernels.tileRows
      * kernels.tileColumns
  }

  /// Makes room; what was there is lost.
  static func reserve(_ buffer: inout AlignedBuffer, _ byteCount: Int) {
    if buffer.byteCount < byteCount { buffer = AlignedBuffer(byteCount: byteCount) }
  }
}
