// SPDX-License-Identifier: Apache-2.0

// Kernels of matrix products, one table of functions for each tier; see bs_gemm.h for the layout of
// operands.

#ifndef BLOCKSCALE_SHIMS_GEMM_KERNELS_H
#define BLOCKSCALE_SHIMS_GEMM_KERNELS_H

#include "bs_gemm.h"

#pragma clang assume_nonnull begin

/// The kernels of one tier whose sums are vectors of FP32.
typedef struct {
  /// The rows and outputs of one tile of sums.
  ptrdiff_t tile_rows, tile_columns;

  /// Sixteen or fewer rows of 32-bit words, `row_bytes` apart, as columns: `words[word * 16 + row]`; rows
  /// that are not there become zero.
  void (*pack_words)(
    const void *rows, ptrdiff_t row_bytes, ptrdiff_t row_count, ptrdiff_t word_count,
    uint32_t *words);

  /// k0..<k0+depth of columns as FP32, `panel[k * panel_stride + output]`.
  void (*decode)(
    const bs_columns_t *columns, ptrdiff_t k0, ptrdiff_t depth, float *panel,
    ptrdiff_t panel_stride);

  /// A tile of sums, `c[row * c_stride + output]`, from `a[k * tile_rows + row]` and
  /// `b[k * tile_columns + output]`; adds to `c` if told so.
  void (*multiply)(
    const float *a, const float *b, ptrdiff_t depth,
    const bs_promotion_t *promotion, float *c, ptrdiff_t c_stride,
    bool accumulate);

  /// A few rows with sixteen outputs as they are stored, `c[row * c_stride + output]`.
  void (*multiply_rows)(
    const bs_few_rows_t *rows, const bs_columns_t *columns, ptrdiff_t depth,
    const bs_promotion_t *promotion, float *c, ptrdiff_t c_stride);

  /// One of a few rows, exact in BF16, in digits. Returns how many there are, or 0 if they are more than
  /// `capacity` or a value is not finite. Null where a tier has no products of digits.
  ptrdiff_t (*_Nullable split_row)(
    const float *x, ptrdiff_t depth, bs_digits_t *digits, ptrdiff_t capacity);

  /// Rows in digits with groups of sixteen outputs of E2M1 with scales by output,
  /// `c[row * c_stride + 16 * group + output]`; one or two rows meet four groups side by side. Null if
  /// `split_row` is.
  void (*_Nullable multiply_digits)(
    const bs_few_rows_t *rows, const bs_columns_t *columns, ptrdiff_t groups, ptrdiff_t depth,
    float *c, ptrdiff_t c_stride);

  /// Up to `tile_rows` rows as `a`, k padded to `padded_depth` and rows to the tile.
  void (*pack_rows)(
    const bs_rows_t *source, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t padded_depth,
    float *a);

  /// Rows as FP32, `x_stride` apart, k padded to 16.
  void (*decode_rows)(
    const bs_rows_t *source, ptrdiff_t row, ptrdiff_t rows, float *x,
    ptrdiff_t x_stride);

  /// Writes a tile of sums to the output.
  void (*store)(
    const float *c, ptrdiff_t c_stride, ptrdiff_t rows, ptrdiff_t columns,
    const bs_output_t *output, ptrdiff_t row, ptrdiff_t column);
} bs_gemm_t;

/// The kernels of one tier that multiplies pairs of BF16 and sums them in FP32; subnormal values and sums
/// count as zero.
typedef struct {
  /// Every other call lies between these two on the same thread.
  void (*begin)(void);
  void (*end)(void);

  /// 32 or fewer rows as hardware tiles, exact in BF16: for each 128 k of `padded_depth` those of the
  /// first sixteen rows, for 32 k each, and then those of the others, whose place stays as it is if
  /// there are none.
  void (*pack_rows)(
    const bs_rows_t *source, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t padded_depth,
    uint16_t *tiles);

  /// Tiles of 32 x 32 sums, one after the other, rows 32 apart.
  void (*multiply)(
    const bs_bf16_operands_t *operands, const bs_promotion_t *promotion, float *c,
    bool accumulate);

  /// Some tiles of rows by tiles of outputs, from columns that are not decoded yet: those of the next
  /// run of k are while these are multiplied. `c` has all outputs of a tile of rows, then of the next
  /// one. `panel` receives the columns as `multiply` takes them if it `keeps` them; else it holds those
  /// of two runs of one tile.
  void (*decode_multiply)(
    const bs_bf16_rows_t *rows, const bs_columns_t *columns, ptrdiff_t tiles, ptrdiff_t k0,
    ptrdiff_t depth, const bs_promotion_t *promotion, uint16_t *panel, bool keeps, float *c,
    bool accumulate);
} bs_bf16_gemm_t;

/// The kernels of each tier; null where the architecture has no such tier. Whether they may be called
/// is for `bs_cpu_features` to say.
const bs_gemm_t *bs_gemm_portable(void);
const bs_gemm_t *_Nullable bs_gemm_neon(void);
const bs_gemm_t *_Nullable bs_gemm_avx2(void);
const bs_gemm_t *_Nullable bs_gemm_avx512(void);
const bs_bf16_gemm_t *_Nullable bs_bf16_gemm_avx512(void);
const bs_bf16_gemm_t *_Nullable bs_bf16_gemm_amx(void);

#pragma clang assume_nonnull end

#endif
