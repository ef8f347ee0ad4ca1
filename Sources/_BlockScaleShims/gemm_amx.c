// SPDX-License-Identifier: Apache-2.0

// Products on AMX tiles. A hardware tile holds 16 rows of X by 32 k, or 16 pairs of k by 16 outputs;
// both are 1024 contiguous bytes. How they follow one another, `gemm_amx_tiles.h` says.

#if defined(__x86_64__)

#include <immintrin.h>

#pragma clang attribute push( \
  __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx2,fma," \
                        "f16c,prfchw"), \
                 min_vector_width(512))), \
  apply_to = function)

#define BS_HAS_FMA
#include "gemm_amx_decoding.h"
#include "gemm_rows.h"

void bs_begin_amx(void) {
  // Palette 1: eight tiles of 16 rows of 64 bytes.
  struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } configuration;
  memset(&configuration, 0, sizeof configuration);
  configuration.palette = 1;
  for (int tile = 0; tile < 8; tile++) {
    configuration.row_bytes[tile] = 64;
    configuration.rows[tile] = 16;
  }
  _tile_loadconfig(&configuration);
}

void bs_end_amx(void) { _tile_release(); }

// MARK: rows

/// 32 k of a row, as far as they exist.
BS_INLINE void pack_row_step(
  bs_codes_t format, const bs_rows_t *source, ptrdiff_t row, ptrdiff_t k, uint16_t *to
) {
  if (format == BS_CODES_BF16 && !source->scales && k + 32 <= source->depth) {
    memcpy(to, (const uint8_t *)source->codes + row * source->row_bytes + 2 * k, 64);
    return;
  }
  const f32x16 low = row_sixteen(format, source, row, k);
  const f32x16 high =
    k + 16 < source->depth ? row_sixteen(format, source, row, k + 16) : splat(0);
  const u16x16 halves[2] = {
    __builtin_convertvector((u32x16)low >> 16, u16x16),
    __builtin_convertvector((u32x16)high >> 16, u16x16)};
  memcpy(to, halves, 64);
}

/// `format` is a constant where this is inlined.
BS_INLINE void pack_rows(
  bs_codes_t format, const bs_rows_t *source, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t padded_depth,
  uint16_t *tiles
) {
  const ptrdiff_t code_bits = format == BS_CODES_BF16 ? 16 : format == BS_CODES_E2M1 ? 4 : 8;
  const ptrdiff_t chunk_bytes = CHUNK_DEPTH * code_bits / 8;
  const bool decodes_bytes =
    (format == BS_CODES_E4M3 || format == BS_CODES_E5M2) && !source->scales;
  // All rows of a chunk before the next: what is written stays in the first-level cache until it is whole.
  for (ptrdiff_t chunk = 0; chunk < chunk_count(padded_depth); chunk++) {
    const int steps = chunk_steps(padded_depth, chunk);
    const ptrdiff_t first = chunk * CHUNK_DEPTH, end = first + 32 * steps;
    for (ptrdiff_t r = 0; r < (rows > 16 ? 32 : 16); r++) {
      const uint8_t *codes = (const uint8_t *)source->codes + (row + r) * source->row_bytes;
      uint16_t *line = tiles + chunk * CHUNK + (r / 16 * steps * 16 + r % 16) * 32;
      // The next chunk's lines of the row, which may lie on a page of its own, and of its tiles.
      const uint8_t *ahead = codes + (chunk + 1) * chunk_bytes;
      for (ptrdiff_t byte = 0; byte < chunk_bytes; byte += 64) __builtin_prefetch(ahead + byte);
      for (int step = 0; step < steps; step++) __builtin_prefetch(line + CHUNK + step * TILE, 1);
      ptrdiff_t k = first;
      for (; decodes_bytes && r < rows && k + 64 <= end && k + 64 <= source->depth; k += 64) {
        u32x16 halves[2];
        decode_fp8_sequence(format, codes + k, halves);
        STORE(line + (k - first) / 32 * TILE, halves[0]);
        STORE(line + ((k - first) / 32 + 1) * TILE, halves[1]);
      }
      for (; k < end; k += 32) {
        uint16_t *to = line + (k - first) / 32 * TILE;
        if (r < rows && k < source->depth) {
          pack_row_step(format, source, row + r, k, to);
        } else {
          memset(to, 0, 64);
        }
      }
    }
  }
}

void bs_pack_rows_amx(
  const bs_rows_t *source, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t padded_depth, uint16_t *tiles
) {
#define BS_CASE(format)                                                                            \
  case format: pack_rows(format, source, row, rows, padded_depth, tiles); return;
  BS_FOR_ROW_FORMAT(source, BS_CASE)
#undef BS_CASE
}

// MARK: strips

// Tiles of outputs that share their rows in the first-level cache, and the chunks of these rows: 16 KB of sums
// and 32 KB of rows, or 8 KB of rows where sums take scales after each chunk.
enum { STRIP_TILES = 4, RUN_CHUNKS = 4 };

/// The strip of all of a call's tiles of outputs that begins with `first`.
static strip_t strip_from(
  ptrdiff_t first, ptrdiff_t tiles, const bs_columns_t *columns, ptrdiff_t k0, ptrdiff_t depth,
  uint16_t *panel
) {
  return (strip_t){
    .columns = columns + 2 * first,
    .k0 = k0,
    .tiles = tiles - first < STRIP_TILES ? tiles - first : STRIP_TILES,
    .panel = panel ? panel + first * depth * BS_AMX_TILE_COLUMNS : NULL,
    .depth = depth,
  };
}

/// The scales of the outputs of the strip that begins with `first`.
static bs_promotion_t strip_promotion(const bs_promotion_t *promotion, ptrdiff_t first) {
  bs_promotion_t own = *promotion;
  if (own.columns) own.columns += 2 * first * own.column_block_stride;
  return own;
}

void bs_multiply_amx(
  const bs_amx_operands_t *operands, const bs_promotion_t *promotion, float *c, bool accumulate
) {
  const bool two = operands->rows > 16;
  const bool equal = !promotion->columns || promotion->columns_are_equal;
  const ptrdiff_t depth = operands->depth;
  // From here to the end of the next rows the products with all tiles take one line of each place or, if
  // they are few, two of one.
  const bool few = operands->tiles <= STRIP_TILES;
  const char *next = operands->next ? operands->next : (const void *)operands->a;
  beside_t beside = {
    .next = {next, few && operands->next ? next + 64 : operands->also_next},
    .next_step = !operands->next ? 0 : few ? 128 : 64};
  // Columns that come from memory as they are, are read in the order of their addresses.
  const bool by_address = operands->is_first && !operands->panel;
  const ptrdiff_t run_chunks = by_address ? chunk_count(depth) : RUN_CHUNKS;
  for (ptrdiff_t first = 0; first < operands->tiles; first += STRIP_TILES) {
    strip_t strip = strip_from(
      first, operands->tiles, operands->columns, operands->k0, depth, operands->panel);
    strip.a = operands->a + operands->k0 * BS_AMX_TILE_ROWS;
    float *sums = c + first * SUMS;
    const bs_promotion_t own = strip_promotion(promotion, first);
    if (!promotion->depth && two) {
      multiply_runs(ALL_ROWS, &strip, run_chunks, &beside, sums, accumulate);
    } else if (!promotion->depth) {
      multiply_runs(HALF_ROWS, &strip, run_chunks, &beside, sums, accumulate);
    } else if (promotion->depth != CHUNK_DEPTH) {
      multiply_uneven_parts(two, &strip, &own, sums, accumulate);
    } else if (!two) {
      multiply_parts(false, HALF_ROWS, &strip, &beside, &own, sums, accumulate);
    } else if (equal) {
      multiply_parts(true, ALL_ROWS, &strip, &beside, &own, sums, accumulate);
    } else {
      multiply_parts(false, ALL_ROWS, &strip, &beside, &own, sums, accumulate);
    }
  }
}

void bs_decode_multiply_amx(
  const bs_amx_rows_t *rows, const bs_columns_t *columns, ptrdiff_t tiles, ptrdiff_t k0,
  ptrdiff_t depth, const bs_promotion_t *promotion, uint16_t *panel, bool keeps, float *c,
  bool accumulate
) {
  const bool equal = !promotion->columns || promotion->columns_are_equal;
  const ptrdiff_t c_stride = tiles * SUMS;
  for (ptrdiff_t first = 0; first < tiles; first += STRIP_TILES) {
    strip_t strip = strip_from(first, tiles, columns, k0, depth, panel);
    float *sums = c + first * SUMS;
    const bs_promotion_t own = strip_promotion(promotion, first);
    if (promotion->depth && promotion->depth != CHUNK_DEPTH) {
      decode_strip(&strip);
      for (ptrdiff_t row = 0; row < rows->tiles; row++) {
        strip.a = rows->a + row * rows->tile_stride;
        bs_promotion_t of_row = own;
        if (own.rows) of_row.rows += row * rows->promotion_stride;
        const bool two = row + 1 < rows->tiles || !rows->last_is_half;
        multiply_uneven_parts(two, &strip, &of_row, sums + row * c_stride, accumulate);
      }
      continue;
    }
    if (!keeps) strip.panel = panel;
    if (!promotion->depth) {
      decode_multiply_runs(keeps, rows, &strip, sums, c_stride, accumulate);
    } else if (equal) {
      decode_multiply_parts(true, keeps, rows, &strip, &own, sums, c_stride, accumulate);
    } else {
      decode_multiply_parts(false, keeps, rows, &strip, &own, sums, c_stride, accumulate);
    }
  }
}

#pragma clang attribute pop

#else
typedef int bs_no_amx;
#endif
