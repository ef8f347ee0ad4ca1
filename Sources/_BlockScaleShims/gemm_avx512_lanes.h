// SPDX-License-Identifier: Apache-2.0

// How codes and scales are decoded with AVX-512. Included inside functions targeted at it.

#ifndef BLOCKSCALE_GEMM_AVX512_LANES_H
#define BLOCKSCALE_GEMM_AVX512_LANES_H

#include <immintrin.h>

#define BS_HAS_DECODE_E2M1
#define BS_HAS_DECODE_E4M3
#define BS_HAS_DECODE_E5M2
#define BS_HAS_SCALE_E4M3
#define BS_HAS_FOUR_SCALES_E4M3
#include "bf16_tables.h"
#include "bs_gemm.h"
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

/// FP8 codes as BF16: in `halves[0]` the lower eight of each quarter's sixteen, in `halves[1]` the upper.
BS_INLINE void decode_fp8_quarters(bs_codes_t format, __m512i codes, u32x16 halves[2]) {
  const bool is_e4m3 = format == BS_CODES_E4M3;
  const uint8_t *low = is_e4m3 ? E4M3_BF16_LOW : E5M2_BF16_LOW;
  const uint8_t *high = is_e4m3 ? E4M3_BF16_HIGH : E5M2_BF16_HIGH;
  const __m512i low_bytes = _mm512_permutex2var_epi8(
    _mm512_loadu_si512(low), codes, _mm512_loadu_si512(low + 64));
  const __m512i magnitudes = _mm512_permutex2var_epi8(
    _mm512_loadu_si512(high), codes, _mm512_loadu_si512(high + 64));
  // magnitudes | (codes & 0x80)
  const __m512i high_bytes =
    _mm512_ternarylogic_epi64(magnitudes, codes, _mm512_set1_epi8((char)0x80), 0xF8);
  halves[0] = (u32x16)_mm512_unpacklo_epi8(low_bytes, high_bytes);
  halves[1] = (u32x16)_mm512_unpackhi_epi8(low_bytes, high_bytes);
}

/// The pairs (k, k+1) and (k+2, k+3) of words of FP8 codes.
BS_INLINE void decode_fp8_pairs(bs_codes_t format, u32x16 words, u32x16 pairs[2]) {
  // In each quarter the first codes of four words come first, so that unpacking restores words.
  const __m512i order = _mm512_broadcast_i32x4(
    _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
  decode_fp8_quarters(format, _mm512_shuffle_epi8((__m512i)words, order), pairs);
}

/// 64 FP8 codes as BF16 in their order.
BS_INLINE void decode_fp8_sequence(bs_codes_t format, const uint8_t *codes, u32x16 halves[2]) {
  // Eights of the first half and of the second by turns, so that unpacking keeps each half together.
  const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
  decode_fp8_quarters(
    format, _mm512_permutexvar_epi64(order, _mm512_loadu_si512(codes)), halves);
}

/// Four groups of sixteen scales that follow one another.
BS_INLINE void four_scales_e4m3(const uint8_t *codes, f32x16 scales[4]) {
  // One code of each group in every word.
  const __m512i by_lane = _mm512_broadcast_i32x4(
    _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  const __m512i quarters = _mm512_setr_epi32(
    0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i words = _mm512_shuffle_epi8(
    _mm512_permutexvar_epi32(quarters, _mm512_loadu_si512(codes)), by_lane);
  u32x16 pairs[2];
  decode_fp8_pairs(BS_CODES_E4M3, (u32x16)words, pairs);
  for (int pair = 0; pair < 2; pair++) {
    scales[2 * pair] = (f32x16)(pairs[pair] << 16);
    scales[2 * pair + 1] = (f32x16)(pairs[pair] & 0xFFFF0000);
  }
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

#define BS_HAS_DECODE_WORD
BS_INLINE void decode_word(bs_codes_t format, u32x16 words, f32x16 values[8]) {
  if (format == BS_CODES_E4M3 || format == BS_CODES_E5M2) {
    u32x16 pairs[2];
    decode_fp8_pairs(format, words, pairs);
    for (int pair = 0; pair < 2; pair++) {
      values[2 * pair] = decode_bf16(pairs[pair], 0);
      values[2 * pair + 1] = decode_bf16(pairs[pair], 1);
    }
  } else {
    decode_positions(format, words, values);
  }
}

#endif
