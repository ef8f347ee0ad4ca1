// SPDX-License-Identifier: Apache-2.0

import _BlockScaleShims

/// Kernels that multiply FP32: what every tier has, and what those without products of BF16 use for tiles.
// Sendable in spite of its pointer: the table is never written and never freed.
@safe
struct FP32Kernels: TileKernels, @unchecked Sendable {
  private let table: UnsafePointer<bs_gemm_t>

  // A panel of 128 outputs by 1024 k takes half a megabyte; a tile's part of it and the rows that
  // it meets stay in the first-level cache.
  let depthUnit = 32
  func block(decodes: Bool, rowTiles: Int) -> ProductBlock {
    ProductBlock(columns: 128, depth: 1024)
  }
  // Scales of rows are laid out by tiles, of which there may be one here.
  var fewRows: Int { min(4, tileRows) }
  // Beyond, a tile's columns are decoded once for many rows.
  var fewRowsInDigits: Int { unsafe functions.split_row == nil ? 0 : 24 }
  // Intel's processors read memory faster in several places at once, AMD's in one.
  let fewRowsColumnGroups: Int

  /// The kernels of a tier that has them.
  init(_ tier: CPUTier) {
    let table =
      switch tier {
      case .portable: unsafe bs_gemm_portable()
      case .neon: unsafe bs_gemm_neon()
      case .avx2: unsafe bs_gemm_avx2()
      // Tiers that multiply BF16 take a few rows and write the output as AVX-512 does.
      case .avx512, .avx512BF16, .amx: unsafe bs_gemm_avx512()
      }
    guard let table = unsafe table else {
      preconditionFailure("This architecture has no tier '\(tier)'")
    }
    unsafe self.table = table
    fewRowsColumnGroups = tier == .avx512BF16 ? 1 : FewRows.columnGroups
  }

  /// The functions.
  private var functions: bs_gemm_t {
    @inline(__always)
    _read {
      // The table is a constant of the program.
      yield unsafe table.pointee
    }
  }

  var tileRows: Int { functions.tile_rows }
  var tileColumns: Int { functions.tile_columns }

  func begin() {}
  func end() {}

  /// Rearranges sixteen or fewer rows of 32-bit words, `rowBytes` apart, as columns.
  func packWords(
    _ rows: UnsafeRawPointer, rowBytes: Int, rowCount: Int, wordCount: Int,
    into words: UnsafeMutablePointer<UInt32>
  ) {
    // The caller vouches for the extents, here and below.
    unsafe functions.pack_words(rows, rowBytes, rowCount, wordCount, words)
  }

  func packRows(
    _ source: bs_rows_t, row: Int, rows: Int, paddedDepth: Int, into a: UnsafeMutablePointer<Float>
  ) {
    unsafe withUnsafePointer(to: source) {
      unsafe functions.pack_rows($0, row, rows, paddedDepth, a)
    }
  }

  func multiply(
    _ a: UnsafePointer<Float>, rows: Int, paddedDepth: Int, columns: [bs_columns_t],
    panel: UnsafeMutablePointer<Float>?, isFirst: Bool, k0: Int, depth: Int,
    promotion: bs_promotion_t, sums: UnsafeMutablePointer<Float>, accumulate: Bool,
    next: NextRows
  ) {
    guard let panel = unsafe panel else { preconditionFailure("FP32 kernels decode all columns") }
    let blocks = tileColumns / 16
    for tile in unsafe 0..<columns.count / blocks {
      let own = unsafe panel + tile * tileColumns * depth
      if isFirst {
        for index in 0..<blocks {
          unsafe withUnsafePointer(to: columns[tile * blocks + index]) {
            unsafe functions.decode($0, k0, depth, own + 16 * index, tileColumns)
          }
        }
      }
      unsafe withUnsafePointer(to: promotion.ofTile(tile, blocks: blocks)) {
        unsafe functions.multiply(
          a + k0 * tileRows, own, depth, $0, sums + tile * tileRows * tileColumns, tileColumns,
          accumulate)
      }
    }
  }

  func decodeRows(
    _ source: bs_rows_t, rows: Range<Int>, into x: UnsafeMutablePointer<Float>, stride: Int
  ) {
    unsafe withUnsafePointer(to: source) {
      unsafe functions.decode_rows($0, rows.lowerBound, rows.count, x, stride)
    }
  }

  func splitRow(
    _ x: UnsafePointer<Float>, depth: Int, into digits: UnsafeMutablePointer<bs_digits_t>,
    capacity: Int
  ) -> Int {
    guard let split = unsafe functions.split_row else { return 0 }
    return unsafe split(x, depth, digits, capacity)
  }

  func multiplyRows(
    _ rows: bs_few_rows_t, columns: UnsafeBufferPointer<bs_columns_t>, depth: Int,
    promotion: bs_promotion_t, sums: UnsafeMutablePointer<Float>
  ) {
    guard let first = columns.baseAddress else { return }
    unsafe withUnsafePointer(to: rows) { rows in
      if unsafe rows.pointee.digits != nil, let multiply = unsafe functions.multiply_digits {
        return unsafe multiply(rows, first, columns.count, depth, sums, FewRows.sumsStride)
      }
      for group in columns.indices {
        unsafe withUnsafePointer(to: promotion.ofTile(group, blocks: 1)) { promotion in
          unsafe functions.multiply_rows(
            rows, first + group, depth, promotion, sums + 16 * group, FewRows.sumsStride)
        }
      }
    }
  }

  func store(
    _ sums: UnsafePointer<Float>, stride: Int, rows: Int, columns: Int, output: bs_output_t,
    row: Int, column: Int
  ) {
    unsafe withUnsafePointer(to: output) {
      unsafe functions.store(sums, stride, rows, columns, $0, row, column)
    }
  }
}

extension bs_promotion_t {
  /// The scales of one of several tiles side by side.
  func ofTile(_ tile: Int, blocks: Int) -> bs_promotion_t {
    var result = unsafe self
    // Scales of all tiles follow one another.
    unsafe result.columns = columns.map { unsafe $0 + tile * blocks * column_block_stride }
    return unsafe result
  }
}
