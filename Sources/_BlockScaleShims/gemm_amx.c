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
#include "bs_gemm_kernels.h"
#include "gemm_amx_decoding.h"

static void begin(void) {
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

static void end(void) { _tile_release(); }

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
    .panel = panel ? panel + first * depth * BS_BF16_TILE_COLUMNS : NULL,
    .depth = depth,
  };
}

/// The scales of the outputs of the strip that begins with `first`.
static bs_promotion_t strip_promotion(const bs_promotion_t *promotion, ptrdiff_t first) {
  bs_promotion_t own = *promotion;
  if (own.columns) own.columns += 2 * first * own.column_block_stride;
  return own;
}

static void multiply(
  const bs_bf16_operands_t *operands, const bs_promotion_t *promotion, float *c, bool accumulate
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
    strip.a = operands->a + operands->k0 * BS_BF16_TILE_ROWS;
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

static void decode_multiply(
  const bs_bf16_rows_t *rows, const bs_columns_t *columns, ptrdiff_t tiles, ptrdiff_t k0,
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
        const bool two = row + 1 < rows->tiles || !last_is_half(rows);
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

static const bs_bf16_gemm_t table = {
  .begin = begin,
  .end = end,
  .pack_rows = bs_pack_rows_bf16,
  .multiply = multiply,
  .decode_multiply = decode_multiply,
};

const bs_bf16_gemm_t *bs_bf16_gemm_amx(void) { return &table; }

#else

#include "bs_gemm_kernels.h"

const bs_bf16_gemm_t *bs_bf16_gemm_amx(void) { return 0; }

#endif
