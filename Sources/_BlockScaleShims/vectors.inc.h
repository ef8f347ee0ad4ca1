// SPDX-License-Identifier: Apache-2.0

// Sixteen lanes of values as the quantizers' kernels load, round and store them. Included by the file
// of a tier with its instructions enabled and `BS_AVX512`, `BS_AVX2` or `BS_NEON` defined.
//
// Products and sums must round one by one: no contraction to fused operations except by name.
#pragma STDC FP_CONTRACT OFF

#include "lanes.h"

/// Copies a few bytes in place: a call would empty all vector registers around it, also those of the
/// loop whose last values these are.
BS_INLINE void copy_few(void *to, const void *from, size_t count) {
  for (size_t index = 0; index < count; index++) {
    ((uint8_t *)to)[index] = ((const uint8_t *)from)[index];
    // Keeps the loop from being recognized as what it is.
    __asm__ volatile("" ::: "memory");
  }
}

BS_INLINE size_t width_of(int source) { return source == BS_FLOAT32 ? 4 : 2; }

/// Sixteen values as FP32.
BS_INLINE f32x16 load_values(int source, const void *address) {
  if (source == BS_FLOAT32) return LOAD(f32x16, address);
  if (source == BS_FLOAT16) return __builtin_convertvector(LOAD(f16x16, address), f32x16);
  const u32x16 wide = __builtin_convertvector(LOAD(u16x16, address), u32x16);
  return (f32x16)(wide << 16);
}

/// The first `count` of sixteen values, then zeros.
BS_INLINE f32x16 load_some(int source, const void *address, size_t count) {
  if (count >= 16) return load_values(source, address);
  uint8_t padded[64] = {0};
  copy_few(padded, address, count * width_of(source));
  return load_values(source, padded);
}

/// Rounds as arithmetic in a narrower format would.
BS_INLINE f32x16 rounded(int format, f32x16 values) {
  if (format == BS_BFLOAT16) {
    const i32x16 is_nan = values != values;
    const i32x16 upper = (i32x16)(rounded_to_upper_half(values) & 0xFFFF0000);
    return (f32x16)select16(is_nan, (i32x16)values, upper);
  }
  if (format == BS_FLOAT16) {
    return __builtin_convertvector(__builtin_convertvector(values, f16x16), f32x16);
  }
  return values;
}

#if defined(BS_AVX512)

/// The low bytes of 64 lanes.
BS_INLINE void store64(uint8_t *address, i32x16 a, i32x16 b, i32x16 c, i32x16 d) {
  // Packs work within quarters of a register, whose words are put in order at the end.
  const __m512i words = _mm512_packus_epi16(
    _mm512_packus_epi32((__m512i)a, (__m512i)b), _mm512_packus_epi32((__m512i)c, (__m512i)d));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  _mm512_storeu_si512(address, _mm512_permutexvar_epi32(order, words));
}

/// Sixteen floats of a table of eight.
BS_INLINE f32x16 lookup8(const float *table, i32x16 indices) {
  const __m512 twice = (__m512)_mm512_broadcast_f64x4(_mm256_loadu_pd((const double *)table));
  return (f32x16)_mm512_permutexvar_ps((__m512i)indices, twice);
}

#elif defined(BS_AVX2)

BS_INLINE void store64(uint8_t *address, i32x16 a, i32x16 b, i32x16 c, i32x16 d) {
  const i32x16 parts[4] = {a, b, c, d};
  for (int index = 0; index < 4; index += 2) {
    const __m256i *p = (const __m256i *)&parts[index];
    const __m256i words =
      _mm256_packus_epi16(_mm256_packus_epi32(p[0], p[1]), _mm256_packus_epi32(p[2], p[3]));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_storeu_si256(
      (__m256i *)(address + 16 * index), _mm256_permutevar8x32_epi32(words, order));
  }
}

BS_INLINE f32x16 lookup8(const float *table, i32x16 indices) {
  const __m256 values = _mm256_loadu_ps(table);
  f32x16 result;
  for (int half = 0; half < 2; half++) {
    ((__m256 *)&result)[half] =
      _mm256_permutevar8x32_ps(values, ((const __m256i *)&indices)[half]);
  }
  return result;
}

#else

BS_INLINE void store64(uint8_t *address, i32x16 a, i32x16 b, i32x16 c, i32x16 d) {
  STORE(address, __builtin_convertvector(a, u8x16));
  STORE(address + 16, __builtin_convertvector(b, u8x16));
  STORE(address + 32, __builtin_convertvector(c, u8x16));
  STORE(address + 48, __builtin_convertvector(d, u8x16));
}

BS_INLINE f32x16 lookup8(const float *table, i32x16 indices) {
  const uint8x16x2_t bytes = {
    {vld1q_u8((const uint8_t *)table), vld1q_u8((const uint8_t *)table + 16)}};
  // The four bytes of each lane lie next to each other.
  const i32x16 places = indices * 0x04040404 + 0x03020100;
  f32x16 result;
  for (int quarter = 0; quarter < 4; quarter++) {
    ((uint8x16_t *)&result)[quarter] =
      vqtbl2q_u8(bytes, ((const uint8x16_t *)&places)[quarter]);
  }
  return result;
}

#endif

/// The low bytes of sixteen lanes.
BS_INLINE u8x16 low_bytes(i32x16 lanes) { return __builtin_convertvector(lanes, u8x16); }

/// Sixteen bytes of a table of sixteen; indices are below 16.
BS_INLINE u8x16 lookup16(u8x16 table, u8x16 indices) {
#if defined(BS_NEON)
  return (u8x16)vqtbl1q_u8((uint8x16_t)table, (uint8x16_t)indices);
#else
  return (u8x16)_mm_shuffle_epi8((__m128i)table, (__m128i)indices);
#endif
}
