// SPDX-License-Identifier: Apache-2.0

import _BlockScaleShims

/// Kernels whose sums are vectors of FP32: all tiers but AMX.
@safe
struct FP32Kernels: TileKernels {
  typealias PackWords =
    @convention(c) @Sendable (
      UnsafeRawPointer?, Int, Int, Int, UnsafeMutablePointer<UInt32>?
    ) -> Void
  typealias Decode =
    @convention(c) @Sendable (
      UnsafePointer<bs_columns_t>?, Int, Int, UnsafeMutablePointer<Float>?, Int
    ) -> Void
  typealias Multiply =
    @convention(c) @Sendable (
      UnsafePointer<Float>?, UnsafePointer<Float>?, Int, UnsafePointer<bs_promotion_t>?,
      UnsafeMutablePointer<Float>?, Int, Bool
    ) -> Void
  typealias MultiplyRows =
    @convention(c) @Sendable (
      UnsafePointer<Float>?, Int, Int, UnsafePointer<bs_columns_t>?, Int,
      UnsafePointer<bs_promotion_t>?, UnsafeMutablePointer<Float>?
    ) -> Void
  typealias PackRows =
    @convention(c) @Sendable (
      UnsafePointer<bs_rows_t>?, Int, Int, Int, UnsafeMutablePointer<Float>?
    ) -> Void
  typealias DecodeRows =
    @convention(c) @Sendable (
      UnsafePointer<bs_rows_t>?, Int, Int, UnsafeMutablePointer<Float>?, Int
    ) -> Void
  typealias Store =
    @convention(c) @Sendable (
      UnsafePointer<Float>?, Int, Int, Int, UnsafePointer<bs_output_t>?, Int, Int
    ) -> Void

  let tileRows: Int
  let tileColumns: Int
  private let packColumnWords: PackWords
  private let decodeColumns: Decode
  private let multiplyTile: Multiply
  private let multiplyFew: MultiplyRows
  private let pack: PackRows
  private let decodeFew: DecodeRows
  private let storeTile: Store

  // A panel of 128 outputs by 1024 k takes half a megabyte; a tile's part of it and the rows that
  // it meets stay in the first-level cache.
  let blockColumns = 128
  let blockDepth = 1024
  // Scales of rows are laid out by tiles, of which there may be one here.
  var fewRows: Int { min(4, tileRows) }

  /// The kernels of a tier that has them.
  init(_ tier: CPUTier) {
    switch tier {
    case .portable:
      tileRows = bs_tile_rows_portable()
      tileColumns = bs_tile_columns_portable()
      unsafe packColumnWords = bs_pack_words_portable
      unsafe decodeColumns = bs_decode_portable
      unsafe multiplyTile = bs_multiply_portable
      unsafe multiplyFew = bs_multiply_rows_portable
      unsafe pack = bs_pack_rows_portable
      unsafe decodeFew = bs_decode_rows_portable
      unsafe storeTile = bs_store_portable
    #if arch(arm64)
      case .neon:
        tileRows = bs_tile_rows_neon()
        tileColumns = bs_tile_columns_neon()
        unsafe packColumnWords = bs_pack_words_neon
        unsafe decodeColumns = bs_decode_neon
        unsafe multiplyTile = bs_multiply_neon
        unsafe multiplyFew = bs_multiply_rows_neon
        unsafe pack = bs_pack_rows_neon
        unsafe decodeFew = bs_decode_rows_neon
        unsafe storeTile = bs_store_neon
    #endif
    #if arch(x86_64)
      case .avx2:
        tileRows = bs_tile_rows_avx2()
        tileColumns = bs_tile_columns_avx2()
        unsafe packColumnWords = bs_pack_words_avx2
        unsafe decodeColumns = bs_decode_avx2
        unsafe multiplyTile = bs_multiply_avx2
        unsafe multiplyFew = bs_multiply_rows_avx2
        unsafe pack = bs_pack_rows_avx2
        unsafe decodeFew = bs_decode_rows_avx2
        unsafe storeTile = bs_store_avx2
      case .avx512, .amx:
        tileRows = bs_tile_rows_avx512()
        tileColumns = bs_tile_columns_avx512()
        unsafe packColumnWords = bs_pack_words_avx512
        unsafe decodeColumns = bs_decode_avx512
        unsafe multiplyTile = bs_multiply_avx512
        unsafe multiplyFew = bs_multiply_rows_avx512
        unsafe pack = bs_pack_rows_avx512
        unsafe decodeFew = bs_decode_rows_avx512
        unsafe storeTile = bs_store_avx512
    #endif
    default: preconditionFailure("This architecture has no tier '\(tier)'")
    }
  }

  func begin() {}
  func end() {}

  /// Rearranges sixteen or fewer rows of 32-bit words, `rowBytes` apart, as columns.
  func packWords(
    _ rows: UnsafeRawPointer, rowBytes: Int, rowCount: Int, wordCount: Int,
    into words: UnsafeMutablePointer<UInt32>
  ) {
    // The caller vouches for the extents, here and below.
    unsafe packColumnWords(rows, rowBytes, rowCount, wordCount, words)
  }

  func packRows(
    _ source: bs_rows_t, row: Int, rows: Int, paddedDepth: Int, into a: UnsafeMutablePointer<Float>
  ) {
    unsafe withUnsafePointer(to: source) { unsafe pack($0, row, rows, paddedDepth, a) }
  }

  func multiply(
    _ a: UnsafePointer<Float>, rows: Int, paddedDepth: Int, columns: [[bs_columns_t]],
    panel: UnsafeMutablePointer<Float>?, decodes: Bool, k0: Int, depth: Int,
    promotion: bs_promotion_t, sums: UnsafeMutablePointer<Float>, accumulate: Bool,
    next: (address: UnsafeRawPointer, bytes: Int)?
  ) {
    guard let panel = unsafe panel else { preconditionFailure("FP32 kernels decode all columns") }
    for tile in unsafe 0..<columns.count {
      let own = unsafe panel + tile * tileColumns * depth
      if decodes {
        for index in unsafe 0..<columns[tile].count {
          unsafe withUnsafePointer(to: columns[tile][index]) {
            unsafe decodeColumns($0, k0, depth, own + 16 * index, tileColumns)
          }
        }
      }
      unsafe withUnsafePointer(
        to: promotion.ofTile(tile, blocks: tileColumns / 16)
      ) {
        unsafe multiplyTile(
          a + k0 * tileRows, own, depth, $0, sums + tile * tileRows * tileColumns, tileColumns,
          accumulate)
      }
    }
  }

  func decodeRows(
    _ source: bs_rows_t, rows: Int, into x: UnsafeMutablePointer<Float>, stride: Int
  ) {
    unsafe withUnsafePointer(to: source) { unsafe decodeFew($0, 0, rows, x, stride) }
  }

  func multiplyRows(
    _ x: UnsafePointer<Float>, stride: Int, rows: Int, columns: bs_columns_t, depth: Int,
    promotion: bs_promotion_t, sums: UnsafeMutablePointer<Float>
  ) {
    unsafe withUnsafePointer(to: columns) { columns in
      unsafe withUnsafePointer(to: promotion) { promotion in
        unsafe multiplyFew(x, stride, rows, columns, depth, promotion, sums)
      }
    }
  }

  func store(
    _ sums: UnsafePointer<Float>, stride: Int, rows: Int, columns: Int, output: bs_output_t,
    row: Int, column: Int
  ) {
    unsafe withUnsafePointer(to: output) {
      unsafe storeTile(sums, stride, rows, columns, $0, row, column)
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
