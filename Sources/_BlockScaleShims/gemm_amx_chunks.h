// SPDX-License-Identifier: Apache-2.0

// The products of one chunk of k, and what goes on beside them.

#ifndef BLOCKSCALE_GEMM_AMX_CHUNKS_H
#define BLOCKSCALE_GEMM_AMX_CHUNKS_H

#include "gemm_amx_tiles.h"

/// Which rows a tile of sums has, and which of them the rows at hand have: constants where this is inlined.
typedef enum {
  /// Sixteen or fewer.
  HALF_ROWS,
  /// More.
  ALL_ROWS,
  /// The sums have more, but these rows are the last, sixteen or fewer.
  LAST_HALF_ROWS,
} rows_t;

/// Hardware tiles of 128 k or, at the end of k, fewer: of both sixteens of rows and of outputs.
typedef struct {
  const uint16_t *a[2], *b[2];
  int steps;
} chunk_t;

/// Columns that are decoded one chunk ahead of their products, for some tiles of rows.
typedef struct {
  /// Decodes 16 k of sixteen outputs.
  void (*decode)(const bs_columns_t *columns, ptrdiff_t k, uint16_t *half_tile);
  const bs_columns_t *columns;
  ptrdiff_t k;
  uint16_t *chunk;
  /// The steps of the chunk to decode, and whether it is decoded beside products.
  int steps;
  bool is_beside;
  /// The tile of rows at hand, of `row_tiles`.
  int row, row_tiles;
} decoding_t;

/// Decodes one half of a step's hardware tile of the first or the second sixteen outputs.
BS_INLINE void decode_piece(const decoding_t *decoding, int outputs, int step, int half) {
  decoding->decode(
    decoding->columns + outputs, decoding->k + 32 * step + 16 * half,
    decoding->chunk + (outputs * decoding->steps + step) * TILE + half * TILE / 2);
}

static void decode_chunk(const decoding_t *decoding) {
  for (int outputs = 0; outputs < 2; outputs++) {
    for (int step = 0; step < decoding->steps; step++) {
      decode_piece(decoding, outputs, step, 0);
      decode_piece(decoding, outputs, step, 1);
    }
  }
}

/// Decodes a piece after a product, in the order of addresses. Pieces are small since only little of what
/// comes after a product can be done during it.
BS_INLINE void decode_beside(const decoding_t *decoding, rows_t rows, int step, int product) {
  if (!decoding->is_beside) return;
  if (decoding->row_tiles == 1) {
    if (rows == HALF_ROWS) {
      decode_piece(decoding, product, step, 0);
      decode_piece(decoding, product, step, 1);
    } else {
      decode_piece(decoding, product / 2, step, product % 2);
    }
  } else if (product % 2 == 0) {
    return;
  } else if (decoding->row_tiles < 4) {
    if (decoding->row < 2) decode_piece(decoding, decoding->row, step, product / 2);
  } else if (step % 2 == 0 && decoding->row < 4) {
    decode_piece(
      decoding, decoding->row / 2, decoding->row % 2 * 2 + step / 2, product / 2);
  }
}

/// What is to be made ready while products go on.
typedef struct {
  /// What is read next from beyond L2, in two places; a step of zero if nothing is.
  const char *next[2];
  ptrdiff_t next_step;
  decoding_t decoding;
} beside_t;

/// Fetching after each product takes the line buffers one or two at a time. `step`, `product` and the
/// others are constants where this is inlined.
BS_INLINE void beside_product(
  stream_t stream, rows_t rows, beside_t *beside, int step, int product
) {
  if (stream == COLUMNS_STREAM) {
    _mm_prefetch(beside->next[0], _MM_HINT_T1);
    beside->next[0] += beside->next_step;
    if (beside->next[1]) {
      _mm_prefetch(beside->next[1], _MM_HINT_T1);
      beside->next[1] += beside->next_step;
    }
  } else {
    decode_beside(&beside->decoding, rows, step, product);
  }
}

/// The products of one step of 32 k. `before(n)` comes before the first use of sums n, `beside(n)` after each
/// product. `rows` and `stream` are constants.
#define MULTIPLY_STEP(chunk, step, before, beside)                                                 \
  LOAD_ROWS(4, (chunk)->a[0] + (step) * TILE)                                                      \
  LOAD_COLUMNS(6, (chunk)->b[0] + (step) * TILE)                                                   \
  before(0)                                                                                        \
  _tile_dpbf16ps(0, 4, 6);                                                                         \
  beside(0)                                                                                        \
  LOAD_COLUMNS(7, (chunk)->b[1] + (step) * TILE)                                                   \
  before(1)                                                                                        \
  _tile_dpbf16ps(1, 4, 7);                                                                         \
  beside(1)                                                                                        \
  if (rows != HALF_ROWS) {                                                                         \
    if (rows == ALL_ROWS) {                                                                        \
      LOAD_ROWS(5, (chunk)->a[1] + (step) * TILE)                                                  \
    }                                                                                              \
    before(2)                                                                                      \
    if (rows == ALL_ROWS) _tile_dpbf16ps(2, 5, 6);                                                 \
    beside(2)                                                                                      \
    before(3)                                                                                      \
    if (rows == ALL_ROWS) _tile_dpbf16ps(3, 5, 7);                                                 \
    beside(3)                                                                                      \
  }

/// `step` is a constant in the body.
#define FOR_EACH_STEP(body)                                                                        \
  {                                                                                                \
    const int step = 0;                                                                            \
    body                                                                                           \
  }                                                                                                \
  {                                                                                                \
    const int step = 1;                                                                            \
    body                                                                                           \
  }                                                                                                \
  {                                                                                                \
    const int step = 2;                                                                            \
    body                                                                                           \
  }                                                                                                \
  {                                                                                                \
    const int step = 3;                                                                            \
    body                                                                                           \
  }

// MARK: sums over all k

/// Where sums go that are at hand, and where those come from that are added to.
typedef struct {
  /// The sums before, which are stored as the next products begin; NULL for none.
  float *before;
  float *c;
  /// Whether what is in `c` counts.
  bool adds;
} run_t;

/// The products of a chunk, with which a run begins or not.
BS_INLINE void multiply_run_chunk(
  rows_t rows, stream_t stream, bool begins, const chunk_t *chunk, const run_t *run, beside_t *beside
) {
#define BEGIN_RUN(tile)                                                                            \
  if (step == 0 && begins) {                                                                       \
    const ptrdiff_t place = (tile) / 2 * 16 * SUMS_STRIDE + (tile) % 2 * 16;                       \
    if (run->before) _tile_stored(tile, run->before + place, SUMS_BYTES);                          \
    if (run->adds) {                                                                               \
      _tile_loadd(tile, run->c + place, SUMS_BYTES);                                               \
    } else {                                                                                       \
      _tile_zero(tile);                                                                            \
    }                                                                                              \
  }
#define BESIDE(product) beside_product(stream, rows, beside, step, product);
  if (chunk->steps == CHUNK_STEPS) {
    FOR_EACH_STEP(MULTIPLY_STEP(chunk, step, BEGIN_RUN, BESIDE))
  } else {
    for (int step = 0; step < chunk->steps; step++) {
      MULTIPLY_STEP(chunk, step, BEGIN_RUN, BESIDE)
    }
  }
#undef BEGIN_RUN
#undef BESIDE
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

// MARK: sums that take scales

/// The sums of one part, or of two that are promoted together, on their way to `c` between the products of
/// the next: what is added to in memory is read and written once for both.
typedef struct {
  /// Four hardware tiles each, in the order of their numbers.
  float sums[2][4 * 256] __attribute__((aligned(64)));
  /// Scales of outputs, unless one serves them all; and of rows, times that one.
  f32x16 column_scales[2][2];
  float row_scales[2][32] __attribute__((aligned(64)));
  float *c;
} part_t;

/// What has been summed when the products of a part begin: a part that is promoted alone, the first of a
/// pair, which waits, or the second, with which both are promoted.
typedef enum { ALONE, FIRST_OF_PAIR, SECOND_OF_PAIR } summed_t;

/// The scales of the sums that have been formed, and where they go. `equal` says that a part has one scale
/// for all outputs. It and `summed` are constants where this is inlined, here and below.
BS_INLINE void finish_part(
  part_t *result, const bs_promotion_t *promotion, bool equal, summed_t summed, ptrdiff_t part,
  ptrdiff_t tile, float *c
) {
  const int place = summed == SECOND_OF_PAIR;
  result->c = c;
  f32x16 common = splat(1);
  if (promotion->columns) {
    const float *scales = promotion->columns + part * promotion->column_stride
      + 2 * tile * promotion->column_block_stride;
    if (equal) {
      common = splat(*scales);
    } else {
      result->column_scales[place][0] = LOAD(f32x16, scales);
      result->column_scales[place][1] = LOAD(f32x16, scales + promotion->column_block_stride);
    }
  } else if (!equal) {
    result->column_scales[place][0] = result->column_scales[place][1] = common;
  }
  for (int half = 0; half < 2; half++) {
    f32x16 rows = common;
    if (promotion->rows) {
      rows *= LOAD(f32x16, promotion->rows + part * promotion->row_stride + 16 * half);
    }
    STORE(result->row_scales[place] + 16 * half, rows);
  }
}

BS_INLINE void promote_rows(const part_t *part, bool equal, summed_t summed, int first, int end) {
  if (summed == FIRST_OF_PAIR) return;
  float *c = part->c;
  for (int row = first; row < end; row++) {
    f32x16 left = LOAD(f32x16, c + row * SUMS_STRIDE);
    f32x16 right = LOAD(f32x16, c + row * SUMS_STRIDE + 16);
    for (int place = 0; place < (summed == ALONE ? 1 : 2); place++) {
      const float *sums = part->sums[place] + row / 16 * 512 + row % 16 * 16;
      const f32x16 scale = splat(part->row_scales[place][row]);
      left = multiply_add(
        LOAD(f32x16, sums), equal ? scale : scale * part->column_scales[place][0], left);
      right = multiply_add(
        LOAD(f32x16, sums + 256), equal ? scale : scale * part->column_scales[place][1], right);
    }
    STORE(c + row * SUMS_STRIDE, left);
    STORE(c + row * SUMS_STRIDE + 16, right);
  }
}

#define STORE_WAITING(tile)                                                                        \
  _tile_stored(tile, before->sums[summed == SECOND_OF_PAIR] + 256 * (tile), 64);                   \
  _tile_zero(tile);

/// Before the first part there are sums of zero.
BS_INLINE void begin_parts(part_t *before, float *c) {
  memset(before, 0, sizeof *before);
  before->c = c;
  zero_sums();
}

/// The last part has no other behind which its sums could be stored.
BS_INLINE void end_parts(part_t *before, bool equal, summed_t summed, bool two) {
  STORE_WAITING(0)
  STORE_WAITING(1)
  if (two) {
    STORE_WAITING(2)
    STORE_WAITING(3)
  }
  promote_rows(before, equal, summed, 0, two ? 32 : 16);
}

/// The products of a part that is one chunk. The sums of the part before are stored as the next products
/// begin, and promoted in the course of these.
BS_INLINE void multiply_part(
  bool equal, summed_t summed, rows_t rows, stream_t stream, const chunk_t *chunk, part_t *before,
  beside_t *beside
) {
#define BEGIN_PART(tile)                                                                           \
  if (step == 0) {                                                                                 \
    STORE_WAITING(tile)                                                                            \
  }
#define PROMOTE(product)                                                                           \
  if (step > 0) {                                                                                  \
    const int products = rows == HALF_ROWS ? 2 : 4, slots = products * (CHUNK_STEPS - 1);          \
    const int slot = products * (step - 1) + (product), all = 8 * products;                        \
    promote_rows(before, equal, summed, all * slot / slots, all * (slot + 1) / slots);             \
  }                                                                                                \
  beside_product(stream, rows, beside, step, product);
#define BESIDE(product) beside_product(stream, rows, beside, step, product);
  if (chunk->steps == CHUNK_STEPS) {
    FOR_EACH_STEP(MULTIPLY_STEP(chunk, step, BEGIN_PART, PROMOTE))
  } else {
    for (int step = 0; step < chunk->steps; step++) {
      MULTIPLY_STEP(chunk, step, BEGIN_PART, BESIDE)
    }
    promote_rows(before, equal, summed, 0, rows == HALF_ROWS ? 16 : 32);
  }
#undef BEGIN_PART
#undef PROMOTE
#undef BESIDE
}

#endif
