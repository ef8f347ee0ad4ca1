// SPDX-License-Identifier: Apache-2.0

// Sixteen BF16 values at a time as FP32 and back, and the exponential. Included by the file of a tier
// with its instructions enabled.

#include "lanes.h"

/// The first `count` of sixteen BF16 values, then zeros.
BS_INLINE f32x16 load_bf16(const uint16_t *address, size_t count) {
  u16x16 halves = {0};
  if (count >= 16) {
    halves = LOAD(u16x16, address);
  } else {
    for (size_t index = 0; index < count; index++) halves[index] = address[index];
  }
  return (f32x16)(__builtin_convertvector(halves, u32x16) << 16);
}

/// The first `count` of sixteen FP32 values, then zeros.
BS_INLINE f32x16 load_f32(const float *address, size_t count) {
  if (count >= 16) return LOAD(f32x16, address);
  f32x16 values = {0};
  for (size_t index = 0; index < count; index++) values[index] = address[index];
  return values;
}

BS_INLINE u16x16 to_bf16(f32x16 values) {
  // A NaN keeps its upper bits and becomes quiet.
  const i32x16 is_nan = values != values;
  const i32x16 bits = select16(
    is_nan, (i32x16)values | 0x400000, (i32x16)rounded_to_upper_half(values));
  return __builtin_convertvector((u32x16)bits >> 16, u16x16);
}

BS_INLINE void store_bf16(uint16_t *address, f32x16 values, size_t count) {
  const u16x16 halves = to_bf16(values);
  if (count >= 16) {
    STORE(address, halves);
  } else {
    for (size_t index = 0; index < count; index++) address[index] = halves[index];
  }
}

BS_INLINE void store_f32(float *address, f32x16 values, size_t count) {
  if (count >= 16) {
    STORE(address, values);
  } else {
    for (size_t index = 0; index < count; index++) address[index] = values[index];
  }
}

BS_INLINE float lane_sum(f32x16 v) {
  f32x16 a = v + __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
  a = a + __builtin_shufflevector(a, a, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
  a = a + __builtin_shufflevector(a, a, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
  return a[0] + a[1];
}

/// The larger of each pair of lanes; NaN in either lane of a pair stays.
BS_INLINE f32x16 larger_or_nan(f32x16 a, f32x16 b) {
  return (f32x16)select16((a > b) | (a != a), (i32x16)a, (i32x16)b);
}

/// Whether lane i lies below a count.
BS_INLINE i32x16 lanes_below(size_t count) {
  const i32x16 lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return lanes < splat_int(count > 16 ? 16 : (int32_t)count);
}

/// e^x within two units in the last place; zero below −87.3, infinity above 88.7, NaN for NaN.
BS_INLINE f32x16 exp16(f32x16 x) {
  const f32x16 low = splat(-87.33654f), high = splat(88.72283f);
  const i32x16 is_low = x < low, is_high = x > high;
  const f32x16 clamped =
    (f32x16)select16(is_low, (i32x16)low, select16(is_high, (i32x16)high, (i32x16)x));
  // Adding 1.5·2²³ leaves the nearest integer in the low bits.
  const f32x16 shifted = clamped * splat(1.44269504f) + splat(12582912.0f);
  const f32x16 n = shifted - splat(12582912.0f);
  // ln 2 in two parts, so that the remainder is exact enough.
  const f32x16 r = (clamped - n * splat(0.693359375f)) - n * splat(-2.12194440e-4f);
  // The Taylor series over [−ln 2 / 2, ln 2 / 2], whose next term is below 2⁻²⁶.
  f32x16 p = splat(1.0f / 5040);
  p = p * r + splat(1.0f / 720);
  p = p * r + splat(1.0f / 120);
  p = p * r + splat(1.0f / 24);
  p = p * r + splat(1.0f / 6);
  p = p * r + splat(0.5f);
  p = p * r * r + r + splat(1);
  // Two factors, since 2¹²⁸ is no FP32 number.
  const i32x16 exponent = (i32x16)shifted - 0x4B400000;
  const i32x16 half = exponent >> 1;
  const f32x16 result =
    p * (f32x16)((half + 127) << 23) * (f32x16)((exponent - half + 127) << 23);
  const i32x16 bounded = select16(is_high, splat_int(0x7F800000), (i32x16)result);
  return (f32x16)(bounded & ~is_low);
}
