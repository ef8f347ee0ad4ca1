// SPDX-License-Identifier: Apache-2.0

// Products of a part of k whose sums take scales before they are added to those of the others.

#ifndef BLOCKSCALE_GEMM_AMX_PARTS_H
#define BLOCKSCALE_GEMM_AMX_PARTS_H

#include "gemm_amx_tiles.h"

/// The sums of one part on their way to `c`: some rows at a time, between the products of the next.
typedef struct {
  /// Four hardware tiles, in the order of their numbers.
  float sums[4 * 256] __attribute__((aligned(64)));
  /// Scales of outputs, unless one serves them all; and of rows, times that one.
  f32x16 column_scales[2];
  float row_scales[32] __attribute__((aligned(64)));
  float *c;
} part_t;

/// The scales of the sums that have been formed, and where they go.
BS_INLINE void finish_part(
  part_t *result, const bs_promotion_t *promotion, bool equal, ptrdiff_t part, ptrdiff_t tile,
  float *c
) {
  result->c = c;
  f32x16 common = splat(1);
  if (promotion->columns) {
    const float *scales = promotion->columns + part * promotion->column_stride
      + 2 * tile * promotion->column_block_stride;
    if (equal) {
      common = splat(*scales);
    } else {
      result->column_scales[0] = LOAD(f32x16, scales);
      result->column_scales[1] = LOAD(f32x16, scales + promotion->column_block_stride);
    }
  } else if (!equal) {
    result->column_scales[0] = result->column_scales[1] = common;
  }
  for (int half = 0; half < 2; half++) {
    f32x16 rows = common;
    if (promotion->rows) {
      rows *= LOAD(f32x16, promotion->rows + part * promotion->row_stride + 16 * half);
    }
    STORE(result->row_scales + 16 * half, rows);
  }
}

/// `equal` says that a part has one scale for all outputs; a constant where this is inlined.
BS_INLINE void promote_rows(const part_t *part, bool equal, int first, int end) {
  for (int row = first; row < end; row++) {
    const float *sums = part->sums + row / 16 * 512 + row % 16 * 16;
    float *c = part->c + row * SUMS_STRIDE;
    const f32x16 scale = splat(part->row_scales[row]);
    const f32x16 left = equal ? scale : scale * part->column_scales[0];
    const f32x16 right = equal ? scale : scale * part->column_scales[1];
    STORE(c, multiply_add(LOAD(f32x16, sums), left, LOAD(f32x16, c)));
    STORE(c + 16, multiply_add(LOAD(f32x16, sums + 256), right, LOAD(f32x16, c + 16)));
  }
}

/// What is to be made ready while the products of one part go on.
typedef struct {
  /// Decodes 32 k of sixteen outputs; NULL if there is nothing to decode.
  void (*decode)(const bs_columns_t *columns, ptrdiff_t k, uint16_t *tile);
  const bs_columns_t *columns;
  ptrdiff_t k;
  uint16_t *panel;
  /// How many hardware tiles are done.
  int done;
  /// What is read next from beyond L2; a step of zero if nothing is.
  const char *next;
  ptrdiff_t next_step;
} ahead_t;

BS_INLINE void decode_ahead(ahead_t *ahead, int until) {
  for (; ahead->done < until; ahead->done++) {
    const int half = ahead->done % 2, step = ahead->done / 2;
    ahead->decode(
      ahead->columns + half, ahead->k + 32 * step, ahead->panel + step * PAIR + half * TILE);
  }
}

/// After each product, so that the line buffers are not taken all at once: as many lines as let four
/// tiles of outputs bring as many rows as they use.
BS_INLINE void prefetch_ahead(ahead_t *ahead) {
  _mm_prefetch(ahead->next, _MM_HINT_T1);
  _mm_prefetch(ahead->next + 64, _MM_HINT_T1);
  ahead->next += ahead->next_step;
}

/// What goes on beside the products of a part: `slot` of `slots` of the promotion of the part before.
BS_INLINE void beside_product(
  bool equal, stream_t stream, const part_t *before, int rows, int slot, int slots, ahead_t *ahead
) {
  if (stream == COLUMNS_STREAM) prefetch_ahead(ahead);
  promote_rows(before, equal, rows * slot / slots, rows * (slot + 1) / slots);
}

/// The products of one of the `steps` of a part, but the first.
BS_INLINE void multiply_part_step(
  bool equal, bool two, bool lower, stream_t stream, int step, int steps, const uint16_t *a,
  const uint16_t *b0, const uint16_t *b1, ptrdiff_t b_step, const part_t *before, ahead_t *ahead
) {
  const int products = two ? 4 : 2, rows = 8 * products;
  const int slot = products * (step - 1), slots = products * (steps - 1);
  LOAD_ROWS(4, a + step * PAIR)
  LOAD_COLUMNS(6, b0 + step * b_step)
  _tile_dpbf16ps(0, 4, 6);
  beside_product(equal, stream, before, rows, slot, slots, ahead);
  LOAD_COLUMNS(7, b1 + step * b_step)
  _tile_dpbf16ps(1, 4, 7);
  beside_product(equal, stream, before, rows, slot + 1, slots, ahead);
  if (two) {
    if (lower) {
      LOAD_ROWS(5, a + step * PAIR + TILE)
      _tile_dpbf16ps(2, 5, 6);
    }
    beside_product(equal, stream, before, rows, slot + 2, slots, ahead);
    if (lower) _tile_dpbf16ps(3, 5, 7);
    beside_product(equal, stream, before, rows, slot + 3, slots, ahead);
  }
}

/// The products of one part. Each tile of sums of the part before is stored when the next tile is at
/// work, and promoted in the course of the products. `two` says whether there are sums of more than
/// sixteen rows, `lower` whether this part has such rows. `until` hardware tiles are to be decoded in
/// the end. `equal`, `two`, `lower` and `stream` are constants.
BS_INLINE void multiply_part(
  bool equal, bool two, bool lower, stream_t stream, int steps, const uint16_t *a,
  const uint16_t *b0, const uint16_t *b1, ptrdiff_t b_step, part_t *before, ahead_t *ahead, int until
) {
  LOAD_ROWS(4, a)
  LOAD_COLUMNS(6, b0)
  _tile_stored(0, before->sums, 64);
  _tile_zero(0);
  _tile_dpbf16ps(0, 4, 6);
  if (stream == COLUMNS_STREAM) prefetch_ahead(ahead);
  LOAD_COLUMNS(7, b1)
  _tile_stored(1, before->sums + 256, 64);
  _tile_zero(1);
  _tile_dpbf16ps(1, 4, 7);
  if (stream == COLUMNS_STREAM) prefetch_ahead(ahead);
  if (two) {
    if (lower) {
      LOAD_ROWS(5, a + TILE)
    }
    _tile_stored(2, before->sums + 512, 64);
    _tile_zero(2);
    if (lower) _tile_dpbf16ps(2, 5, 6);
    if (stream == COLUMNS_STREAM) prefetch_ahead(ahead);
    _tile_stored(3, before->sums + 768, 64);
    _tile_zero(3);
    if (lower) _tile_dpbf16ps(3, 5, 7);
    if (stream == COLUMNS_STREAM) prefetch_ahead(ahead);
  }
#define STEP(step, steps)                                                                          \
  if (stream == ROWS_STREAM) decode_ahead(ahead, done + (until - done) * (step) / (steps));        \
  multiply_part_step(                                                                              \
    equal, two, lower, stream, step, steps, a, b0, b1, b_step, before, ahead);
  const int done = ahead->done;
  if (steps == 4) {
    // Parts of 128, where nothing is left to be decided.
    STEP(1, 4)
    STEP(2, 4)
    STEP(3, 4)
  } else {
    for (int step = 1; step < steps; step++) {
      STEP(step, steps)
    }
    if (steps == 1) promote_rows(before, equal, 0, two ? 32 : 16);
  }
#undef STEP
  if (stream == ROWS_STREAM) decode_ahead(ahead, until);
}

/// Before the first part there are sums of zero.
BS_INLINE void begin_parts(part_t *before, float *c, ptrdiff_t tiles, bool accumulate) {
  if (!accumulate) memset(c, 0, tiles * SUMS * sizeof *c);
  memset(before->column_scales, 0, sizeof before->column_scales);
  memset(before->row_scales, 0, sizeof before->row_scales);
  before->c = c;
  zero_sums();
}

/// The last part has no other behind which its sums could be stored.
BS_INLINE void end_parts(part_t *before, bool equal, bool two) {
  _tile_stored(0, before->sums, 64);
  _tile_stored(1, before->sums + 256, 64);
  if (two) {
    _tile_stored(2, before->sums + 512, 64);
    _tile_stored(3, before->sums + 768, 64);
  }
  promote_rows(before, equal, 0, two ? 32 : 16);
}

#endif
