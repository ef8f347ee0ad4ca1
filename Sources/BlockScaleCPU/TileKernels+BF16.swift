// SPDX-License-Identifier: Apache-2.0

import _BlockScaleShims

/// Kernels that multiply pairs of BF16 and sum them in FP32.
///
/// A few rows and the output are those of AVX-512.
// Sendable in spite of its pointer: the table is never written and never freed.
@safe
struct BF16Kernels: TileKernels, @unchecked Sendable {
  private let table: UnsafePointer<bs_bf16_gemm_t>
  private let vectors: FP32Kernels
  private let hasHardwareTiles: Bool

  let tileRows = BS_BF16_TILE_ROWS
  let tileColumns = BS_BF16_TILE_COLUMNS
  let depthUnit = 128
  // Their rows take a megabyte at 4096 k.
  let decodingRowTiles = 4
  // From four rows on tiles are as quick as vectors.
  let fewRows = 3
  var fewRowsInDigits: Int { hasHardwareTiles ? 4 : 6 }
  var fewRowsColumnGroups: Int { vectors.fewRowsColumnGroups }

  /// - Returns: nil for tiers without such products.
  init?(_ tier: CPUTier) {
    let table =
      switch tier {
      case .portable, .neon, .avx2, .avx512: unsafe UnsafePointer<bs_bf16_gemm_t>?.none
      case .avx512BF16: unsafe bs_bf16_gemm_avx512()
      case .amx: unsafe bs_bf16_gemm_amx()
      }
    guard let table = unsafe table else { return nil }
    unsafe self.table = table
    vectors = FP32Kernels(tier)
    hasHardwareTiles = tier == .amx
  }

  /// The functions.
  private var functions: bs_bf16_gemm_t {
    @inline(__always)
    _read {
      // The table is a constant of the program.
      yield unsafe table.pointee
    }
  }

  func block(decodes: Bool, rowTiles: Int) -> ProductBlock {
    if !decodes || rowTiles <= decodingRowTiles { return ProductBlock(columns: 128, depth: 4096) }
    // Half of a second-level cache of one megabyte takes a panel and the sums that wait beside it. The
    // third-level cache may be as small as packed rows are, so one part of the rows meets all columns first.
    guard hasHardwareTiles else { return ProductBlock(columns: 128, depth: 1024, rowsVary: .last) }
    // A panel takes at most one megabyte, half of the second-level cache. The more outputs it has, the
    // fewer rows come from beyond; the fewer k, the more often sums wait. Those of up to 1024 rows, and a
    // panel of half the size, stay in that cache even if another guest has half of it.
    return ProductBlock(columns: 256, depth: rowTiles <= 1024 / tileRows ? 1024 : 2048)
  }

  func begin() { functions.begin() }
  func end() { functions.end() }

  func packRows(
    _ source: bs_rows_t, row: Int, rows: Int, paddedDepth: Int,
    into a: UnsafeMutablePointer<UInt16>
  ) {
    // The caller vouches for the extents, here and below.
    unsafe withUnsafePointer(to: source) {
      unsafe functions.pack_rows($0, row, rows, paddedDepth, a)
    }
  }

  func multiply(
    _ a: UnsafePointer<UInt16>, rows: Int, paddedDepth: Int, columns: [bs_columns_t],
    panel: UnsafeMutablePointer<UInt16>?, isFirst: Bool, k0: Int, depth: Int,
    promotion: bs_promotion_t, sums: UnsafeMutablePointer<Float>, accumulate: Bool,
    next: NextRows
  ) {
    unsafe columns.withUnsafeBufferPointer { columns in
      var operands = unsafe bs_bf16_operands_t(
        a: a, rows: rows, columns: columns.baseAddress, tiles: columns.count * 16 / tileColumns,
        k0: k0, depth: depth, panel: panel, is_first: isFirst, next: next.first,
        also_next: next.second)
      unsafe withUnsafePointer(to: promotion) {
        unsafe functions.multiply(&operands, $0, sums, accumulate)
      }
    }
  }

  func decodeAndMultiply(
    _ a: UnsafePointer<UInt16>, rows: Int, paddedDepth: Int, columns: [bs_columns_t],
    panel: UnsafeMutablePointer<UInt16>, keeps: Bool, k0: Int, depth: Int,
    promotion: bs_promotion_t, promotionStride: Int, sums: UnsafeMutablePointer<Float>,
    accumulate: Bool
  ) {
    let tiles = (rows + tileRows - 1) / tileRows
    // The caller vouches for the extents.
    var source = unsafe bs_bf16_rows_t(
      a: a + tileRows * k0, tiles: tiles, tile_stride: tileRows * paddedDepth,
      last_rows: rows - (tiles - 1) * tileRows, promotion_stride: promotionStride)
    unsafe columns.withUnsafeBufferPointer { columns in
      unsafe withUnsafePointer(to: promotion) {
        unsafe functions.decode_multiply(
          &source, columns.baseAddress!, columns.count * 16 / tileColumns, k0, depth, $0, panel,
          keeps, sums, accumulate)
      }
    }
  }

  func decodeRows(
    _ source: bs_rows_t, rows: Range<Int>, into x: UnsafeMutablePointer<Float>, stride: Int
  ) {
    unsafe vectors.decodeRows(source, rows: rows, into: x, stride: stride)
  }

  func splitRow(
    _ x: UnsafePointer<Float>, depth: Int, into digits: UnsafeMutablePointer<bs_digits_t>,
    capacity: Int
  ) -> Int {
    unsafe vectors.splitRow(x, depth: depth, into: digits, capacity: capacity)
  }

  func multiplyRows(
    _ rows: bs_few_rows_t, columns: UnsafeBufferPointer<bs_columns_t>, depth: Int,
    promotion: bs_promotion_t, sums: UnsafeMutablePointer<Float>
  ) {
    unsafe vectors.multiplyRows(
      rows, columns: columns, depth: depth, promotion: promotion, sums: sums)
  }

  func store(
    _ sums: UnsafePointer<Float>, stride: Int, rows: Int, columns: Int, output: bs_output_t,
    row: Int, column: Int
  ) {
    unsafe vectors.store(
      sums, stride: stride, rows: rows, columns: columns, output: output, row: row,
      column: column)
  }
}
