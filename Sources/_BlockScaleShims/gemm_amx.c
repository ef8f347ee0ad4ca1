// SPDX-License-Identifier: Apache-2.0

// Products on AMX tiles. A hardware tile holds 16 rows of X by 32 k, or 16 pairs of k by 16 outputs;
// both are 1024 contiguous bytes. Four tiles of sums stay in registers over all k of a call.

#if defined(__x86_64__)

#include <immintrin.h>

#pragma clang attribute push( \
  __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx2,fma," \
                        "f16c"), \
                 min_vector_width(512))), \
  apply_to = function)

#define BS_HAS_FMA
#include "gemm_avx512_lanes.h"
#include "gemm_rows.h"

enum { TILE = 512, SUMS_STRIDE = BS_AMX_TILE_COLUMNS, SUMS_BYTES = SUMS_STRIDE * 4 };

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

void bs_decode_amx(const bs_columns_t *columns, ptrdiff_t k0, ptrdiff_t depth, uint16_t *panel) {
#define BS_CASE(format, place)                                                                     \
  case format * 4 + place:                                                                         \
    for (ptrdiff_t k = 0; k < depth; k += 32) {                                                    \
      decode_tile(format, place, columns, k0 + k, panel + k / 32 * TILE);                          \
    }                                                                                              \
    return;
  BS_FOR_FORMAT(columns, BS_CASE)
#undef BS_CASE
}

// MARK: rows

void bs_pack_rows_amx(
  const bs_rows_t *source, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t padded_depth, uint16_t *tiles
) {
#define BS_CASE(format)                                                                            \
  case format:                                                                                     \
    for (ptrdiff_t r = 0; r < 16; r++) {                                                           \
      for (ptrdiff_t k = 0; k < padded_depth; k += 32) {                                           \
        uint16_t *to = tiles + k / 32 * TILE + r * 32;                                             \
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

BS_INLINE void load_sums(const float *c) {
  _tile_loadd(0, c, SUMS_BYTES);
  _tile_loadd(1, c + 16, SUMS_BYTES);
  _tile_loadd(2, c + 16 * SUMS_STRIDE, SUMS_BYTES);
  _tile_loadd(3, c + 16 * SUMS_STRIDE + 16, SUMS_BYTES);
}

BS_INLINE void store_sums(bool two, float *c) {
  _tile_stored(0, c, SUMS_BYTES);
  _tile_stored(1, c + 16, SUMS_BYTES);
  if (two) {
    _tile_stored(2, c + 16 * SUMS_STRIDE, SUMS_BYTES);
    _tile_stored(3, c + 16 * SUMS_STRIDE + 16, SUMS_BYTES);
  }
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

/// Adds the products of 32 k. `two` and `stream` are constants where this is inlined.
BS_INLINE void multiply_step(
  bool two, stream_t stream, const uint16_t *a0, const uint16_t *a1, const uint16_t *b0,
  const uint16_t *b1
) {
  LOAD_ROWS(4, a0)
  LOAD_COLUMNS(6, b0)
  _tile_dpbf16ps(0, 4, 6);
  LOAD_COLUMNS(7, b1)
  _tile_dpbf16ps(1, 4, 7);
  if (two) {
    LOAD_ROWS(5, a1)
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
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
#pragma clang loop unroll_count(2)
  for (int row = first; row < end; row++) {
    const float *sums = part->sums + row / 16 * 512 + row % 16 * 16;
#pragma clang loop unroll(full)
    for (int half = 0; half < 2; half++) {
      float *c = part->c + row * SUMS_STRIDE + 16 * half;
      f32x16 scale = splat(part->row_scales[row]);
      if (!equal) scale *= part->column_scales[half];
      STORE(c, multiply_add(LOAD(f32x16, sums + 256 * half), scale, LOAD(f32x16, c)));
    }
  }
}

/// What is to be made ready while the products of one part go on.
typedef struct {
  /// Decodes 32 k of sixteen outputs; NULL if there is nothing to decode.
  void (*decode)(const bs_columns_t *columns, ptrdiff_t k, uint16_t *tile);
  const bs_columns_t *columns;
  ptrdiff_t k;
  uint16_t *panel;
  /// Hardware tiles for each sixteen outputs, and how many of both are done.
  int steps, done;
  /// What is read next from beyond L2, in lines for each 32 k.
  const char *next;
  ptrdiff_t next_lines;
} ahead_t;

BS_INLINE void decode_ahead(ahead_t *ahead, int until) {
  for (; ahead->done < until; ahead->done++) {
    const int half = ahead->done % 2, step = ahead->done / 2;
    ahead->decode(
      ahead->columns + half, ahead->k + 32 * step,
      ahead->panel + (half * ahead->steps + step) * TILE);
  }
}

/// One line of two is enough: the processor fetches them in pairs.
BS_INLINE void prefetch_ahead(ahead_t *ahead) {
  for (ptrdiff_t line = 0; line < ahead->next_lines; line += 2) {
    _mm_prefetch(ahead->next + line * 64, _MM_HINT_T1);
  }
  ahead->next += ahead->next_lines * 64;
}

/// The products of one part. Each tile of sums of the part before is stored when the next tile is at
/// work, and promoted in the course of the products. `two` says whether there are sums of more than
/// sixteen rows, `lower` whether this part has such rows. `until` hardware tiles are to be decoded in
/// the end. `steps` may be a constant; `equal`, `two`, `lower` and `stream` are.
BS_INLINE void multiply_part(
  bool equal, bool two, bool lower, stream_t stream, int steps, const uint16_t *a0,
  const uint16_t *a1, const uint16_t *b0, const uint16_t *b1, part_t *before, ahead_t *ahead,
  int until
) {
  const int rows = two ? 32 : 16;
  LOAD_ROWS(4, a0)
  LOAD_COLUMNS(6, b0)
  _tile_stored(0, before->sums, 64);
  _tile_zero(0);
  _tile_dpbf16ps(0, 4, 6);
  LOAD_COLUMNS(7, b1)
  _tile_stored(1, before->sums + 256, 64);
  _tile_zero(1);
  _tile_dpbf16ps(1, 4, 7);
  if (two) {
    if (lower) {
      LOAD_ROWS(5, a1)
    }
    _tile_stored(2, before->sums + 512, 64);
    _tile_zero(2);
    if (lower) _tile_dpbf16ps(2, 5, 6);
    _tile_stored(3, before->sums + 768, 64);
    _tile_zero(3);
    if (lower) _tile_dpbf16ps(3, 5, 7);
  }
  int promoted = 0;
  const int done = ahead->done;
#pragma clang loop unroll_count(3)
  for (int step = 1; step <= steps; step++) {
    if (stream == ROWS_STREAM) {
      decode_ahead(ahead, done + (until - done) * step / steps);
    } else {
      prefetch_ahead(ahead);
    }
    const int end = rows * step / steps;
    promote_rows(before, equal, promoted, end);
    promoted = end;
    if (step < steps) {
      multiply_step(
        lower, stream, a0 + step * TILE, a1 + step * TILE, b0 + step * TILE, b1 + step * TILE);
    }
  }
}

enum { USUAL_PART_STEPS = 4 };

/// Before the first part there are sums of zero.
BS_INLINE void begin_parts(part_t *before, float *c, ptrdiff_t tiles, bool accumulate) {
  if (!accumulate) memset(c, 0, tiles * BS_AMX_TILE_ROWS * SUMS_STRIDE * sizeof *c);
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

/// Sums over all k of a call, decoding its columns first if told so.
BS_INLINE void multiply_plain(
  bool decodes, bs_codes_t format, bs_scales_t place, bool two, const bs_amx_operands_t *operands,
  const bs_columns_t *columns, ptrdiff_t k0, uint16_t *const *panel, ptrdiff_t depth, float *c,
  bool accumulate
) {
  const uint16_t *a0 = operands->a[0], *a1 = operands->a[1];
  const uint16_t *b0 = decodes ? panel[0] : operands->b[0];
  const uint16_t *b1 = decodes ? panel[1] : operands->b[1];
  const char *next = operands->next;
  const ptrdiff_t steps = depth / 32;
  if (decodes) {
    decode_tile(format, place, columns, k0, panel[0]);
    decode_tile(format, place, columns + 1, k0, panel[1]);
  }
  if (accumulate) {
    load_sums(c);
  } else {
    zero_sums();
  }
  for (ptrdiff_t step = 0; step < steps; step++) {
    multiply_step(
      two, decodes ? ROWS_STREAM : COLUMNS_STREAM, a0 + step * TILE, a1 + step * TILE, b0 + step * TILE, b1 + step * TILE);
    if (!decodes) {
      for (ptrdiff_t line = 0; line < operands->next_lines; line++, next += 64) {
        _mm_prefetch(next, _MM_HINT_T1);
      }
    } else if (step + 1 < steps) {
      // One step ahead of the products, which go on meanwhile.
      const ptrdiff_t k = k0 + (step + 1) * 32;
      decode_tile(format, place, columns, k, panel[0] + (step + 1) * TILE);
      decode_tile(format, place, columns + 1, k, panel[1] + (step + 1) * TILE);
    }
  }
  store_sums(two, c);
}

/// Sums in parts of k that take scales, for tiles of outputs side by side.
///
/// A part's rows and all sums stay in the first-level cache while its columns stream past it. `equal`
/// and `two` are constants where this is inlined.
BS_INLINE void multiply_parts(
  bool equal, bool two, const bs_amx_operands_t *operands, ptrdiff_t depth,
  const bs_promotion_t *promotion, float *c, bool accumulate
) {
  const ptrdiff_t steps = depth / 32;
  const ptrdiff_t part_steps = promotion->depth / 32;
  ahead_t ahead = {.next = operands->next, .next_lines = operands->next_lines};
  part_t before;
  begin_parts(&before, c, operands->tiles, accumulate);
  ptrdiff_t part = 0;
  for (ptrdiff_t first = 0; first < steps; first += part_steps, part++) {
    const int count = (int)(first + part_steps < steps ? part_steps : steps - first);
    const uint16_t *a0 = operands->a[0] + first * TILE, *a1 = operands->a[1] + first * TILE;
    for (ptrdiff_t tile = 0; tile < operands->tiles; tile++) {
      const ptrdiff_t place = tile * operands->tile_stride + first * TILE;
      const uint16_t *b0 = operands->b[0] + place, *b1 = operands->b[1] + place;
      if (count == USUAL_PART_STEPS) {
        multiply_part(
          equal, two, two, COLUMNS_STREAM, USUAL_PART_STEPS, a0, a1, b0, b1, &before, &ahead, 0);
      } else {
        multiply_part(
          equal, two, two, COLUMNS_STREAM, count, a0, a1, b0, b1, &before, &ahead, 0);
      }
      finish_part(
        &before, promotion, equal, part, tile, c + tile * BS_AMX_TILE_ROWS * SUMS_STRIDE);
    }
  }
  end_parts(&before, equal, two);
}

void bs_multiply_amx(
  const bs_amx_operands_t *operands, ptrdiff_t depth, const bs_promotion_t *promotion, float *c,
  bool accumulate
) {
  const bool two = operands->a[0] != operands->a[1];
  if (promotion->depth) {
    const bool equal = !promotion->columns || promotion->columns_are_equal;
    if (equal && two) {
      multiply_parts(true, true, operands, depth, promotion, c, accumulate);
    } else if (two) {
      multiply_parts(false, true, operands, depth, promotion, c, accumulate);
    } else {
      multiply_parts(equal, false, operands, depth, promotion, c, accumulate);
    }
    return;
  }
  for (ptrdiff_t tile = 0; tile < operands->tiles; tile++) {
    bs_amx_operands_t one = *operands;
    one.b[0] += tile * operands->tile_stride;
    one.b[1] += tile * operands->tile_stride;
    one.next = (const char *)operands->next + tile * operands->next_lines * 64 * (depth / 32);
    float *sums = c + tile * BS_AMX_TILE_ROWS * SUMS_STRIDE;
    if (two) {
      multiply_plain(
        false, BS_CODES_BF16, BS_SCALES_NONE, true, &one, NULL, 0, NULL, depth, sums, accumulate);
    } else {
      multiply_plain(
        false, BS_CODES_BF16, BS_SCALES_NONE, false, &one, NULL, 0, NULL, depth, sums, accumulate);
    }
  }
}

void bs_decode_multiply_amx(
  const bs_amx_operands_t *operands, const bs_columns_t columns[2], ptrdiff_t k0, ptrdiff_t depth,
  uint16_t *panel[2], float *c, bool accumulate
) {
  const bool two = operands->a[0] != operands->a[1];
#define BS_CASE(format, place)                                                                     \
  case format * 4 + place:                                                                         \
    if (two) {                                                                                     \
      multiply_plain(                                                                              \
        true, format, place, true, operands, columns, k0, panel, depth, c, accumulate);            \
    } else {                                                                                       \
      multiply_plain(                                                                              \
        true, format, place, false, operands, columns, k0, panel, depth, c, accumulate);           \
    }                                                                                              \
    return;
  BS_FOR_FORMAT(columns, BS_CASE)
#undef BS_CASE
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
  ahead_t ahead = {.columns = columns, .k = k0, .steps = (int)part_steps};
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
      const uint16_t *b0 = panel + turn * 2 * part_steps * TILE, *b1 = b0 + part_steps * TILE;
      turn ^= 1;
      const bool tile_ends = first + count == steps;
      const ptrdiff_t after = tile_ends ? 0 : first + count;
      ahead.columns = columns + 2 * (tile + tile_ends);
      ahead.k = k0 + 32 * after;
      ahead.panel = panel + turn * 2 * part_steps * TILE;
      ahead.done = 0;
      int units = 2 * (int)(after + part_steps < steps ? part_steps : steps - after);
      if (tile_ends && tile + 1 == tiles) units = 0;
      for (ptrdiff_t row = 0; row < rows->tiles; row++) {
        const uint16_t *a0 = rows->a + row * rows->tile_stride + first * TILE;
        const uint16_t *a1 = a0 + rows->tile_stride / 2;
        const int until = units * (int)(row + 1) / (int)rows->tiles;
        const bool lower = row + 1 < rows->tiles || !rows->last_is_half;
        if (!two) {
          multiply_part(
            equal, false, false, ROWS_STREAM, count, a0, a1, b0, b1, &before, &ahead, until);
        } else if (lower && count == USUAL_PART_STEPS) {
          multiply_part(
            equal, true, true, ROWS_STREAM, USUAL_PART_STEPS, a0, a1, b0, b1, &before, &ahead,
            until);
        } else if (lower) {
          multiply_part(
            equal, true, true, ROWS_STREAM, count, a0, a1, b0, b1, &before, &ahead, until);
        } else {
          multiply_part(
            equal, true, false, ROWS_STREAM, count, a0, a1, b0, b1, &before, &ahead, until);
        }
        bs_promotion_t own = *promotion;
        if (own.rows) own.rows += row * rows->promotion_stride;
        finish_part(
          &before, &own, equal, part, tile,
          c + (row * tiles + tile) * BS_AMX_TILE_ROWS * SUMS_STRIDE);
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
