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
    // A panel of 128 outputs by 4096 k takes one megabyte, half of the second-level cache.
    let blockColumns = 128
    let blockDepth = 4096
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
      // Two hardware tiles of sixteen rows. The caller vouches for the extents, here and below.
      unsafe withUnsafePointer(to: source) {
        unsafe bs_pack_rows_amx($0, row, min(rows, 16), paddedDepth, a)
        if rows > 16 {
          unsafe bs_pack_rows_amx($0, row + 16, rows - 16, paddedDepth, a + 16 * paddedDepth)
        }
      }
    }

    func multiply(
      _ a: UnsafePointer<UInt16>, rows: Int, paddedDepth: Int, columns: [[bs_columns_t]],
      panel: UnsafeMutablePointer<UInt16>?, decodes: Bool, k0: Int, depth: Int,
      promotion: bs_promotion_t, sums: UnsafeMutablePointer<Float>, accumulate: Bool,
      next: (address: UnsafeRawPointer, bytes: Int)?
    ) {
      let first = unsafe a + 16 * k0
      var operands = unsafe bs_amx_operands_t()
      unsafe operands.a = (first, rows > 16 ? first + 16 * paddedDepth : first)
      unsafe operands.tiles = 1
      if let next = unsafe next {
        unsafe operands.next = next.address
        unsafe operands.next_lines = next.bytes / 64 / (depth / 32) / columns.count
      }
      let tileCount = tileColumns * depth
      guard let panel = unsafe panel else {
        // BF16 columns are hardware tiles as they are stored.
        for tile in unsafe 0..<columns.count {
          unsafe operands.b = (
            columns[tile][0].codes.assumingMemoryBound(to: UInt16.self) + 16 * k0,
            columns[tile][1].codes.assumingMemoryBound(to: UInt16.self) + 16 * k0
          )
          unsafe withUnsafePointer(to: promotion.ofTile(tile, blocks: 2)) {
            unsafe bs_multiply_amx(
              &operands, depth, $0, sums + tile * tileRows * tileColumns, accumulate)
          }
          unsafe operands.next = operands.next.map {
            unsafe $0 + operands.next_lines * 64 * (depth / 32)
          }
        }
        return
      }
      if decodes {
        for tile in unsafe 0..<columns.count {
          let own = unsafe panel + tile * tileCount
          if unsafe promotion.depth > 0 {
            for half in 0..<2 {
              unsafe withUnsafePointer(to: columns[tile][half]) {
                unsafe bs_decode_amx($0, k0, depth, own + half * 16 * depth)
              }
            }
          } else {
            unsafe decodeAndMultiply(
              &operands, columns[tile], k0: k0, depth: depth, panel: own,
              sums: sums + tile * tileRows * tileColumns, accumulate: accumulate)
          }
        }
        if unsafe promotion.depth == 0 { return }
      }
      unsafe operands.b = (UnsafePointer(panel), UnsafePointer(panel + 16 * depth))
      unsafe operands.tile_stride = tileCount
      unsafe operands.tiles = columns.count
      unsafe withUnsafePointer(to: promotion) {
        unsafe bs_multiply_amx(&operands, depth, $0, sums, accumulate)
      }
    }

    /// Decodes the columns of one tile while its rows are multiplied.
    private func decodeAndMultiply(
      _ operands: inout bs_amx_operands_t, _ columns: [bs_columns_t], k0: Int, depth: Int,
      panel: UnsafeMutablePointer<UInt16>, sums: UnsafeMutablePointer<Float>, accumulate: Bool
    ) {
      unsafe columns.withUnsafeBufferPointer { columns in
        var panels: (UnsafeMutablePointer<UInt16>?, UnsafeMutablePointer<UInt16>?) =
          unsafe (panel, panel + 16 * depth)
        unsafe withUnsafeMutablePointer(to: &panels) { panels in
          unsafe panels.withMemoryRebound(to: UnsafeMutablePointer<UInt16>?.self, capacity: 2) {
            unsafe bs_decode_multiply_amx(
              &operands, columns.baseAddress, k0, depth, $0, sums, accumulate)
          }
        }
      }
    }

    func decodeAndMultiply(
      _ a: UnsafePointer<UInt16>, rows: Int, paddedDepth: Int, columns: [[bs_columns_t]],
      panel: UnsafeMutablePointer<UInt16>, k0: Int, depth: Int, promotion: bs_promotion_t,
      promotionStride: Int, sums: UnsafeMutablePointer<Float>, accumulate: Bool
    ) {
      let last = rows % tileRows
      // The caller vouches for the extents.
      var source = unsafe bs_amx_rows_t(
        a: a + 16 * k0, tiles: (rows + tileRows - 1) / tileRows,
        tile_stride: tileRows * paddedDepth,
        last_is_half: (1...16).contains(last), promotion_stride: promotionStride)
      unsafe columns.flatMap { unsafe $0 }.withUnsafeBufferPointer { columns in
        unsafe withUnsafePointer(to: promotion) {
          unsafe bs_decode_multiply_parts_amx(
            &source, columns.baseAddress, columns.count / 2, k0, depth, $0, panel, sums, accumulate)
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
