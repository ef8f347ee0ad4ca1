// SPDX-License-Identifier: Apache-2.0

// Kernels of matrix products Y[m, n] = Σ X[m, k] · W[n, k].
//
// W lies in "columns": for each sixteen outputs n, 32-bit words hold consecutive k of one n, and the
// sixteen words of the same k lie side by side. A word holds 8 codes of 4 bits, 4 codes of 8 bits or
// 2 values of BF16, the lowest k in its low bits. This one arrangement feeds vector lanes that stand
// for outputs on every tier, and decodes into the pairs that AMX multiplies.
//
// Extents that a kernel is given are padded: k to 32, outputs to 16. Padding is zero.

#ifndef BLOCKSCALE_SHIMS_GEMM_H
#define BLOCKSCALE_SHIMS_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// What the codes of columns are.
typedef enum {
  BS_CODES_BF16,
  BS_CODES_E4M3,
  BS_CODES_E5M2,
  BS_CODES_E2M1,
} bs_codes_t;

/// How block scales are folded into codes while these are decoded.
typedef enum {
  /// Codes are decoded as they are.
  BS_SCALES_NONE,
  /// One scale for each output and each `scale_block` of k: sixteen bytes side by side.
  BS_SCALES_BY_OUTPUT,
  /// One scale for each k, the same for the sixteen outputs.
  BS_SCALES_BY_K,
} bs_scales_t;

/// Sixteen outputs of W.
typedef struct {
  const void *codes;
  /// E4M3 or E8M0.
  const uint8_t *scales;
  bs_codes_t code_format;
  bs_scales_t scale_place;
  /// The k that share a scale: 16 or 32.
  int32_t scale_block;
  bool scales_are_powers;
  /// What is subtracted from E8M0 codes, so that extreme scales stay inside BF16's range.
  int32_t power_offset;
} bs_columns_t;

/// Scales of a partial sum over `depth` k, applied in FP32 before it is added to the others.
typedef struct {
  /// The k of one partial sum, a multiple of 32; 0 if sums run over all k unscaled.
  ptrdiff_t depth;
  /// One for each row of the tile and partial sum, `row_stride` apart; NULL for ones.
  const float *rows;
  ptrdiff_t row_stride;
  /// One for each output of the tile and partial sum, `column_stride` apart for partial sums,
  /// sixteen outputs `column_block_stride` apart; NULL for ones.
  const float *columns;
  ptrdiff_t column_stride;
  ptrdiff_t column_block_stride;
  /// Whether each partial sum has one scale for all outputs of the tile.
  bool columns_are_equal;
} bs_promotion_t;

typedef enum { BS_VALUES_FP32, BS_VALUES_BF16, BS_VALUES_FP16 } bs_values_t;

/// Where a tile of sums goes, and what is done to it on the way:
/// `((sum · (scale · row scale)) · column scale + bias) + what is there`, rounded once.
typedef struct {
  void *values;
  /// Elements from one row to the next.
  ptrdiff_t stride;
  bs_values_t format;
  bool accumulate;
  float scale;
  const float *row_scales;
  const float *column_scales;
  const float *bias;
} bs_output_t;

/// Rows of X as they are stored, k side by side.
typedef struct {
  const void *codes;
  /// Bytes from one row to the next.
  ptrdiff_t row_bytes;
  /// The k that exist; those beyond are zero.
  ptrdiff_t depth;
  bs_codes_t code_format;
  /// E4M3 or E8M0 for every `scale_block` k, folded into the values; NULL for none.
  const uint8_t *scales;
  /// Scales from one row to the next; 0 if all rows share them.
  ptrdiff_t scale_row_stride;
  int32_t scale_block;
  bool scales_are_powers;
  int32_t power_offset;
} bs_rows_t;

/// Pairs of rows of BF16 values, whose columns are the outputs, as columns of sixteen outputs.
void bs_pack_row_pairs(
  const uint16_t *first, const uint16_t *second, ptrdiff_t outputs, uint32_t *words,
  ptrdiff_t block_stride);

/// The transpose of a matrix of 16-bit values; strides are in values.
void bs_transpose_16_bit(
  const uint16_t *from, ptrdiff_t from_stride, ptrdiff_t rows, ptrdiff_t columns, uint16_t *to,
  ptrdiff_t to_stride);

// MARK: a few rows

/// Up to sixteen values of a row as whole multiples of `2 * unit`, in three digits of eight bits with a sign.
typedef struct {
  /// By word of eight k, digit from the lowest, and parity of k: the digits of four k that lie two apart.
  uint32_t digits[2][3][2];
  /// -12 times the sum of the whole numbers, since codes are multiplied as numbers from 0 to 24.
  int32_t offset;
  float unit;
  /// The sixteen k that these are of.
  int32_t block;
  int32_t reserved;
} bs_digits_t;

/// Up to four rows that meet columns as they are stored.
typedef struct {
  /// FP32, `x_stride` apart.
  const float *x;
  ptrdiff_t x_stride;
  ptrdiff_t rows;
  /// The same rows in digits, `digits_stride` apart; NULL if there are none. Those of each sixteen k come first,
  /// then those of values that did not fit there.
  const bs_digits_t *digits;
  ptrdiff_t digits_stride;
  ptrdiff_t digits_count[4];
} bs_few_rows_t;

// MARK: pairs of BF16

// Kernels that multiply pairs of BF16 have one arrangement of operands, that of AMX: hardware tiles of 512
// values, sixteen rows of 32 k or sixteen pairs of k of sixteen outputs.

/// The rows and outputs of one tile of sums.
enum { BS_BF16_TILE_ROWS = 32, BS_BF16_TILE_COLUMNS = 32 };

/// Operands of one call.
typedef struct {
  /// Packed rows, from k = 0.
  const uint16_t *a;
  ptrdiff_t rows;
  /// For each tile of sums two groups of sixteen outputs.
  const bs_columns_t *columns;
  ptrdiff_t tiles;
  /// What is multiplied of them.
  ptrdiff_t k0, depth;
  /// The columns decoded, in an order that is these kernels' own; NULL for BF16, which needs none.
  uint16_t *panel;
  /// Whether the columns come from memory, which is read for the first time.
  bool is_first;
  /// As many rows that this thread reads next, brought into L2 meanwhile; and others that it soon reads.
  /// Both may be NULL.
  const void *next, *also_next;
} bs_bf16_operands_t;

/// Tiles of 32 packed rows, one after the other.
typedef struct {
  const uint16_t *a;
  ptrdiff_t tiles;
  /// From one tile to the next.
  ptrdiff_t tile_stride;
  /// The rows of the last tile.
  ptrdiff_t last_rows;
  /// From the scales of one tile's rows to those of the next.
  ptrdiff_t promotion_stride;
} bs_bf16_rows_t;

#endif
