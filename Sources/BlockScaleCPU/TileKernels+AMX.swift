// SPDX-License-Identifier: Apache-2.0

#if arch(x86_64)
  import _BlockScaleShims

  /// Kernels on AMX tiles: BF16 in, FP32 sums.
  ///
  /// A few rows and the output are those of AVX-512.
  struct AMXKernels: TileKernels {
    private let vectors = FP32Kernels(.avx512)

    let tileRows = BS_AMX_TILE_ROWS
    let tileColumns = BS_AMX_TILE_COLUMNS
    let depthUnit = 128
    // A panel takes at most one megabyte, half of the second-level cache. The more outputs it has, the
    // fewer rows come from beyond; the fewer k, the more often sums wait. Those of up to 1024 rows, and a
    // panel of half the size, stay in that cache even if another guest has half of it.
    func block(decodes: Bool, rowTiles: Int) -> ProductBlock {
      if !decodes || rowTiles <= decodingRowTiles { return ProductBlock(columns: 128, depth: 4096) }
      return ProductBlock(columns: 256, depth: rowTiles <= 1024 / tileRows ? 1024 : 2048)
    }
    // Their rows take a megabyte at 4096 k, half of the second-level cache.
    let decodingRowTiles = 4
    // From four rows on tiles are as quick as vectors.
    let fewRows = 3

    func begin() { bs_begin_amx() }
    func end() { bs_end_amx() }

    func packRows(
      _ source: bs_rows_t, row: Int, rows: Int, paddedDepth: Int,
      into a: UnsafeMutablePointer<UInt16>
    ) {
      // The caller vouches for the extents, here and below.
      unsafe withUnsafePointer(to: source) {
        unsafe bs_pack_rows_amx($0, row, rows, paddedDepth, a)
      }
    }

    func multiply(
      _ a: UnsafePointer<UInt16>, rows: Int, paddedDepth: Int, columns: [bs_columns_t],
      panel: UnsafeMutablePointer<UInt16>?, isFirst: Bool, k0: Int, depth: Int,
      promotion: bs_promotion_t, sums: UnsafeMutablePointer<Float>, accumulate: Bool,
      next: NextRows
    ) {
      unsafe columns.withUnsafeBufferPointer { columns in
        var operands = unsafe bs_amx_operands_t(
          a: a, rows: rows, columns: columns.baseAddress, tiles: columns.count * 16 / tileColumns,
          k0: k0, depth: depth, panel: panel, is_first: isFirst, next: next.first,
          also_next: next.second)
        unsafe withUnsafePointer(to: promotion) {
          unsafe bs_multiply_amx(&operands, $0, sums, accumulate)
        }
      }
    }

    func decodeAndMultiply(
      _ a: UnsafePointer<UInt16>, rows: Int, paddedDepth: Int, columns: [bs_columns_t],
      panel: UnsafeMutablePointer<UInt16>, keeps: Bool, k0: Int, depth: Int,
      promotion: bs_promotion_t, promotionStride: Int, sums: UnsafeMutablePointer<Float>,
      accumulate: Bool
    ) {
      let last = rows % tileRows
      // The caller vouches for the extents.
      var source = unsafe bs_amx_rows_t(
        a: a + tileRows * k0, tiles: (rows + tileRows - 1) / tileRows,
        tile_stride: tileRows * paddedDepth,
        last_is_half: (1...16).contains(last), promotion_stride: promotionStride)
      unsafe columns.withUnsafeBufferPointer { columns in
        unsafe withUnsafePointer(to: promotion) {
          unsafe bs_decode_multiply_amx(
            &source, columns.baseAddress, columns.count * 16 / tileColumns, k0, depth, $0, panel,
            keeps, sums, accumulate)
        }
      }
    }

    func decodeRows(
      _ source: bs_rows_t, rows: Int, into x: UnsafeMutablePointer<Float>, stride: Int
    ) {
      unsafe vectors.decodeRows(source, rows: rows, into: x, stride: stride)
    }

    func multiplyRows(
      _ x: UnsafePointer<Float>, stride: Int, rows: Int, columns: bs_columns_t, depth: Int,
      promotion: bs_promotion_t, sums: UnsafeMutablePointer<Float>
    ) {
      unsafe vectors.multiplyRows(
        x, stride: stride, rows: rows, columns: columns, depth: depth, promotion: promotion,
        sums: sums)
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
#endif
