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

/// Adds the products of 32 k.
BS_INLINE void multiply_step(
  bool two, const uint16_t *a0, const uint16_t *a1, const uint16_t *b0, const uint16_t *b1
) {
  _tile_loadd(4, a0, 64);
  _tile_loadd(6, b0, 64);
  _tile_dpbf16ps(0, 4, 6);
  _tile_loadd(7, b1, 64);
  _tile_dpbf16ps(1, 4, 7);
  if (two) {
    _tile_loadd(5, a1, 64);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
}

/// The sums of one part on their way to `c`: some rows at a time, between the products of the next.
typedef struct {
  const float *sums;
  /// Scales of outputs, unless one serves them all; and of rows, times that one.
  f32x16 column_scales[2];
  float row_scales[32] __attribute__((aligned(64)));
  float *c;
  bool accumulate;
} part_t;

BS_INLINE void finish_part(
  part_t *result, const float *sums, const bs_promotion_t *promotion, bool equal, ptrdiff_t part,
  ptrdiff_t tile, float *c, bool accumulate
) {
  result->sums = sums;
  result->c = c;
  result->accumulate = accumulate;
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
  float *c = part->c;
#pragma clang loop unroll_count(2)
  for (int row = first; row < end; row++) {
#pragma clang loop unroll(full)
    for (int block = 0; block < 2; block++) {
      const ptrdiff_t place = row * SUMS_STRIDE + 16 * block;
      const f32x16 old = part->accumulate ? LOAD(f32x16, c + place) : splat(0);
      f32x16 scale = splat(part->row_scales[row]);
      if (!equal) scale *= part->column_scales[block];
      STORE(c + place, multiply_add(LOAD(f32x16, part->sums + place), scale, old));
    }
  }
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
    multiply_step(two, a0 + step * TILE, a1 + step * TILE, b0 + step * TILE, b1 + step * TILE);
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
/// A part's rows and all sums stay in the first-level cache while its columns pass by. `equal` and
/// `two` are constants where this is inlined.
BS_INLINE void multiply_parts(
  bool equal, bool two, const bs_amx_operands_t *operands, ptrdiff_t depth,
  const bs_promotion_t *promotion, float *c, bool accumulate
) {
  const int rows = two ? 32 : 16;
  const ptrdiff_t steps = depth / 32;
  const ptrdiff_t part_steps = promotion->depth / 32;
  const char *next = operands->next;
  // The sums of a tile wait here for their scales while the next tile's are formed.
  float waiting[2][32 * SUMS_STRIDE] __attribute__((aligned(64)));
  part_t finished;
  int promoted_rows = rows, turn = 0;
  ptrdiff_t part = 0;
  for (ptrdiff_t first = 0; first < steps; first += part_steps, part++) {
    const ptrdiff_t end = first + part_steps < steps ? first + part_steps : steps;
    for (ptrdiff_t tile = 0; tile < operands->tiles; tile++) {
      const uint16_t *b0 = operands->b[0] + tile * operands->tile_stride;
      const uint16_t *b1 = operands->b[1] + tile * operands->tile_stride;
      zero_sums();
      for (ptrdiff_t step = first; step < end; step++) {
        if (promoted_rows < rows) {
          promote_rows(&finished, equal, promoted_rows, promoted_rows + 8);
          promoted_rows += 8;
        }
        multiply_step(
          two, operands->a[0] + step * TILE, operands->a[1] + step * TILE, b0 + step * TILE,
          b1 + step * TILE);
        for (ptrdiff_t line = 0; line < operands->next_lines; line++, next += 64) {
          _mm_prefetch(next, _MM_HINT_T1);
        }
      }
      promote_rows(&finished, equal, promoted_rows, rows);
      store_sums(two, waiting[turn]);
      finish_part(
        &finished, waiting[turn], promotion, equal, part, tile,
        c + tile * BS_AMX_TILE_ROWS * SUMS_STRIDE, accumulate || part > 0);
      turn ^= 1;
      promoted_rows = 0;
    }
  }
  promote_rows(&finished, equal, promoted_rows, rows);
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

#pragma clang attribute pop

#else
typedef int bs_no_amx;
#endif
