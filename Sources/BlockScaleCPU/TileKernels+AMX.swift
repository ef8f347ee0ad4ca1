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
      _ a: UnsafePointer<UInt16>, rows: Int, paddedDepth: Int, columns: [bs_columns_t],
      panel: UnsafeMutablePointer<UInt16>?, decodes: Bool, k0: Int, depth: Int,
      promotion: bs_promotion_t, sums: UnsafeMutablePointer<Float>, accumulate: Bool,
      next: (address: UnsafeRawPointer, bytes: Int)?
    ) {
      let first = unsafe a + 16 * k0
      var operands = unsafe bs_amx_operands_t()
      unsafe operands.a = (first, rows > 16 ? first + 16 * paddedDepth : first)
      if let next = unsafe next {
        unsafe operands.next = next.address
        unsafe operands.next_lines = next.bytes / 64 / (depth / 32)
      }
      unsafe withUnsafePointer(to: promotion) { promotion in
        if let panel = unsafe panel {
          let second = unsafe panel + 16 * depth
          if decodes {
            unsafe columns.withUnsafeBufferPointer { columns in
              var panels: (UnsafeMutablePointer<UInt16>?, UnsafeMutablePointer<UInt16>?) =
                unsafe (panel, second)
              unsafe withUnsafeMutablePointer(to: &panels) { panels in
                unsafe panels.withMemoryRebound(
                  to: UnsafeMutablePointer<UInt16>?.self, capacity: 2
                ) {
                  unsafe bs_decode_multiply_amx(
                    &operands, columns.baseAddress, k0, depth, promotion, $0, sums, accumulate)
                }
              }
            }
            return
          }
          unsafe operands.b = (UnsafePointer(panel), UnsafePointer(second))
        } else {
          // BF16 columns are hardware tiles as they are stored.
          unsafe operands.b = (
            columns[0].codes.assumingMemoryBound(to: UInt16.self) + 16 * k0,
            columns[1].codes.assumingMemoryBound(to: UInt16.self) + 16 * k0
          )
        }
        unsafe bs_multiply_amx(&operands, depth, promotion, sums, accumulate)
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
