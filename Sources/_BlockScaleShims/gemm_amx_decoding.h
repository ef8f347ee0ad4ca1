// SPDX-License-Identifier: Apache-2.0

// Products of some tiles of rows with columns that are not decoded yet: those of the next chunk of k are
// while these are multiplied. The more rows, the less of the decoding shows.

#ifndef BLOCKSCALE_GEMM_AMX_DECODING_H
#define BLOCKSCALE_GEMM_AMX_DECODING_H

#include "gemm_amx_strips.h"

// Half of a hardware tile, for each format.
#define BS_DECODE_PIECE(format, place)                                                             \
  static void decode_piece_##format##_##place(                                                     \
    const bs_columns_t *columns, ptrdiff_t k, uint16_t *half                                       \
  ) {                                                                                              \
    decode_half_tile(format, place, columns, k, half);                                             \
  }
BS_DECODE_PIECE(BS_CODES_E4M3, BS_SCALES_NONE)
BS_DECODE_PIECE(BS_CODES_E4M3, BS_SCALES_BY_OUTPUT)
BS_DECODE_PIECE(BS_CODES_E4M3, BS_SCALES_BY_K)
BS_DECODE_PIECE(BS_CODES_E5M2, BS_SCALES_NONE)
BS_DECODE_PIECE(BS_CODES_E5M2, BS_SCALES_BY_OUTPUT)
BS_DECODE_PIECE(BS_CODES_E5M2, BS_SCALES_BY_K)
BS_DECODE_PIECE(BS_CODES_E2M1, BS_SCALES_NONE)
BS_DECODE_PIECE(BS_CODES_E2M1, BS_SCALES_BY_OUTPUT)
BS_DECODE_PIECE(BS_CODES_E2M1, BS_SCALES_BY_K)

/// Where a strip's chunks go through: one tile of outputs after the other, since memory is read best in the
/// order of its addresses.
typedef struct {
  const strip_t *strip;
  /// Whether the panel holds all of the strip's columns, in the order in which others read them, or those
  /// of two chunks.
  bool keeps;
  ptrdiff_t tile, chunk, chunks;
} walk_t;

BS_INLINE uint16_t *walk_panel(const walk_t *walk, ptrdiff_t chunk, ptrdiff_t tile) {
  if (walk->keeps) return panel_chunk(walk->strip, chunk, tile);
  const ptrdiff_t turn = (tile * walk->chunks + chunk) % 2;
  return walk->strip->panel + turn * chunk_steps(walk->strip->depth, 0) * 2 * TILE;
}

/// Decodes the first chunk, which has no other behind which it could be.
BS_INLINE walk_t begin_walk(const strip_t *strip, bool keeps, int row_tiles, beside_t *beside) {
  const walk_t walk = {.strip = strip, .keeps = keeps, .chunks = chunk_count(strip->depth)};
  decoding_t *decoding = &beside->decoding;
#define BS_CASE(format, place)                                                                     \
  case format * 4 + place: decoding->decode = decode_piece_##format##_##place; break;
  BS_FOR_FORMAT(strip->columns, BS_CASE)
#undef BS_CASE
  decoding->row_tiles = row_tiles;
  decoding->columns = strip->columns;
  decoding->k = strip->k0;
  decoding->chunk = walk_panel(&walk, 0, 0);
  decoding->steps = chunk_steps(strip->depth, 0);
  decode_chunk(decoding);
  return walk;
}

/// What is to be decoded beside this chunk's products. Where a chunk is not whole, that comes at once.
BS_INLINE void decode_next(const walk_t *walk, beside_t *beside) {
  const strip_t *strip = walk->strip;
  const bool tile_ends = walk->chunk + 1 == walk->chunks;
  const ptrdiff_t tile = walk->tile + tile_ends, chunk = tile_ends ? 0 : walk->chunk + 1;
  decoding_t *decoding = &beside->decoding;
  decoding->is_beside = false;
  if (tile == strip->tiles) return;
  decoding->columns = strip->columns + 2 * tile;
  decoding->k = strip->k0 + chunk * CHUNK_DEPTH;
  decoding->chunk = walk_panel(walk, chunk, tile);
  decoding->steps = chunk_steps(strip->depth, chunk);
  decoding->is_beside =
    decoding->steps == CHUNK_STEPS && chunk_steps(strip->depth, walk->chunk) == CHUNK_STEPS;
  if (!decoding->is_beside) decode_chunk(decoding);
}

BS_INLINE bool last_is_half(const bs_bf16_rows_t *rows) { return rows->last_rows <= 16; }

/// Calls `body(rows)` with the rows of a tile as a constant.
#define BS_FOR_ROWS(all, row, body)                                                                \
  if ((all)->tiles == 1 && last_is_half(all)) {                                                  \
    body(HALF_ROWS)                                                                                \
  } else if ((row) + 1 < (all)->tiles || !last_is_half(all)) {                                   \
    body(ALL_ROWS)                                                                                 \
  } else {                                                                                         \
    body(LAST_HALF_ROWS)                                                                           \
  }

/// Sums in parts of 128 k that take scales. `equal` is a constant where this is inlined.
BS_INLINE void decode_multiply_parts(
  bool equal, bool keeps, const bs_bf16_rows_t *rows, const strip_t *strip,
  const bs_promotion_t *promotion, float *c, ptrdiff_t c_stride, bool accumulate
) {
  beside_t beside = {.next_step = 0};
  part_t before;
  begin_parts(&before, c);
  if (!accumulate) {
    for (ptrdiff_t row = 0; row < rows->tiles; row++) {
      memset(c + row * c_stride, 0, strip->tiles * SUMS * sizeof *c);
    }
  }
  walk_t walk = begin_walk(strip, keeps, (int)rows->tiles, &beside);
  for (walk.tile = 0; walk.tile < strip->tiles; walk.tile++) {
    for (walk.chunk = 0; walk.chunk < walk.chunks; walk.chunk++) {
      const uint16_t *b = walk_panel(&walk, walk.chunk, walk.tile);
      decode_next(&walk, &beside);
      for (ptrdiff_t row = 0; row < rows->tiles; row++) {
        beside.decoding.row = (int)row;
        const chunk_t chunk =
          chunk_of(rows->a + row * rows->tile_stride, b, strip->depth, walk.chunk);
#define BODY(has) multiply_part(equal, ALONE, has, ROWS_STREAM, &chunk, &before, &beside);
        BS_FOR_ROWS(rows, row, BODY)
#undef BODY
        bs_promotion_t own = *promotion;
        if (own.rows) own.rows += row * rows->promotion_stride;
        finish_part(
          &before, &own, equal, ALONE, walk.chunk, walk.tile, c + row * c_stride + walk.tile * SUMS);
      }
    }
  }
  end_parts(&before, equal, ALONE, rows->tiles > 1 || !last_is_half(rows));
}

/// Sums over all k of a call. Those of one tile of rows stay in registers from one chunk to the next.
BS_INLINE void decode_multiply_runs(
  bool keeps, const bs_bf16_rows_t *rows, const strip_t *strip, float *sums, ptrdiff_t c_stride,
  bool accumulate
) {
  beside_t beside = {.next_step = 0};
  run_t run = {.before = NULL};
  walk_t walk = begin_walk(strip, keeps, (int)rows->tiles, &beside);
  for (walk.tile = 0; walk.tile < strip->tiles; walk.tile++) {
    for (walk.chunk = 0; walk.chunk < walk.chunks; walk.chunk++) {
      const uint16_t *b = walk_panel(&walk, walk.chunk, walk.tile);
      decode_next(&walk, &beside);
      const bool begins = rows->tiles > 1 || walk.chunk == 0;
      run.adds = accumulate || walk.chunk > 0;
      for (ptrdiff_t row = 0; row < rows->tiles; row++) {
        beside.decoding.row = (int)row;
        const chunk_t chunk =
          chunk_of(rows->a + row * rows->tile_stride, b, strip->depth, walk.chunk);
        run.c = sums + row * c_stride + walk.tile * SUMS;
#define BODY(has) multiply_run_chunk(has, ROWS_STREAM, begins, &chunk, &run, &beside);
        BS_FOR_ROWS(rows, row, BODY)
#undef BODY
        run.before = run.c;
      }
    }
  }
  store_sums(rows->tiles > 1 || !last_is_half(rows), run.before);
}

/// Decodes all columns of a strip into its panel.
static void decode_strip(const strip_t *strip) {
  beside_t beside = {.next_step = 0};
  walk_t walk = begin_walk(strip, true, 1, &beside);
  for (walk.tile = 0; walk.tile < strip->tiles; walk.tile++) {
    for (walk.chunk = 0; walk.chunk < walk.chunks; walk.chunk++) {
      decode_next(&walk, &beside);
      if (beside.decoding.is_beside) decode_chunk(&beside.decoding);
    }
  }
}

#endif
