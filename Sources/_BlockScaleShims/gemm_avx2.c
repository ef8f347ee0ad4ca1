// SPDX-License-Identifier: Apache-2.0

#if defined(__x86_64__)

#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)

#define BS_HAS_FMA
#define BS_HAS_DECODE_E2M1
#define BS_HAS_DECODE_E4M3
#define BS_HAS_DECODE_E5M2
#include "lanes.h"

// Subnormal operands of a multiplication cost these processors a detour through microcode, so codes
// are looked up, or take the conversion from FP16, which has none.

static inline __attribute__((always_inline)) __m256 magnitudes_e2m1(__m256i codes) {
  // Only the low three bits of an index count.
  const __m256 values = _mm256_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6);
  return _mm256_permutevar8x32_ps(values, codes);
}

BS_INLINE f32x16 decode_e2m1(u32x16 words, int position) {
  union {
    u32x16 whole;
    __m256i half[2];
  } codes;
  union {
    f32x16 whole;
    __m256 half[2];
  } result;
  codes.whole = words >> (4 * position);
  for (int half = 0; half < 2; half++) {
    const __m256i sign = _mm256_slli_epi32(_mm256_srli_epi32(codes.half[half], 3), 31);
    result.half[half] =
      _mm256_xor_ps(magnitudes_e2m1(codes.half[half]), _mm256_castsi256_ps(sign));
  }
  return result.whole;
}

/// FP16 bit patterns as FP32, one in the low half of each lane.
BS_INLINE f32x16 from_fp16(u32x16 bits) {
  const u16x16 narrow = __builtin_convertvector(bits, u16x16);
  union {
    u16x16 whole;
    __m128i half[2];
  } source;
  union {
    f32x16 whole;
    __m256 half[2];
  } result;
  source.whole = narrow;
  for (int half = 0; half < 2; half++) result.half[half] = _mm256_cvtph_ps(source.half[half]);
  return result.whole;
}

BS_INLINE f32x16 decode_e4m3(u32x16 words, int position) {
  const u32x16 code = words >> (8 * position) & 0xFF;
  const u32x16 nan = (u32x16)((code & 0x7F) == 0x7F) & 0x7FC00000;
  const f32x16 value = from_fp16((code & 0x80) << 8 | (code & 0x7F) << 7) * 256.0f;
  return (f32x16)((u32x16)value | nan);
}

BS_INLINE f32x16 decode_e5m2(u32x16 words, int position) {
  return from_fp16((words >> (8 * position) & 0xFF) << 8);
}

#include "gemm_decode.h"

// Sixteen registers of eight lanes: twelve of sums.
#define BS_TIER avx2
#define BS_TILE_ROWS 6
#define BS_TILE_VECTORS 1
#include "gemm_template.h"

#pragma clang attribute pop

const bs_gemm_t *bs_gemm_avx2(void) { return &table_avx2; }

#else

#include "bs_gemm_kernels.h"

const bs_gemm_t *bs_gemm_avx2(void) { return 0; }

#endif
