// SPDX-License-Identifier: Apache-2.0

// How rows and columns lie in memory for kernels that multiply pairs of BF16, and how columns become so.
// Included where AVX-512 with VBMI is enabled.

#ifndef BLOCKSCALE_GEMM_BF16_H
#define BLOCKSCALE_GEMM_BF16_H

#include "gemm_avx512_lanes.h"

#include "gemm_decode.h"

/// The values of a hardware tile and of a tile of sums.
///
/// A hardware tile, as AMX has it, is sixteen rows of 32 k, or sixteen pairs of k of sixteen outputs; both are
/// 1024 bytes. Rows lie in chunks of 128 k: four hardware tiles of sixteen rows, one after the other, and then
/// those of the other sixteen. The last chunk has as many as there are k.
enum {
  TILE = 512,
  CHUNK_STEPS = 4,
  CHUNK_DEPTH = 32 * CHUNK_STEPS,
  CHUNK = 2 * CHUNK_STEPS * TILE,
  SUMS_STRIDE = BS_BF16_TILE_COLUMNS,
  SUMS = BS_BF16_TILE_ROWS * SUMS_STRIDE,
};

// MARK: decoding

/// Two FP32 vectors that are exact in BF16, as pairs.
BS_INLINE u32x16 paired(f32x16 even, f32x16 odd) {
  return (u32x16)_mm512_mask_blend_epi16(
    0xAAAAAAAA, _mm512_srli_epi32((__m512i)even, 16), (__m512i)odd);
}

/// 16 k of sixteen outputs: half of a hardware tile.
BS_INLINE void decode_half_tile(
  bs_codes_t format, bs_scales_t place, const bs_columns_t *columns, ptrdiff_t k, uint16_t *half
) {
  const ptrdiff_t per_word = format == BS_CODES_E2M1 ? 8 : 4;
  const uint32_t *words = (const uint32_t *)columns->codes + k / per_word * 16;
  f32x16 by_output = splat(1);
  float by_k[16];
  if (place == BS_SCALES_BY_K) {
    STORE(by_k, decode_scales(columns, columns->scales + k));
  } else if (place == BS_SCALES_BY_OUTPUT) {
    by_output = decode_scales(columns, columns->scales + k / columns->scale_block * 16);
  }
#pragma clang loop unroll(full)
  for (int word = 0; word < 16 / per_word; word++) {
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
      STORE(half + (word * per_word / 2 + pair) * 32, pairs[pair]);
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

/// `pack_rows` of `bs_bf16_gemm_t`.
void bs_pack_rows_bf16(
  const bs_rows_t *source, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t padded_depth, uint16_t *tiles);

// MARK: chunks

BS_INLINE ptrdiff_t chunk_count(ptrdiff_t depth) { return (depth + CHUNK_DEPTH - 1) / CHUNK_DEPTH; }

/// The steps of a chunk, all but the last of which have four.
BS_INLINE int chunk_steps(ptrdiff_t depth, ptrdiff_t chunk) {
  const ptrdiff_t left = depth / 32 - chunk * CHUNK_STEPS;
  return left < CHUNK_STEPS ? (int)left : CHUNK_STEPS;
}

#endif
