// SPDX-License-Identifier: Apache-2.0

// How codes and scales are decoded with AVX-512. Included inside functions targeted at it.

#ifndef BLOCKSCALE_GEMM_AVX512_LANES_H
#define BLOCKSCALE_GEMM_AVX512_LANES_H

#include <immintrin.h>

#define BS_HAS_DECODE_E2M1
#define BS_HAS_DECODE_E4M3
#define BS_HAS_DECODE_E5M2
#define BS_HAS_SCALE_E4M3
#include "lanes.h"

BS_INLINE f32x16 decode_e2m1(u32x16 words, int position) {
  // Only the low four bits of an index count.
  const __m512 values = _mm512_setr_ps(
    0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6);
  const __m512i codes = _mm512_srli_epi32((__m512i)words, (unsigned)(4 * position));
  return (f32x16)_mm512_permutexvar_ps(codes, values);
}

/// FP16 bit patterns as FP32, one in the low half of each lane; subnormals cost nothing here.
BS_INLINE f32x16 from_fp16(u32x16 bits) {
  return (f32x16)_mm512_cvtph_ps(_mm512_cvtepi32_epi16((__m512i)bits));
}

BS_INLINE f32x16 decode_e4m3(u32x16 words, int position) {
  const u32x16 code = words >> (8 * position) & 0xFF;
  const f32x16 value = from_fp16((code & 0x80) << 8 | (code & 0x7F) << 7) * 256.0f;
  const __mmask16 nan =
    _mm512_cmpeq_epi32_mask((__m512i)(code & 0x7F), _mm512_set1_epi32(0x7F));
  return (f32x16)_mm512_mask_mov_ps(
    (__m512)value, nan, _mm512_castsi512_ps(_mm512_set1_epi32(0x7FC00000)));
}

BS_INLINE f32x16 decode_e5m2(u32x16 words, int position) {
  return from_fp16((words >> (8 * position) & 0xFF) << 8);
}

BS_INLINE f32x16 scales_e4m3(u8x16 codes) {
  const __m128i bytes = (__m128i)codes;
  const __m256i halves =
    _mm256_slli_epi16(_mm256_cvtepu8_epi16(_mm_and_si128(bytes, _mm_set1_epi8(0x7F))), 7);
  const __m512 magnitude = _mm512_mul_ps(_mm512_cvtph_ps(halves), _mm512_set1_ps(256));
  const __mmask16 nan = _mm_cmpeq_epi8_mask(
    _mm_and_si128(bytes, _mm_set1_epi8(0x7F)), _mm_set1_epi8(0x7F));
  const __m512i sign = _mm512_slli_epi32(
    _mm512_cvtepu8_epi32(_mm_and_si128(bytes, _mm_set1_epi8((char)0x80))), 24);
  const __m512 value = _mm512_or_ps(magnitude, _mm512_castsi512_ps(sign));
  return (f32x16)_mm512_mask_mov_ps(
    value, nan, _mm512_castsi512_ps(_mm512_set1_epi32(0x7FC00000)));
}

#include "gemm_decode.h"

#endif
