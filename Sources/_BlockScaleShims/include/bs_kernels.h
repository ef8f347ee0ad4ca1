// SPDX-License-Identifier: Apache-2.0

// Kernels of quantization and dequantization, one table of functions for each tier.
//
// All of them work on runs: some adjacent values of one row, in blocks of `block` values that begin
// at the first one. `block` is a multiple of 16, or at least the length of the run; the last block
// may be partial. Nothing is read or written beyond a run, and no pointer need be aligned.

#ifndef BLOCKSCALE_SHIMS_KERNELS_H
#define BLOCKSCALE_SHIMS_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/// The formats of values.
enum { BS_FLOAT32 = 0, BS_BFLOAT16 = 1, BS_FLOAT16 = 2 };
/// The formats of codes.
enum { BS_E4M3 = 0, BS_E5M2 = 1, BS_E2M1 = 2 };
/// The formats of scales that kernels read.
enum { BS_FLOAT32_SCALES = 0, BS_E8M0_SCALES = 1, BS_E4M3_SCALES = 2 };
/// The signs of codes whose magnitude is zero.
enum {
  BS_ZERO_SIGN_KEPT = 0,
  BS_ZERO_SIGN_KEPT_UNLESS_INPUT_IS_ZERO = 1,
  BS_ZERO_SIGN_POSITIVE = 2,
  BS_ZERO_SIGN_NEGATIVE_FOR_ZERO_INPUT = 3,
};
/// How a tensor's own scale is applied.
enum { BS_NO_TENSOR_SCALE = 0, BS_TENSOR_MULTIPLIER = 1, BS_TENSOR_DIVISOR = 2 };

/// What all blocks of a tensor have in common.
typedef struct {
  /// The format of the values.
  uint8_t source;
  /// The format of the codes.
  uint8_t element;
  /// The sign of zero codes.
  uint8_t zero_sign;
  /// The format that a scaled value is rounded to before it is encoded.
  uint8_t intermediate;
  /// How `tensor_scale` is applied.
  uint8_t tensor_mode;
  float tensor_scale;
  /// How many bytes ahead of a run its memory is fetched into the cache, for the next run; or zero.
  uint32_t ahead;
  /// The magnitudes that a scaled value must exceed for each step of an E2M1 code.
  float thresholds[7];
} bs_rule_t;

/// How the values of a block are brought into the range of the codes.
///
/// By multiplication where `divisor` is zero; by division where `multiplier` is zero. Where neither
/// is, by a division that is refined from `multiplier`, the rounded reciprocal of `divisor`, and is
/// exact as long as no quotient comes near the ends of FP32's range.
typedef struct {
  float multiplier;
  float divisor;
  /// The smallest magnitude in the bits of the values for which the table holds, but for zero; larger than
  /// any where there is no table.
  uint32_t least;
  /// Whether all codes are +0; only kernels that encode in both orientations ask.
  uint32_t erases;
  /// What `tabulate_float8` has written; or null.
  const uint8_t *_Nullable table;
} bs_factor_t;

/// What a block of E2M1 codes needs to know of its scale, for 16-bit values.
typedef struct {
  /// A code is the number of the first seven magnitudes that a value's bits exceed. Each stands twice in its
  /// word; the eighth fills the row.
  uint32_t thresholds[8];
} bs_e2m1_entry_t;

/// The steps of a block's codes by cells, for 16-bit values up to the block's maximum.
typedef struct {
  /// The first two thresholds, each twice in its word.
  uint32_t first, second;
  /// Codes but for the step at the first threshold, by the distance of a value's bits from the second
  /// one, which is zero for those below. A cell covers 32 distances and holds at most one step. Bits 5
  /// to 7 of a byte plus a distance in its cell are the code.
  uint8_t bytes[16];
  /// The scale's code.
  uint8_t scale;
  /// Whether the cells are known.
  uint8_t is_known;
  uint8_t reserved[6];
} bs_e2m1_cells_t;

/// What is known of blocks by their largest magnitude.
typedef struct {
  /// The complement of a scale's code for each magnitude; zero where it is not known.
  const uint32_t *_Nonnull scales;
  const bs_e2m1_entry_t *_Nonnull entries;
  const bs_e2m1_cells_t *_Nonnull cells;
} bs_e2m1_table_t;

/// What an operation does with blocks of one largest magnitude.
typedef struct {
  /// The complement of the scale's code; zero where nothing is known yet.
  uint32_t scale;
  bs_factor_t factor;
} bs_choice_t;

/// The most columns of a strip, and how many bytes its groups of columns, 16 bytes of each row, lie apart: no
/// power of two, since they would fight for the same lines of the cache.
enum { BS_STRIP_COLUMNS = 1024, BS_STRIP_PITCH = 16 * 128 + 64 };
/// The rows of a strip that are looked at, and encoded, at a time.
enum { BS_STRIP_ROWS_AT_ONCE = 4 };
/// Whether a row of a strip has nothing before it, or nothing after it, whose codes share its lines of
/// memory and are written by the same thread.
enum { BS_STRIP_BEGINS = 1, BS_STRIP_ENDS = 2 };

/// A strip of 128 rows on its way to codes in both orientations, which go past the caches. All memory begins
/// at a multiple of 64 bytes.
typedef struct {
  /// Groups of columns that lie `BS_STRIP_PITCH` apart and hold row after row: eight columns of 16-bit values, or
  /// of 8-bit codes eight and the eight that are 32 further on.
  uint8_t *_Nonnull groups;
  /// The largest and smallest magnitudes of columns so far.
  uint16_t *_Nonnull column_maxima;
  uint16_t *_Nonnull column_minima;
  /// Codes that do not fill a line of memory yet, 64 bytes for each row and for each column.
  uint8_t *_Nonnull row_rests;
  uint8_t *_Nonnull column_rests;
  /// By magnitude, which has fifteen bits.
  const bs_choice_t *_Nonnull known;
  /// The bytes of a scale.
  size_t scale_bytes;
} bs_strip_t;

/// Error sums, lane by lane of sixteen.
typedef struct {
  double signal[16];
  double error[16];
  /// Bits of the largest absolute differences.
  int32_t maximum[16];
  /// Counts, negated.
  int32_t saturated[16];
  int32_t underflowed[16];
  int32_t non_finite[16];
  int64_t count;
} bs_errors_t;

/// The kernels of one tier.
typedef struct {
  /// The largest magnitude of a run of 16-bit or 32-bit values, as bits without sign.
  uint32_t (*_Nonnull maximum)(size_t width, const void *_Nonnull values, size_t count);

  /// The largest magnitude of every block of a run.
  void (*_Nonnull block_maxima)(
    size_t width, const void *_Nonnull values, size_t count, size_t block,
    uint32_t *_Nonnull maxima);

  /// Raises `maxima`, as wide as the values and at first zero, to the largest magnitude of every
  /// column of some rows that lie `stride` bytes apart.
  void (*_Nonnull column_maxima)(
    size_t width, const void *_Nonnull values, size_t stride, size_t rows, size_t columns,
    void *_Nonnull maxima);

  /// Encodes a run whose codes begin on a byte.
  void (*_Nonnull encode)(
    const bs_rule_t *_Nonnull rule, const void *_Nonnull values, size_t count, size_t block,
    const bs_factor_t *_Nonnull factors, uint8_t *_Nonnull codes);

  /// Tabulates 8-bit codes for values up to `maximum`, a magnitude in their bits, which `encode` then
  /// looks up. Null where a tier gains nothing by it.
  ///
  /// `table` has 128 bytes, which the factor then refers to. Returns whether there is a table for these
  /// formats, this factor and this maximum.
  int (*_Nullable tabulate_float8)(
    const bs_rule_t *_Nonnull rule, uint32_t maximum, bs_factor_t *_Nonnull factor,
    uint8_t *_Nonnull table);

  /// Finds scales and E2M1 codes of a run of 16-bit values whose blocks have the given maxima; scales
  /// take one byte each.
  ///
  /// Stops before a block whose scale is not known. Returns the number of finished blocks.
  size_t (*_Nonnull quantize_e2m1)(
    const bs_rule_t *_Nonnull rule, const uint16_t *_Nonnull values, size_t count, size_t block,
    const uint32_t *_Nonnull maxima, const bs_e2m1_table_t *_Nonnull table,
    uint8_t *_Nonnull codes, uint8_t *_Nonnull scales);

  /// Adds up how far codes, as `encode` makes them, lie from the values of some rows, `stride` and `code_stride`
  /// bytes apart, for which the values of their blocks' scales are needed. The code of NaN may only stand for a
  /// value that is not finite, or under a scale beyond 2^-90 to 2^100.
  ///
  /// A sum in FP32 ends after 128 values of a block, after as many whole blocks as 128 values have, and with a
  /// row.
  void (*_Nonnull measure)(
    const bs_rule_t *_Nonnull rule, const void *_Nonnull values, size_t stride, size_t rows,
    size_t count, size_t block, const float *_Nonnull scales, const uint8_t *_Nonnull codes,
    size_t code_stride, bs_errors_t *_Nonnull errors);

  /// Encodes `BS_STRIP_ROWS_AT_ONCE` rows of BF16 values, `stride` bytes apart, as blocks of 128 E4M3 codes,
  /// stores their scales, and keeps the values as rows `row`, a multiple of as many, and those that follow of a
  /// strip. `ahead` of the rule is zero. Rows of codes, here and below, lie a multiple of 64 bytes apart.
  ///
  /// Begins with block `done` of each row and stops before blocks of which one's scale is not known, whose
  /// largest magnitudes it then tells, as many as there are rows; or goes on with `own`, the factors of the
  /// rows' blocks `done`, whose scales are stored already. Returns the number of finished blocks of each row.
  ///
  /// `columns` is a multiple of 128. Null where a tier has no kernels for both orientations; the next four
  /// are there if this one is.
  size_t (*_Nullable encode_strip_rows)(
    const bs_rule_t *_Nonnull rule, const bs_strip_t *_Nonnull strip, const void *_Nonnull values,
    size_t stride, size_t row, size_t columns, size_t done, const bs_factor_t *_Nullable own,
    uint8_t *_Nonnull scales, size_t scale_stride, uint8_t *_Nonnull codes, size_t code_stride,
    int edges, uint32_t *_Nonnull maxima);

  /// Encodes the columns of a full strip as blocks of 128 codes of rows of the transpose, and stores their
  /// scales one after the other. What does not fill a line of memory waits for the next strip.
  ///
  /// Stops before eight columns, counted from a multiple of eight, of which one's scale is not known; or
  /// goes on with `own` for the first eight, whose scales are stored already. Returns the number of
  /// finished columns. `is_first` tells that no codes wait.
  size_t (*_Nullable encode_strip_columns)(
    const bs_rule_t *_Nonnull rule, const bs_strip_t *_Nonnull strip, size_t columns, size_t done,
    const bs_factor_t *_Nullable own, uint8_t *_Nonnull scales, uint8_t *_Nonnull codes, size_t stride,
    int is_first);

  /// Encodes `BS_STRIP_ROWS_AT_ONCE` rows of values, `stride` bytes apart, as 8-bit codes under the factors of
  /// blocks of 128 columns, and keeps the codes as rows `row` and those that follow of a strip; otherwise as
  /// `encode_strip_rows`.
  void (*_Nullable encode_strip_squares)(
    const bs_rule_t *_Nonnull rule, const bs_strip_t *_Nonnull strip, const void *_Nonnull values,
    size_t stride, size_t row, size_t columns, const bs_factor_t *_Nonnull factors,
    uint8_t *_Nonnull codes, size_t code_stride, int edges);

  /// Writes the transpose of a full strip of codes, as `encode_strip_columns` does that of values.
  void (*_Nullable turn_strip_squares)(
    const bs_strip_t *_Nonnull strip, size_t columns, uint8_t *_Nonnull codes, size_t stride,
    int is_first);

  /// Writes the codes that still wait, those of the first column up to `ends`, and orders all codes before
  /// what the thread does next.
  void (*_Nullable finish_strip_columns)(
    const bs_strip_t *_Nonnull strip, size_t columns, uint8_t *_Nonnull ends, size_t stride);

  /// Transposes a matrix of bytes whose rows lie `stride` bytes apart.
  void (*_Nonnull transpose_bytes)(
    const uint8_t *_Nonnull bytes, size_t stride, size_t rows, size_t columns,
    uint8_t *_Nonnull result, size_t result_stride);

  /// Transposes a matrix of values of two or four bytes whose rows lie `stride` bytes apart.
  void (*_Nonnull transpose_values)(
    size_t width, const void *_Nonnull values, size_t stride, size_t rows, size_t columns,
    void *_Nonnull result, size_t result_stride);

  /// Writes rows of `row_bytes` bytes, each joined from runs of `run` bytes. The first runs of all rows
  /// lie one after the other, then after `stride` bytes from their beginning the second ones, and so on.
  ///
  /// Rows of one run may go past the caches, where a tier can.
  void (*_Nonnull join_runs)(
    const uint8_t *_Nonnull runs, size_t run, size_t stride, size_t rows, size_t row_bytes,
    int is_streamed, uint8_t *_Nonnull result, size_t result_stride);

  /// Converts scales of a format to FP32. NaN loses its payload.
  void (*_Nonnull load_scales)(
    int format, const void *_Nonnull scales, size_t count, float *_Nonnull values);

  /// Decodes a run of 8-bit codes to values of the format `rule->source`. Scales that are NaN must
  /// have no payload.
  void (*_Nonnull decode_float8)(
    const bs_rule_t *_Nonnull rule, const uint8_t *_Nonnull codes, size_t count, size_t block,
    const float *_Nonnull scales, void *_Nonnull values);

  /// Decodes a run of E2M1 codes to values of `width` bytes.
  ///
  /// `planes` holds `width` times 16 bytes for each code of a scale: the lowest bytes of the sixteen
  /// values that codes stand for, then the next ones.
  void (*_Nonnull decode_e2m1)(
    size_t width, const uint8_t *_Nonnull codes, size_t count, size_t block,
    const uint8_t *_Nonnull scales, const uint8_t *_Nonnull planes, void *_Nonnull values);
} bs_kernels_t;

/// The kernels of each tier; null where the architecture has no such tier. Whether they may be called
/// is for `bs_cpu_features` to say.
const bs_kernels_t *_Nullable bs_kernels_avx512(void);
const bs_kernels_t *_Nullable bs_kernels_avx2(void);
const bs_kernels_t *_Nullable bs_kernels_neon(void);

#endif
