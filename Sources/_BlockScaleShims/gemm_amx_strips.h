// SPDX-License-Identifier: Apache-2.0

// Products of a strip, some tiles of outputs, over all k of a call.

#ifndef BLOCKSCALE_GEMM_AMX_STRIPS_H
#define BLOCKSCALE_GEMM_AMX_STRIPS_H

#include "gemm_amx_chunks.h"

/// Tiles of outputs side by side, for which the same rows stay in the first-level cache while the columns
/// stream past them. The sums of these tiles stay there too, or close.
typedef struct {
  /// Rows, from the first k of the call, and columns as they are stored.
  const uint16_t *a;
  const bs_columns_t *columns;
  ptrdiff_t k0, tiles;
  /// Decoded columns: chunk by chunk, and in a chunk tile by tile. NULL for BF16, read as it is stored.
  uint16_t *panel;
  ptrdiff_t depth;
} strip_t;

BS_INLINE uint16_t *panel_chunk(const strip_t *strip, ptrdiff_t chunk, ptrdiff_t tile) {
  return strip->panel
    + (strip->tiles * chunk * CHUNK_STEPS + tile * chunk_steps(strip->depth, chunk)) * 2 * TILE;
}

/// A chunk of rows with one of decoded columns.
BS_INLINE chunk_t chunk_of(
  const uint16_t *a, const uint16_t *b, ptrdiff_t depth, ptrdiff_t chunk
) {
  const int steps = chunk_steps(depth, chunk);
  a += chunk * CHUNK;
  return (chunk_t){{a, a + steps * TILE}, {b, b + steps * TILE}, steps};
}

/// A chunk of rows with one of a tile's columns.
BS_INLINE chunk_t strip_chunk(const strip_t *strip, ptrdiff_t chunk, ptrdiff_t tile) {
  if (strip->panel) {
    return chunk_of(strip->a, panel_chunk(strip, chunk, tile), strip->depth, chunk);
  }
  chunk_t result = chunk_of(strip->a, strip->a, strip->depth, chunk);
  for (int half = 0; half < 2; half++) {
    result.b[half] = (const uint16_t *)strip->columns[2 * tile + half].codes
      + (strip->k0 + chunk * CHUNK_DEPTH) * 16;
  }
  return result;
}

/// Sums over all k of a call, in runs of some chunks. `rows` is a constant where this is inlined.
BS_INLINE void multiply_runs(
  rows_t rows, const strip_t *strip, ptrdiff_t run_chunks, beside_t *beside, float *sums,
  bool accumulate
) {
  const ptrdiff_t chunks = chunk_count(strip->depth);
  run_t run = {.before = NULL};
  for (ptrdiff_t first = 0; first < chunks; first += run_chunks) {
    const ptrdiff_t end = first + run_chunks < chunks ? first + run_chunks : chunks;
    run.adds = accumulate || first > 0;
    for (ptrdiff_t tile = 0; tile < strip->tiles; tile++) {
      run.c = sums + tile * SUMS;
      for (ptrdiff_t index = first; index < end; index++) {
        const chunk_t chunk = strip_chunk(strip, index, tile);
        multiply_run_chunk(rows, COLUMNS_STREAM, index == first, &chunk, &run, beside);
      }
      run.before = run.c;
    }
  }
  store_sums(rows != HALF_ROWS, run.before);
}

/// Sums in parts of 128 k that take scales. `equal` and `rows` are constants where this is inlined.
BS_INLINE void multiply_parts(
  bool equal, rows_t rows, const strip_t *strip, beside_t *beside, const bs_promotion_t *promotion,
  float *c, bool accumulate
) {
  part_t before;
  begin_parts(&before, c);
  if (!accumulate) memset(c, 0, strip->tiles * SUMS * sizeof *c);
  const ptrdiff_t parts = chunk_count(strip->depth), paired = parts / 2 * 2;
  for (ptrdiff_t part = 0; part < paired; part += 2) {
    for (ptrdiff_t tile = 0; tile < strip->tiles; tile++) {
      chunk_t chunk = strip_chunk(strip, part, tile);
      multiply_part(equal, SECOND_OF_PAIR, rows, COLUMNS_STREAM, &chunk, &before, beside);
      finish_part(&before, promotion, equal, FIRST_OF_PAIR, part, tile, c + tile * SUMS);
      chunk = strip_chunk(strip, part + 1, tile);
      multiply_part(equal, FIRST_OF_PAIR, rows, COLUMNS_STREAM, &chunk, &before, beside);
      finish_part(&before, promotion, equal, SECOND_OF_PAIR, part + 1, tile, c + tile * SUMS);
    }
  }
  end_parts(&before, equal, SECOND_OF_PAIR, rows != HALF_ROWS);
  if (paired == parts) return;
  for (ptrdiff_t tile = 0; tile < strip->tiles; tile++) {
    const chunk_t chunk = strip_chunk(strip, paired, tile);
    const run_t run = {.before = NULL};
    multiply_run_chunk(rows, COLUMNS_STREAM, false, &chunk, &run, beside);
    finish_part(&before, promotion, equal, ALONE, paired, tile, c + tile * SUMS);
    end_parts(&before, equal, ALONE, rows != HALF_ROWS);
  }
}

/// The same in parts of any depth, one step after the other.
static void multiply_uneven_parts(
  bool two, const strip_t *strip, const bs_promotion_t *promotion, float *c, bool accumulate
) {
  part_t before;
  beside_t beside = {.next = {(const char *)strip->a}};
  begin_parts(&before, c);
  if (!accumulate) memset(c, 0, strip->tiles * SUMS * sizeof *c);
  for (ptrdiff_t tile = 0; tile < strip->tiles; tile++) {
    for (ptrdiff_t k = 0; k < strip->depth; k += 32) {
      chunk_t chunk = strip_chunk(strip, k / CHUNK_DEPTH, tile);
      for (int half = 0; half < 2; half++) {
        chunk.a[half] += k % CHUNK_DEPTH / 32 * TILE;
        chunk.b[half] += k % CHUNK_DEPTH / 32 * TILE;
      }
      chunk.steps = 1;
      const run_t run = {.before = NULL};
      if (two) {
        multiply_run_chunk(ALL_ROWS, COLUMNS_STREAM, false, &chunk, &run, &beside);
      } else {
        multiply_run_chunk(HALF_ROWS, COLUMNS_STREAM, false, &chunk, &run, &beside);
      }
      if ((k + 32) % promotion->depth == 0 || k + 32 == strip->depth) {
        finish_part(
          &before, promotion, false, ALONE, k / promotion->depth, tile, c + tile * SUMS);
        end_parts(&before, false, ALONE, two);
      }
    }
  }
}

#endif
