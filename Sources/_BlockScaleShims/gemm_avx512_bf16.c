// SPDX-License-Identifier: Apache-2.0

// Products of pairs of BF16 with AVX-512: lanes are outputs, a pair of k of one row is repeated in all of them.

#if defined(__x86_64__)

#include <immintrin.h>

#pragma clang attribute push( \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512bf16,avx2,fma,f16c"), \
                 min_vector_width(512))), \
  apply_to = function)

#define BS_HAS_FMA
#include "bs_gemm_kernels.h"
#include "gemm_bf16.h"

// MARK: groups

// Sixteen registers of sums hide the latency of additions; for each pair of k they take ten loads.
enum {
  GROUP_ROWS = 8,
  VECTORS = BS_BF16_TILE_COLUMNS / 16,
};

/// Eight rows of a tile of rows.
typedef struct {
  /// The tile, from the first k of a call, and the k of the call.
  const uint16_t *a;
  ptrdiff_t depth;
  int index;
} group_t;

/// What is read next from beyond L2, and how many lines of it each step fetches.
typedef struct {
  const char *place;
  int lines;
} next_t;

/// The groups of so many rows.
BS_INLINE int group_count(ptrdiff_t rows) { return (int)((rows + GROUP_ROWS - 1) / GROUP_ROWS); }

/// 32 k of the first row; the others follow.
BS_INLINE const uint16_t *group_step(const group_t *group, ptrdiff_t step) {
  const ptrdiff_t chunk = step / CHUNK_STEPS;
  const ptrdiff_t tile =
    group->index / 2 * chunk_steps(group->depth, chunk) + step % CHUNK_STEPS;
  return group->a + chunk * CHUNK + tile * TILE + group->index % 2 * GROUP_ROWS * 32;
}

/// Adds the products of some steps; `b` begins with the first of them.
BS_INLINE void add_products(
  const group_t *group, const uint16_t *const b[VECTORS], ptrdiff_t first, ptrdiff_t end,
  f32x16 sums[GROUP_ROWS][VECTORS], next_t *next
) {
  for (ptrdiff_t step = first; step < end; step++) {
    const uint16_t *a = group_step(group, step);
    const ptrdiff_t offset = (step - first) * TILE;
    // Rows of the next step, which come from L2 each time a tile of outputs meets them.
    for (int row = 0; row < GROUP_ROWS; row++) __builtin_prefetch(a + TILE + row * 32);
    for (int line = 0; line < next->lines; line++) {
      _mm_prefetch(next->place, _MM_HINT_T1);
      next->place += 64;
    }
#pragma clang loop unroll_count(4)
    for (int pair = 0; pair < 16; pair++) {
      __m512bh outputs[VECTORS];
#pragma clang loop unroll(full)
      for (int vector = 0; vector < VECTORS; vector++) {
        outputs[vector] = (__m512bh)LOAD(u32x16, b[vector] + offset + pair * 32);
      }
#pragma clang loop unroll(full)
      for (int row = 0; row < GROUP_ROWS; row++) {
        const __m512bh values = (__m512bh)_mm512_set1_epi32(LOAD(int32_t, a + row * 32 + pair * 2));
#pragma clang loop unroll(full)
        for (int vector = 0; vector < VECTORS; vector++) {
          sums[row][vector] = (f32x16)_mm512_dpbf16_ps(
            (__m512)sums[row][vector], values, outputs[vector]);
        }
      }
    }
  }
}

/// Adds the sums of one part, times its scales, to `c`, or writes them.
BS_INLINE void promote(
  f32x16 sums[GROUP_ROWS][VECTORS], const bs_promotion_t *promotion, ptrdiff_t part, int first_row,
  float *c, bool adds
) {
  f32x16 by_output[VECTORS];
  for (int vector = 0; vector < VECTORS; vector++) {
    by_output[vector] = !promotion->columns
      ? splat(1)
      : LOAD(f32x16, promotion->columns + part * promotion->column_stride
                       + vector * promotion->column_block_stride);
  }
#pragma clang loop unroll(full)
  for (int row = 0; row < GROUP_ROWS; row++) {
    const f32x16 by_row = splat(
      promotion->rows ? promotion->rows[part * promotion->row_stride + first_row + row] : 1);
#pragma clang loop unroll(full)
    for (int vector = 0; vector < VECTORS; vector++) {
      float *place = c + row * SUMS_STRIDE + 16 * vector;
      const f32x16 old = adds ? LOAD(f32x16, place) : splat(0);
      STORE(place, multiply_add(sums[row][vector], by_row * by_output[vector], old));
    }
  }
}

BS_INLINE void store_sums(f32x16 sums[GROUP_ROWS][VECTORS], float *c, bool adds) {
#pragma clang loop unroll(full)
  for (int row = 0; row < GROUP_ROWS; row++) {
#pragma clang loop unroll(full)
    for (int vector = 0; vector < VECTORS; vector++) {
      float *place = c + row * SUMS_STRIDE + 16 * vector;
      STORE(place, adds ? sums[row][vector] + LOAD(f32x16, place) : sums[row][vector]);
    }
  }
}

/// A group by a tile of outputs over the steps of a run, whose columns `b` has; `c` has the tile's sums. A part
/// that does not end with the run takes its scales in both.
static void multiply_group(
  const group_t *group, const uint16_t *const b[VECTORS], ptrdiff_t first, ptrdiff_t end,
  const bs_promotion_t *promotion, float *c, bool adds, next_t *next
) {
  const int first_row = group->index * GROUP_ROWS;
  c += first_row * SUMS_STRIDE;
  const ptrdiff_t part_steps = promotion->depth / 32;
  ptrdiff_t step = first;
  while (step < end) {
    const ptrdiff_t part = part_steps ? step / part_steps : 0;
    const ptrdiff_t part_end =
      part_steps && (part + 1) * part_steps < end ? (part + 1) * part_steps : end;
    const uint16_t *own[VECTORS];
    for (int vector = 0; vector < VECTORS; vector++) {
      own[vector] = b[vector] + (step - first) * TILE;
    }
    f32x16 sums[GROUP_ROWS][VECTORS];
#pragma clang loop unroll(full)
    for (int row = 0; row < GROUP_ROWS; row++) {
#pragma clang loop unroll(full)
      for (int vector = 0; vector < VECTORS; vector++) sums[row][vector] = splat(0);
    }
    add_products(group, own, step, part_end, sums, next);
    if (part_steps) {
      promote(sums, promotion, part, first_row, c, adds);
    } else {
      store_sums(sums, c, adds);
    }
    step = part_end;
    adds = true;
  }
}

/// The scales of a tile of outputs.
BS_INLINE bs_promotion_t tile_promotion(const bs_promotion_t *promotion, ptrdiff_t tile) {
  bs_promotion_t own = *promotion;
  if (own.columns) own.columns += tile * VECTORS * own.column_block_stride;
  return own;
}

// MARK: columns that are ready

// The columns of a tile and a run, 32 KB, stay in the first-level cache for all groups of rows.
enum { RUN_STEPS = 16 };

static void multiply(
  const bs_bf16_operands_t *operands, const bs_promotion_t *promotion, float *c, bool accumulate
) {
  const ptrdiff_t depth = operands->depth, steps = depth / 32, tiles = operands->tiles;
  const int groups = group_count(operands->rows);
  // The next rows have 32 lines for each step of all tiles.
  const ptrdiff_t lines = BS_BF16_TILE_ROWS / (tiles * groups);
  next_t next = {operands->next, !operands->next ? 0 : lines > 1 ? (int)lines : 1};
  group_t group = {.a = operands->a + operands->k0 * BS_BF16_TILE_ROWS, .depth = depth};
  for (ptrdiff_t tile = 0; tile < tiles; tile++) {
    const bs_promotion_t own = tile_promotion(promotion, tile);
    for (ptrdiff_t first = 0; first < steps; first += RUN_STEPS) {
      const ptrdiff_t end = first + RUN_STEPS < steps ? first + RUN_STEPS : steps;
      const uint16_t *b[VECTORS];
      for (int vector = 0; vector < VECTORS; vector++) {
        const ptrdiff_t sixteen = tile * VECTORS + vector;
        b[vector] = first * TILE
          + (operands->panel
               ? operands->panel + sixteen * depth * 16
               : (const uint16_t *)operands->columns[sixteen].codes + operands->k0 * 16);
      }
      for (group.index = 0; group.index < groups; group.index++) {
        multiply_group(
          &group, b, first, end, &own, c + tile * SUMS, accumulate || first > 0, &next);
      }
    }
  }
}

// MARK: columns that are decoded

// The columns of a run, 16 KB, are multiplied as soon as they are decoded, while they are in the first-level
// cache.
enum { DECODED_STEPS = 8 };

/// `format` and `place` are constants where this is inlined.
BS_INLINE void decode_steps_as(
  bs_codes_t format, bs_scales_t place, const bs_columns_t *columns, ptrdiff_t k, ptrdiff_t steps,
  uint16_t *values
) {
  for (ptrdiff_t half = 0; half < 2 * steps; half++) {
    decode_half_tile(format, place, columns, k + 16 * half, values + half * TILE / 2);
  }
}

static void decode_steps(
  const bs_columns_t *columns, ptrdiff_t k, ptrdiff_t steps, uint16_t *values
) {
#define BS_CASE(format, place)                                                                     \
  case format * 4 + place: decode_steps_as(format, place, columns, k, steps, values); return;
  BS_FOR_FORMAT(columns, BS_CASE)
#undef BS_CASE
}

static void decode_multiply(
  const bs_bf16_rows_t *rows, const bs_columns_t *columns, ptrdiff_t tiles, ptrdiff_t k0,
  ptrdiff_t depth, const bs_promotion_t *promotion, uint16_t *panel, bool keeps, float *c,
  bool accumulate
) {
  const ptrdiff_t steps = depth / 32;
  const ptrdiff_t run = DECODED_STEPS < steps ? DECODED_STEPS : steps;
  next_t nothing = {NULL, 0};
  for (ptrdiff_t tile = 0; tile < tiles; tile++) {
    for (ptrdiff_t first = 0; first < steps; first += run) {
      const ptrdiff_t end = first + run < steps ? first + run : steps;
      const uint16_t *b[VECTORS];
      for (int vector = 0; vector < VECTORS; vector++) {
        const ptrdiff_t sixteen = tile * VECTORS + vector;
        uint16_t *values =
          panel + (keeps ? sixteen * depth * 16 + first * TILE : vector * run * TILE);
        decode_steps(columns + sixteen, k0 + first * 32, end - first, values);
        b[vector] = values;
      }
      bs_promotion_t own = tile_promotion(promotion, tile);
      for (ptrdiff_t row = 0; row < rows->tiles; row++) {
        const ptrdiff_t count = row + 1 < rows->tiles ? BS_BF16_TILE_ROWS : rows->last_rows;
        group_t group = {.a = rows->a + row * rows->tile_stride, .depth = depth};
        for (group.index = 0; group.index < group_count(count); group.index++) {
          multiply_group(
            &group, b, first, end, &own, c + (row * tiles + tile) * SUMS, accumulate || first > 0,
            &nothing);
        }
        if (own.rows) own.rows += rows->promotion_stride;
      }
    }
  }
}

#pragma clang attribute pop

static void nothing(void) {}

static const bs_bf16_gemm_t table = {
  .begin = nothing,
  .end = nothing,
  .pack_rows = bs_pack_rows_bf16,
  .multiply = multiply,
  .decode_multiply = decode_multiply,
};

const bs_bf16_gemm_t *bs_bf16_gemm_avx512(void) { return &table; }

#else

#include "bs_gemm_kernels.h"

const bs_bf16_gemm_t *bs_bf16_gemm_avx512(void) { return 0; }

#endif
