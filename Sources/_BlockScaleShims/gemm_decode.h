// SPDX-License-Identifier: Apache-2.0

// How codes and scales are decoded in sixteen lanes. A tier that knows better defines BS_HAS_* and
// its own version before it includes this.

#ifndef BLOCKSCALE_GEMM_DECODE_H
#define BLOCKSCALE_GEMM_DECODE_H

#include <string.h>

#include "bs_gemm.h"
#include "lanes.h"

// MARK: sums

BS_INLINE f32x16 multiply_add(f32x16 a, f32x16 b, f32x16 c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(BS_HAS_FMA)
  return __builtin_elementwise_fma(a, b, c);
#else
  return a * b + c;
#endif
}

// MARK: codes

#ifndef BS_HAS_DECODE_E2M1
// Sign and exponent field move to those of FP32, of which a multiplication takes the other bias.
// The smallest code is a subnormal on the way.
BS_INLINE f32x16 decode_e2m1(u32x16 words, int position) {
  u32x16 code = words >> (4 * position);
  u32x16 bits = (code & 7) << 22 | (code & 8) << 28;
  return (f32x16)bits * 0x1p126f;
}
#endif

#ifndef BS_HAS_DECODE_E4M3
BS_INLINE f32x16 decode_e4m3(u32x16 words, int position) {
  u32x16 code = words >> (8 * position) & 0xFF;
  u32x16 sign = (code & 0x80) << 24;
  u32x16 bits = (code & 0x7F) << 20;
  u32x16 value = (u32x16)((f32x16)bits * 0x1p120f);
  // 0x7F is NaN; the multiplication has made it 480.
  return (f32x16)(value | sign | ((u32x16)((code & 0x7F) == 0x7F) & 0x7FC00000));
}
#endif

#ifndef BS_HAS_DECODE_E5M2
BS_INLINE f32x16 decode_e5m2(u32x16 words, int position) {
  u32x16 code = words >> (8 * position) & 0xFF;
  u32x16 sign = (code & 0x80) << 24;
  u32x16 magnitude = code & 0x7F;
  u32x16 value = (u32x16)((f32x16)(magnitude << 21) * 0x1p112f);
  // From 0x7C on infinity and NaN, whose exponent field is full.
  return (f32x16)(value | sign | ((u32x16)(magnitude >= 0x7C) & 0x7F800000));
}
#endif

BS_INLINE f32x16 decode_bf16(u32x16 words, int position) {
  return (f32x16)(position == 0 ? words << 16 : words & 0xFFFF0000);
}

// MARK: scales

#ifndef BS_HAS_SCALE_E4M3
BS_INLINE f32x16 scales_e4m3(u8x16 codes) {
  return decode_e4m3(__builtin_convertvector(codes, u32x16), 0);
}
#endif

#ifndef BS_HAS_FOUR_SCALES_E4M3
BS_INLINE void four_scales_e4m3(const uint8_t *codes, f32x16 scales[4]) {
  for (int group = 0; group < 4; group++) {
    scales[group] = scales_e4m3(LOAD(u8x16, codes + 16 * group));
  }
}
#endif

/// 2^(code - 127 - offset); 255 is NaN, what falls below FP32's normal numbers is zero, and what lies
/// beyond them the largest power.
BS_INLINE f32x16 scales_e8m0(u8x16 codes, int32_t offset) {
  i32x16 code = __builtin_convertvector(codes, i32x16);
  i32x16 exponent = code - offset;
  exponent = (exponent > 0) & exponent;
  exponent = select16(exponent > 254, splat_int(254), exponent);
  return (f32x16)select16(code == 255, splat_int(0x7FC00000), exponent << 23);
}

BS_INLINE f32x16 decode_scales(const bs_columns_t *columns, const uint8_t *codes) {
  return columns->scales_are_powers ? scales_e8m0(LOAD(u8x16, codes), columns->power_offset)
                                    : scales_e4m3(LOAD(u8x16, codes));
}

/// Four groups of sixteen scales that follow one another.
BS_INLINE void decode_four_scales(
  const bs_columns_t *columns, const uint8_t *codes, f32x16 scales[4]
) {
  if (columns->scales_are_powers) {
    for (int group = 0; group < 4; group++) {
      scales[group] = decode_scales(columns, codes + 16 * group);
    }
  } else {
    four_scales_e4m3(codes, scales);
  }
}

/// Fetches codes that a few rows meet later: far enough ahead for memory's latency, across the ends of pages.
BS_INLINE void prefetch_codes(const uint32_t *words) {
  __builtin_prefetch((const char *)words + 4096);
}

/// Codes in a 32-bit word.
BS_INLINE ptrdiff_t codes_per_word(bs_codes_t format) {
  switch (format) {
  case BS_CODES_BF16: return 2;
  case BS_CODES_E4M3:
  case BS_CODES_E5M2: return 4;
  case BS_CODES_E2M1: return 8;
  }
  return 1;
}

/// All codes of words, one position after the other. `format` is a constant where this is inlined.
BS_INLINE void decode_positions(bs_codes_t format, u32x16 words, f32x16 values[8]) {
#pragma clang loop unroll(full)
  for (int position = 0; position < codes_per_word(format); position++) {
    switch (format) {
    case BS_CODES_BF16: values[position] = decode_bf16(words, position); break;
    case BS_CODES_E4M3: values[position] = decode_e4m3(words, position); break;
    case BS_CODES_E5M2: values[position] = decode_e5m2(words, position); break;
    case BS_CODES_E2M1: values[position] = decode_e2m1(words, position); break;
    }
  }
}

#endif
