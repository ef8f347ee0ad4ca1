// SPDX-License-Identifier: Apache-2.0

// Products of a strip, some tiles of outputs, over all k of a call: in runs, decoded on the way, or in
// parts.

#ifndef BLOCKSCALE_GEMM_AMX_STRIPS_H
#define BLOCKSCALE_GEMM_AMX_STRIPS_H

#include "gemm_amx_parts.h"

/// Tiles of outputs side by side, for which the same rows stay in the first-level cache: those of a run
/// of k while the columns stream past them. The sums of these tiles stay there too, or close.
typedef struct {
  /// Rows, and columns as they are stored, from the first k of the call.
  const uint16_t *a;
  const bs_columns_t *columns;
  ptrdiff_t k0, tiles;
  /// Decoded columns: run by run, and in a run tile by tile. NULL for BF16, read as it is stored.
  uint16_t *panel;
  /// The k of the call, and of a run.
  ptrdiff_t depth, run;
  /// The memory that sums go to, as in `bs_amx_operands_t`.
  const char *output;
  ptrdiff_t rows, output_row_bytes, output_tile_bytes;
} strip_t;

/// Where the columns of a run begin, 32 k after 32 k `step` apart.
typedef struct {
  const uint16_t *b[2];
  ptrdiff_t step;
} run_columns_t;

BS_INLINE ptrdiff_t run_depth(const strip_t *strip, ptrdiff_t first) {
  return first + strip->run < strip->depth ? strip->run : strip->depth - first;
}

BS_INLINE uint16_t *run_panel(const strip_t *strip, ptrdiff_t first, ptrdiff_t tile) {
  return strip->panel
    + (strip->tiles * first + tile * run_depth(strip, first)) * BS_AMX_TILE_COLUMNS;
}

BS_INLINE run_columns_t run_columns(const strip_t *strip, ptrdiff_t first, ptrdiff_t tile) {
  if (strip->panel) {
    const uint16_t *b = run_panel(strip, first, tile);
    return (run_columns_t){{b, b + TILE}, PAIR};
  }
  const bs_columns_t *columns = strip->columns + 2 * tile;
  const ptrdiff_t place = (strip->k0 + first) * 16;
  return (run_columns_t){
    {(const uint16_t *)columns[0].codes + place, (const uint16_t *)columns[1].codes + place}, TILE};
}

static void decode_strip(const strip_t *strip) {
#define BS_CASE(format, place)                                                                     \
  case format * 4 + place:                                                                         \
    for (ptrdiff_t tile = 0; tile < strip->tiles; tile++) {                                        \
      for (ptrdiff_t k = 0; k < strip->depth; k += 32) {                                           \
        const ptrdiff_t first = k / strip->run * strip->run;                                       \
        uint16_t *to = run_panel(strip, first, tile) + (k - first) / 32 * PAIR;                    \
        decode_tile(format, place, strip->columns + 2 * tile, strip->k0 + k, to);                  \
        decode_tile(format, place, strip->columns + 2 * tile + 1, strip->k0 + k, to + TILE);       \
      }                                                                                            \
    }                                                                                              \
    return;
  BS_FOR_FORMAT(strip->columns, BS_CASE)
#undef BS_CASE
}

/// Stores the tile of sums of the run before, if there is one, and begins with what is there, if that
/// counts.
#define NEXT_SUMS(tile, place)                                                                     \
  if (step == 0) {                                                                                 \
    if (before) _tile_stored(tile, before + (place), SUMS_BYTES);                                  \
    if (adds) {                                                                                    \
      _tile_loadd(tile, c + (place), SUMS_BYTES);                                                  \
    } else {                                                                                       \
      _tile_zero(tile);                                                                            \
    }                                                                                              \
  }

/// The sums of a tile that has no other behind it.
BS_INLINE void store_sums(bool two, float *c) {
  _tile_stored(0, c, SUMS_BYTES);
  _tile_stored(1, c + 16, SUMS_BYTES);
  if (two) {
    _tile_stored(2, c + 16 * SUMS_STRIDE, SUMS_BYTES);
    _tile_stored(3, c + 16 * SUMS_STRIDE + 16, SUMS_BYTES);
  }
}

/// Some of the memory that a tile of sums goes to, a share of `shares` equal ones.
BS_INLINE void prefetch_output(
  const strip_t *strip, ptrdiff_t tile, ptrdiff_t share, ptrdiff_t shares
) {
  if (!strip->output) return;
  for (ptrdiff_t r = strip->rows * share / shares; r < strip->rows * (share + 1) / shares; r++) {
    const char *line = strip->output + r * strip->output_row_bytes + tile * strip->output_tile_bytes;
    for (ptrdiff_t byte = 0; byte < strip->output_tile_bytes; byte += 64) {
      __builtin_prefetch(line + byte, 1);
    }
  }
}

/// Sums over all k of a call, in runs. Each tile of sums of the run before is stored when the next tile
/// is at work.
BS_INLINE void multiply_runs(
  bool two, const strip_t *strip, ahead_t *ahead, float *sums, bool accumulate
) {
  const stream_t stream = COLUMNS_STREAM;
  const ptrdiff_t runs = (strip->depth + strip->run - 1) / strip->run;
  float *before = NULL;
  for (ptrdiff_t run = 0; run < runs; run++) {
    const ptrdiff_t first = run * strip->run;
    const uint16_t *a = strip->a + first / 32 * PAIR;
    const ptrdiff_t steps = run_depth(strip, first) / 32;
    const bool adds = accumulate || first > 0;
    for (ptrdiff_t tile = 0; tile < strip->tiles; tile++) {
      const run_columns_t columns = run_columns(strip, first, tile);
      float *c = sums + tile * SUMS;
#pragma clang loop unroll_count(2)
      for (ptrdiff_t step = 0; step < steps; step++) {
        const uint16_t *b0 = columns.b[0] + step * columns.step;
        const uint16_t *b1 = columns.b[1] + step * columns.step;
        LOAD_ROWS(4, a + step * PAIR)
        LOAD_COLUMNS(6, b0)
        NEXT_SUMS(0, 0)
        _tile_dpbf16ps(0, 4, 6);
        prefetch_ahead(ahead);
        LOAD_COLUMNS(7, b1)
        NEXT_SUMS(1, 16)
        _tile_dpbf16ps(1, 4, 7);
        prefetch_ahead(ahead);
        if (two) {
          LOAD_ROWS(5, a + step * PAIR + TILE)
          NEXT_SUMS(2, 16 * SUMS_STRIDE)
          _tile_dpbf16ps(2, 5, 6);
          prefetch_ahead(ahead);
          NEXT_SUMS(3, 16 * SUMS_STRIDE + 16)
          _tile_dpbf16ps(3, 5, 7);
          prefetch_ahead(ahead);
        }
      }
      prefetch_output(strip, tile, run, runs);
      before = c;
    }
  }
  store_sums(two, before);
}

/// The same for columns that are decoded 32 k ahead of their products: one tile after the other, since
/// memory is read best in the order of its addresses.
BS_INLINE void decode_multiply(
  bs_codes_t format, bs_scales_t place, bool two, const strip_t *strip, float *sums, bool adds
) {
  const stream_t stream = ROWS_STREAM;
  const ptrdiff_t steps = strip->depth / 32, count = strip->tiles * steps;
  float *before = NULL;
  uint16_t *b = run_panel(strip, 0, 0);
  decode_tile(format, place, strip->columns, strip->k0, b);
  decode_tile(format, place, strip->columns + 1, strip->k0, b + TILE);
  ptrdiff_t tile = 0, step = 0;
  for (ptrdiff_t done = 1; done <= count; done++) {
    const uint16_t *a = strip->a + step * PAIR;
    float *c = sums + tile * SUMS;
    LOAD_ROWS(4, a)
    LOAD_COLUMNS(6, b)
    NEXT_SUMS(0, 0)
    _tile_dpbf16ps(0, 4, 6);
    LOAD_COLUMNS(7, b + TILE)
    NEXT_SUMS(1, 16)
    _tile_dpbf16ps(1, 4, 7);
    if (two) {
      LOAD_ROWS(5, a + TILE)
      NEXT_SUMS(2, 16 * SUMS_STRIDE)
      _tile_dpbf16ps(2, 5, 6);
      NEXT_SUMS(3, 16 * SUMS_STRIDE + 16)
      _tile_dpbf16ps(3, 5, 7);
    }
    before = c;
    if (done == count) break;
    step++;
    if (step == steps) {
      step = 0;
      tile++;
    }
    const ptrdiff_t k = step * 32, first = k / strip->run * strip->run;
    b = run_panel(strip, first, tile) + (k - first) / 32 * PAIR;
    decode_tile(format, place, strip->columns + 2 * tile, strip->k0 + k, b);
    decode_tile(format, place, strip->columns + 2 * tile + 1, strip->k0 + k, b + TILE);
  }
  store_sums(two, before);
}

/// Sums in parts of k that take scales. `equal` and `two` are constants where this is inlined.
BS_INLINE void multiply_parts(
  bool equal, bool two, const strip_t *strip, ahead_t *ahead, const bs_promotion_t *promotion,
  float *c, bool accumulate
) {
  part_t before;
  begin_parts(&before, c, strip->tiles, accumulate);
  const ptrdiff_t parts = (strip->depth + strip->run - 1) / strip->run;
  for (ptrdiff_t part = 0; part < parts; part++) {
    const ptrdiff_t first = part * strip->run;
    const int steps = (int)(run_depth(strip, first) / 32);
    const uint16_t *a = strip->a + first / 32 * PAIR;
    for (ptrdiff_t tile = 0; tile < strip->tiles; tile++) {
      const run_columns_t columns = run_columns(strip, first, tile);
      const uint16_t *b0 = columns.b[0], *b1 = columns.b[1];
      multiply_part(
        equal, two, two, COLUMNS_STREAM, steps, a, b0, b1, columns.step, &before, ahead, 0);
      finish_part(&before, promotion, equal, part, tile, c + tile * SUMS);
      prefetch_output(strip, tile, part, parts);
    }
  }
  end_parts(&before, equal, two);
}

#endif
