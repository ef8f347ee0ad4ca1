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
#include "gemm_avx512_lanes.h"
#include "gemm_rows.h"

enum {
  TILE = 512,
  PAIR = 2 * TILE,
  SUMS_STRIDE = BS_AMX_TILE_COLUMNS,
  SUMS_BYTES = SUMS_STRIDE * 4,
  SUMS = BS_AMX_TILE_ROWS * SUMS_STRIDE,
};

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

// MARK: decoding

/// Two FP32 vectors that are exact in BF16, as pairs.
BS_INLINE u32x16 paired(f32x16 even, f32x16 odd) {
  return (u32x16)_mm512_mask_blend_epi16(
    0xAAAAAAAA, _mm512_srli_epi32((__m512i)even, 16), (__m512i)odd);
}

/// 32 k of sixteen outputs as one hardware tile.
BS_INLINE void decode_tile(
  bs_codes_t format, bs_scales_t place, const bs_columns_t *columns, ptrdiff_t k, uint16_t *tile
) {
  const ptrdiff_t per_word = format == BS_CODES_E2M1 ? 8 : 4;
  const uint32_t *words = (const uint32_t *)columns->codes + k / per_word * 16;
  f32x16 by_output = splat(1);
  float by_k[32];
  if (place == BS_SCALES_BY_K) {
    STORE(by_k, decode_scales(columns, columns->scales + k));
    STORE(by_k + 16, decode_scales(columns, columns->scales + k + 16));
  }
#pragma clang loop unroll(full)
  for (int word = 0; word < 32 / per_word; word++) {
    if (place == BS_SCALES_BY_OUTPUT && word * per_word % 16 == 0) {
      by_output = decode_scales(
        columns, columns->scales + (k + word * per_word) / columns->scale_block * 16);
    }
    const u32x16 codes = LOAD(u32x16, words + word * 16);
    __builtin_prefetch((const char *)(words + word * 16) + 2048);
    u32x16 pairs[4];
    if (format == BS_CODES_E2M1) {
#pragma clang loop unroll(full)
      for (int pair = 0; pair < 4; pair++) {
        f32x16 even = decode_e2m1(codes, 2 * pair);
        f32x16 odd = decode_e2m1(codes, 2 * pair + 1);
        if (place == BS_SCALES_BY_OUTPUT) {
          even *= by_output;
          odd *= by_output;
        } else if (place == BS_SCALES_BY_K) {
          even *= splat(by_k[word * 8 + 2 * pair]);
          odd *= splat(by_k[word * 8 + 2 * pair + 1]);
        }
        pairs[pair] = paired(even, odd);
      }
    } else {
      decode_fp8_pairs(format, codes, pairs);
      if (place != BS_SCALES_NONE) {
#pragma clang loop unroll(full)
        for (int pair = 0; pair < 2; pair++) {
          f32x16 even = (f32x16)(pairs[pair] << 16);
          f32x16 odd = (f32x16)(pairs[pair] & 0xFFFF0000);
          even *= place == BS_SCALES_BY_OUTPUT ? by_output
                                               : splat(by_k[word * 4 + 2 * pair]);
          odd *= place == BS_SCALES_BY_OUTPUT ? by_output
                                              : splat(by_k[word * 4 + 2 * pair + 1]);
          pairs[pair] = paired(even, odd);
        }
      }
    }
#pragma clang loop unroll(full)
    for (int pair = 0; pair < per_word / 2; pair++) {
      STORE(tile + (word * per_word / 2 + pair) * 32, pairs[pair]);
    }
  }
}

// Calls `body` with the columns' formats as constants.
#define BS_FOR_FORMAT(columns, body)                                                               \
  switch ((columns)->code_format * 4 + (columns)->scale_place) {                                   \
    body(BS_CODES_E4M3, BS_SCALES_NONE)                                                            \
    body(BS_CODES_E4M3, BS_SCALES_BY_OUTPUT)                                                       \
    body(BS_CODES_E4M3, BS_SCALES_BY_K)                                                            \
    body(BS_CODES_E5M2, BS_SCALES_NONE)                                                            \
    body(BS_CODES_E5M2, BS_SCALES_BY_OUTPUT)                                                       \
    body(BS_CODES_E5M2, BS_SCALES_BY_K)                                                            \
    body(BS_CODES_E2M1, BS_SCALES_NONE)                                                            \
    body(BS_CODES_E2M1, BS_SCALES_BY_OUTPUT)                                                       \
    body(BS_CODES_E2M1, BS_SCALES_BY_K)                                                            \
  }

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

// MARK: sums

// Tiles 0 to 3 are sums: rows 0 and 16 by outputs 0 and 16. Tiles 4 and 5 are rows, 6 and 7 outputs.

BS_INLINE void zero_sums(void) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

/// What passes the first-level cache by, so that it does not push out what is soon read again.
typedef enum { ROWS_STREAM, COLUMNS_STREAM } stream_t;

#define LOAD_ROWS(tile, address)                                                                   \
  if (stream == ROWS_STREAM) {                                                                     \
    _tile_stream_loadd(tile, address, 64);                                                         \
  } else {                                                                                         \
    _tile_loadd(tile, address, 64);                                                                \
  }
#define LOAD_COLUMNS(tile, address)                                                                \
  if (stream == COLUMNS_STREAM) {                                                                  \
    _tile_stream_loadd(tile, address, 64);                                                         \
  } else {                                                                                         \
    _tile_loadd(tile, address, 64);                                                                \
  }

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
