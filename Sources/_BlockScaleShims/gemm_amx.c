// SPDX-License-Identifier: Apache-2.0

// Products on AMX tiles. A hardware tile holds 16 rows of X by 32 k, or 16 pairs of k by 16 outputs;
// both are 1024 contiguous bytes. Two of the same k lie side by side, for 32 rows or 32 outputs: what a
// run of products reads is contiguous, in the order of its reading.

#if defined(__x86_64__)

#include <immintrin.h>

#pragma clang attribute push( \
  __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx2,fma," \
                        "f16c,prfchw"), \
                 min_vector_width(512))), \
  apply_to = function)

#define BS_HAS_FMA
#include "gemm_amx_strips.h"
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

void bs_pack_rows_amx(
  const bs_rows_t *source, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t padded_depth, uint16_t *tiles
) {
#define BS_CASE(format)                                                                            \
  case format:                                                                                     \
    for (ptrdiff_t r = 0; r < (rows > 16 ? 32 : 16); r++) {                                        \
      for (ptrdiff_t k = 0; k < padded_depth; k += 32) {                                           \
        uint16_t *to = tiles + k / 32 * PAIR + r * 32;                                             \
        if (r >= rows || k >= source->depth) {                                                     \
          memset(to, 0, 64);                                                                       \
          continue;                                                                                \
        }                                                                                          \
        if (format == BS_CODES_BF16 && !source->scales && k + 32 <= source->depth) {               \
          const uint8_t *codes = (const uint8_t *)source->codes + (row + r) * source->row_bytes;   \
          memcpy(to, codes + 2 * k, 64);                                                           \
          continue;                                                                                \
        }                                                                                          \
        const f32x16 low = row_sixteen(format, source, row + r, k);                                \
        const f32x16 high =                                                                        \
          k + 16 < source->depth ? row_sixteen(format, source, row + r, k + 16) : splat(0);   \
        const u16x16 halves[2] = {                                                                 \
          __builtin_convertvector((u32x16)low >> 16, u16x16),                                      \
          __builtin_convertvector((u32x16)high >> 16, u16x16)};                                    \
        memcpy(to, halves, 64);                                                                    \
      }                                                                                            \
    }                                                                                              \
    return;
  BS_FOR_ROW_FORMAT(source, BS_CASE)
#undef BS_CASE
}

// MARK: strips

// Tiles of outputs whose sums stay in the first-level cache, and the k of their rows that do so.
enum { STRIP_TILES = 4, RUN_DEPTH = 256 };

void bs_multiply_amx(
  const bs_amx_operands_t *operands, const bs_promotion_t *promotion, float *c, bool accumulate
) {
  const bool two = operands->rows > 16, decodes = operands->is_first && operands->panel;
  const ptrdiff_t depth = operands->depth;
  ptrdiff_t run = promotion->depth ? promotion->depth : RUN_DEPTH;
  // Columns that come from memory as they are, are read in the order of their addresses.
  if (!promotion->depth && operands->is_first && !operands->panel) run = depth;
  ahead_t ahead = {
    .next = operands->next ? operands->next : (const void *)operands->a,
    .next_step = operands->next ? 128 : 0};
  for (ptrdiff_t first = 0; first < operands->tiles; first += STRIP_TILES) {
    const ptrdiff_t left = operands->tiles - first;
    const strip_t strip = {
      .a = operands->a + operands->k0 / 32 * PAIR,
      .columns = operands->columns + 2 * first,
      .k0 = operands->k0,
      .tiles = left < STRIP_TILES ? left : STRIP_TILES,
      .panel = operands->panel ? operands->panel + first * depth * BS_AMX_TILE_COLUMNS : NULL,
      .depth = depth,
      .run = run,
      .output = operands->output
        ? (const char *)operands->output + first * operands->output_tile_bytes
        : NULL,
      .rows = operands->rows,
      .output_row_bytes = operands->output_row_bytes,
      .output_tile_bytes = operands->output_tile_bytes,
    };
    float *sums = c + first * SUMS;
    if (promotion->depth) {
      bs_promotion_t own = *promotion;
      if (own.columns) own.columns += 2 * first * own.column_block_stride;
      if (decodes) decode_strip(&strip);
      const bool equal = !own.columns || own.columns_are_equal;
      if (equal && two) {
        multiply_parts(true, true, &strip, &ahead, &own, sums, accumulate);
      } else if (two) {
        multiply_parts(false, true, &strip, &ahead, &own, sums, accumulate);
      } else {
        multiply_parts(equal, false, &strip, &ahead, &own, sums, accumulate);
      }
      continue;
    }
    if (!decodes) {
      multiply_runs(two, &strip, &ahead, sums, accumulate);
      continue;
    }
#define BS_CASE(format, place)                                                                     \
  case format * 4 + place:                                                                         \
    if (two) {                                                                                     \
      decode_multiply(format, place, true, &strip, sums, accumulate);                              \
    } else {                                                                                       \
      decode_multiply(format, place, false, &strip, sums, accumulate);                             \
    }                                                                                              \
    break;
    BS_FOR_FORMAT(strip.columns, BS_CASE)
#undef BS_CASE
  }
}

// MARK: a few rows

// One hardware tile, for each format.
#define BS_DECODE_TILE(format, place)                                                              \
  static void decode_tile_##format##_##place(                                                      \
    const bs_columns_t *columns, ptrdiff_t k, uint16_t *tile                                       \
  ) {                                                                                              \
    decode_tile(format, place, columns, k, tile);                                                  \
  }
BS_DECODE_TILE(BS_CODES_E4M3, BS_SCALES_NONE)
BS_DECODE_TILE(BS_CODES_E4M3, BS_SCALES_BY_OUTPUT)
BS_DECODE_TILE(BS_CODES_E4M3, BS_SCALES_BY_K)
BS_DECODE_TILE(BS_CODES_E5M2, BS_SCALES_NONE)
BS_DECODE_TILE(BS_CODES_E5M2, BS_SCALES_BY_OUTPUT)
BS_DECODE_TILE(BS_CODES_E5M2, BS_SCALES_BY_K)
BS_DECODE_TILE(BS_CODES_E2M1, BS_SCALES_NONE)
BS_DECODE_TILE(BS_CODES_E2M1, BS_SCALES_BY_OUTPUT)
BS_DECODE_TILE(BS_CODES_E2M1, BS_SCALES_BY_K)

/// `equal` is a constant where this is inlined.
BS_INLINE void decode_multiply_parts(
  bool equal, const bs_amx_rows_t *rows, const bs_columns_t *columns, ptrdiff_t tiles, ptrdiff_t k0,
  ptrdiff_t depth, const bs_promotion_t *promotion, uint16_t *panel, float *c, bool accumulate
) {
  const ptrdiff_t steps = depth / 32;
  const ptrdiff_t part_steps = promotion->depth / 32 < steps ? promotion->depth / 32 : steps;
  ahead_t ahead = {.columns = columns, .k = k0};
#define BS_CASE(format, place)                                                                     \
  case format * 4 + place: ahead.decode = decode_tile_##format##_##place; break;
  BS_FOR_FORMAT(columns, BS_CASE)
#undef BS_CASE
  // The first part has no other behind which it could be decoded.
  ahead.panel = panel;
  decode_ahead(&ahead, 2 * (int)part_steps);
  part_t before;
  begin_parts(&before, c, tiles * rows->tiles, accumulate);
  const bool two = rows->tiles > 1 || !rows->last_is_half;
  ptrdiff_t turn = 0;
  for (ptrdiff_t tile = 0; tile < tiles; tile++) {
    ptrdiff_t part = 0;
    for (ptrdiff_t first = 0; first < steps; first += part_steps, part++) {
      const int count = (int)(first + part_steps < steps ? part_steps : steps - first);
      const uint16_t *b0 = panel + turn * part_steps * PAIR, *b1 = b0 + TILE;
      turn ^= 1;
      const bool tile_ends = first + count == steps;
      const ptrdiff_t after = tile_ends ? 0 : first + count;
      ahead.columns = columns + 2 * (tile + tile_ends);
      ahead.k = k0 + 32 * after;
      ahead.panel = panel + turn * part_steps * PAIR;
      ahead.done = 0;
      int units = 2 * (int)(after + part_steps < steps ? part_steps : steps - after);
      if (tile_ends && tile + 1 == tiles) units = 0;
      for (ptrdiff_t row = 0; row < rows->tiles; row++) {
        const uint16_t *a = rows->a + row * rows->tile_stride + first * PAIR;
        const int until = units * (int)(row + 1) / (int)rows->tiles;
        const bool lower = row + 1 < rows->tiles || !rows->last_is_half;
        if (!two) {
          multiply_part(
            equal, false, false, ROWS_STREAM, count, a, b0, b1, PAIR, &before, &ahead, until);
        } else if (lower) {
          multiply_part(
            equal, true, true, ROWS_STREAM, count, a, b0, b1, PAIR, &before, &ahead, until);
        } else {
          multiply_part(
            equal, true, false, ROWS_STREAM, count, a, b0, b1, PAIR, &before, &ahead, until);
        }
        bs_promotion_t own = *promotion;
        if (own.rows) own.rows += row * rows->promotion_stride;
        finish_part(
          &before, &own, equal, part, tile,
          c + (row * tiles + tile) * SUMS);
      }
    }
  }
  end_parts(&before, equal, two);
}

void bs_decode_multiply_parts_amx(
  const bs_amx_rows_t *rows, const bs_columns_t *columns, ptrdiff_t tiles, ptrdiff_t k0,
  ptrdiff_t depth, const bs_promotion_t *promotion, uint16_t *panel, float *c, bool accumulate
) {
  if (!promotion->columns || promotion->columns_are_equal) {
    decode_multiply_parts(
      true, rows, columns, tiles, k0, depth, promotion, panel, c, accumulate);
  } else {
    decode_multiply_parts(
      false, rows, columns, tiles, k0, depth, promotion, panel, c, accumulate);
  }
}

#pragma clang attribute pop

#else
typedef int bs_no_amx;
#endif
