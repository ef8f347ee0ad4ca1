// SPDX-License-Identifier: Apache-2.0

// A few rows with columns of E2M1, by integers. Included inside functions targeted at AVX-512 with VBMI
// and VNNI.
//
// Twice a code is a whole number from -12 to 12, and sixteen values of a row are whole multiples of a power
// of two, of 22 bits as long as their exponents lie no more than 14 apart. Their products are bytes times
// bytes, whose sums are exact: two lookups decode 128 codes, where FP32 takes a shift and a lookup for each
// sixteen.

#ifndef BLOCKSCALE_GEMM_AVX512_DIGITS_H
#define BLOCKSCALE_GEMM_AVX512_DIGITS_H

#include "bs_gemm_kernels.h"
#include "gemm_avx512_lanes.h"

enum {
  /// The bits of a whole number without its sign, and how far an exponent may lie below the largest one so
  /// that the eight bits of a significand are among them.
  DIGITS_BITS = 22,
  DIGITS_REACH = DIGITS_BITS - 8,
  /// What makes twice a code positive; products have one factor without a sign.
  DIGITS_BIAS = 12,
};

// MARK: rows

/// Puts those of sixteen values that are multiples of one unit into digits, and zeros for the others.
///
/// - Returns: The values that are left, or -1 if one is not finite.
BS_INLINE int32_t split_sixteen(__m512 values, int32_t block, bs_digits_t *digits) {
  const __m512i magnitudes =
    _mm512_and_si512((__m512i)values, _mm512_set1_epi32(0x7FFFFFFF));
  const uint32_t largest = _mm512_reduce_max_epu32(magnitudes);
  if (largest >= 0x7F800000) return -1;
  // Subnormal values are multiples of the same power as those of the first exponent.
  const int exponent = largest < 0x800000 ? 1 : (int)(largest >> 23);
  const __m512i exponents =
    _mm512_max_epu32(_mm512_srli_epi32(magnitudes, 23), _mm512_set1_epi32(1));
  const __mmask16 fits =
    _mm512_cmpge_epi32_mask(exponents, _mm512_set1_epi32(exponent - DIGITS_REACH))
    | _mm512_testn_epi32_mask(magnitudes, magnitudes);
  const int unit = exponent - 126 - DIGITS_BITS;
  const __m512i wholes = _mm512_cvtps_epi32(
    _mm512_scalef_ps(_mm512_maskz_mov_ps(fits, values), _mm512_set1_ps((float)-unit)));
  // Digits from -128 to 127: bytes of the number plus 128 in each place, less 128.
  const __m512i bytes = _mm512_xor_si512(
    _mm512_add_epi32(wholes, _mm512_set1_epi32(0x808080)), _mm512_set1_epi32(0x808080));
  // By word of eight k, digit and parity of k: four k that lie two apart.
  const __m512i order = _mm512_setr_epi32(
    0x18100800, 0x1C140C04, 0x19110901, 0x1D150D05, 0x1A120A02, 0x1E160E06,
    0x38302820, 0x3C342C24, 0x39312921, 0x3D352D25, 0x3A322A22, 0x3E362E26, 0, 0, 0, 0);
  _mm512_storeu_si512(digits, _mm512_permutexvar_epi8(order, bytes));
  digits->offset = -DIGITS_BIAS * _mm512_reduce_add_epi32(wholes);
  // Codes are doubled.
  digits->unit =
    _mm512_cvtss_f32(_mm512_scalef_ps(_mm512_set1_ps(0.5f), _mm512_set1_ps((float)unit)));
  digits->block = block;
  return (uint16_t)~fits;
}

static ptrdiff_t split_row(
  const float *x, ptrdiff_t depth, bs_digits_t *digits, ptrdiff_t capacity
) {
  const ptrdiff_t blocks = depth / 16;
  ptrdiff_t count = blocks;
  for (ptrdiff_t block = 0; block < blocks; block++) {
    __m512 values = _mm512_loadu_ps(x + 16 * block);
    bs_digits_t *to = digits + block;
    for (;;) {
      const int32_t left = split_sixteen(values, (int32_t)block, to);
      if (left == 0) break;
      if (left < 0 || count == capacity) return 0;
      values = _mm512_maskz_mov_ps((__mmask16)left, values);
      to = digits + count++;
    }
  }
  return count;
}

// MARK: products

/// 16 k of sixteen outputs, two words of codes, as bytes: by word and by parity of k.
BS_INLINE void decode_doubled(const uint32_t *words, __m512i codes[2][2]) {
  // Two bits above a code's four are of no meaning.
  const __m512i doubled = _mm512_broadcast_i32x4(_mm_setr_epi8(
    12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
#pragma clang loop unroll(full)
  for (int word = 0; word < 2; word++) {
    const __m512i some = _mm512_loadu_si512(words + 16 * word);
    codes[word][0] = _mm512_permutexvar_epi8(some, doubled);
    codes[word][1] = _mm512_permutexvar_epi8(_mm512_srli_epi32(some, 4), doubled);
  }
}

/// The sums of sixteen outputs over 16 k, rounded once.
BS_INLINE f32x16 digit_sums(const bs_digits_t *digits, __m512i codes[2][2]) {
  // Chains of additions are short, since the processor looks ahead over few of them.
  __m512i sums[3] = {
    _mm512_set1_epi32(digits->offset), _mm512_setzero_si512(), _mm512_setzero_si512()};
#pragma clang loop unroll(full)
  for (int word = 0; word < 2; word++) {
#pragma clang loop unroll(full)
    for (int parity = 0; parity < 2; parity++) {
#pragma clang loop unroll(full)
      for (int digit = 0; digit < 3; digit++) {
        sums[digit] = _mm512_dpbusd_epi32(
          sums[digit], codes[word][parity],
          _mm512_set1_epi32((int32_t)digits->digits[word][digit][parity]));
      }
    }
  }
  const __m512i upper =
    _mm512_add_epi32(_mm512_slli_epi32(sums[2], 16), _mm512_slli_epi32(sums[1], 8));
  const f32x16 whole = (f32x16)_mm512_cvtepi32_ps(_mm512_add_epi32(upper, sums[0]));
  return whole * digits->unit;
}

/// Four scales of a group of outputs, or as many as are left.
BS_INLINE void some_scales(
  const bs_columns_t *columns, ptrdiff_t first, ptrdiff_t count, f32x16 scales[4]
) {
  const uint8_t *codes = columns->scales + first * 16;
  if (count == 4) {
    decode_four_scales(columns, codes, scales);
  } else {
    for (ptrdiff_t index = 0; index < count; index++) {
      scales[index] = decode_scales(columns, codes + index * 16);
    }
  }
}

/// Adds what of a row's blocks did not fit their units.
BS_INLINE f32x16 add_rests(
  const bs_few_rows_t *few, int row, int scale_block, const bs_columns_t *columns,
  ptrdiff_t depth, f32x16 sums
) {
  const bs_digits_t *digits = few->digits + row * few->digits_stride;
  for (ptrdiff_t rest = depth / 16; rest < few->digits_count[row]; rest++) {
    const ptrdiff_t block = digits[rest].block;
    __m512i codes[2][2];
    decode_doubled((const uint32_t *)columns->codes + 32 * block, codes);
    const f32x16 scale =
      decode_scales(columns, columns->scales + block / (scale_block / 16) * 16);
    sums = multiply_add(digit_sums(digits + rest, codes), scale, sums);
  }
  return sums;
}

/// `rows`, `groups` and `scale_block`, 16 or 32, are constants where this is inlined.
BS_INLINE void multiply_digits_as(
  int rows, int groups, int scale_block, const bs_few_rows_t *few, const bs_columns_t *columns,
  ptrdiff_t depth, float *c, ptrdiff_t c_stride
) {
  const ptrdiff_t scale_count = depth / scale_block;
  // Far enough for memory's latency, across the ends of pages; less where several places are read by turns.
  const ptrdiff_t ahead = groups > 1 ? 2048 : 4096;
  f32x16 sums[4][4];
#pragma clang loop unroll(full)
  for (int group = 0; group < groups; group++) {
#pragma clang loop unroll(full)
    for (int row = 0; row < rows; row++) sums[group][row] = splat(0);
  }
  for (ptrdiff_t first = 0; first < scale_count; first += 4) {
    const ptrdiff_t count = first + 4 <= scale_count ? 4 : scale_count - first;
    f32x16 scales[4][4];
#pragma clang loop unroll(full)
    for (int group = 0; group < groups; group++) {
      some_scales(columns + group, first, count, scales[group]);
    }
    const ptrdiff_t parts = scale_block / 16;
    for (ptrdiff_t part = 0; part < count * parts; part++) {
      const ptrdiff_t block = first * parts + part;
#pragma clang loop unroll(full)
      for (int group = 0; group < groups; group++) {
        const uint32_t *words = (const uint32_t *)columns[group].codes + 32 * block;
        __builtin_prefetch((const char *)words + ahead);
        __builtin_prefetch((const char *)words + ahead + 64);
        __m512i codes[2][2];
        decode_doubled(words, codes);
#pragma clang loop unroll(full)
        for (int row = 0; row < rows; row++) {
          const bs_digits_t *digits = few->digits + row * few->digits_stride + block;
          sums[group][row] =
            multiply_add(digit_sums(digits, codes), scales[group][part / parts], sums[group][row]);
        }
      }
    }
  }
#pragma clang loop unroll(full)
  for (int group = 0; group < groups; group++) {
#pragma clang loop unroll(full)
    for (int row = 0; row < rows; row++) {
      STORE(
        c + row * c_stride + group * 16,
        add_rests(few, row, scale_block, columns + group, depth, sums[group][row]));
    }
  }
}

BS_INLINE void multiply_digits_of(
  int rows, const bs_few_rows_t *few, const bs_columns_t *columns, ptrdiff_t groups,
  ptrdiff_t depth, float *c, ptrdiff_t c_stride
) {
  ptrdiff_t group = 0;
#define BS_CASE(together, scale_block)                                                             \
  multiply_digits_as(                                                                              \
    rows, together, scale_block, few, columns + group, depth, c + group * 16, c_stride)
  // Side by side, which more rows would not have registers for.
  for (; rows <= 2 && group + 4 <= groups; group += 4) {
    if (columns->scale_block == 16) BS_CASE(4, 16); else BS_CASE(4, 32);
  }
  for (; group < groups; group++) {
    if (columns->scale_block == 16) BS_CASE(1, 16); else BS_CASE(1, 32);
  }
#undef BS_CASE
}

static void multiply_digits(
  const bs_few_rows_t *few, const bs_columns_t *columns, ptrdiff_t groups, ptrdiff_t depth,
  float *c, ptrdiff_t c_stride
) {
#define BS_CASE(rows)                                                                              \
  case rows: multiply_digits_of(rows, few, columns, groups, depth, c, c_stride); return;
  switch (few->rows) { BS_CASE(1) BS_CASE(2) BS_CASE(3) BS_CASE(4) }
#undef BS_CASE
}

#endif
