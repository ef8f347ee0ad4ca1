// SPDX-License-Identifier: Apache-2.0

// Moments in E4M3 with range expansion. One rounding an operation, in the order of the reference: no
// contraction.

/// As `exponentialSeries` in RangeExpansion.swift, bit for bit.
BS_INLINE f32x16 exponential_series(f32x16 z) {
#pragma STDC FP_CONTRACT OFF
  f32x16 result = z * splat(1.0f / 5040) + splat(1.0f / 720);
  result = result * z + splat(1.0f / 120);
  result = result * z + splat(1.0f / 24);
  result = result * z + splat(1.0f / 6);
  result = result * z + splat(0.5f);
  result = result * z + splat(1);
  return result * z + splat(1);
}

/// As `power` in RangeExpansion.swift, bit for bit.
BS_INLINE f32x16 power16(f32x16 base, float exponent) {
#pragma STDC FP_CONTRACT OFF
  const i32x16 offset = (i32x16)base - 0x3F3504F3;
  const i32x16 e = offset >> 23;
  const f32x16 m = (f32x16)((i32x16)base - (e << 23));
  const f32x16 s = (m - splat(1)) / (m + splat(1));
  const f32x16 t = s * s;
  f32x16 series = t * splat(1.0f / 9) + splat(1.0f / 7);
  series = series * t + splat(1.0f / 5);
  series = series * t + splat(1.0f / 3);
  series = series * t + splat(1);
  const f32x16 logarithm =
    __builtin_convertvector(e, f32x16) + s * splat(2.8853901f) * series;
  f32x16 y = splat(exponent) * logarithm;
  y = (f32x16)select16(y < splat(-126), (i32x16)splat(-126), (i32x16)y);
  y = (f32x16)select16(y > splat(127), (i32x16)splat(127), (i32x16)y);
  const f32x16 shifted = y + splat(12582912);
  const f32x16 z = (y - (shifted - splat(12582912))) * splat(0.69314718f);
  const i32x16 n = (i32x16)shifted - 0x4B400000;
  const f32x16 result = exponential_series(z) * (f32x16)((n + 127) << 23);
  // Zero and subnormal numbers give zero, NaN gives NaN.
  const i32x16 is_small = base < splat(0x1p-126f);
  const i32x16 is_nan = base != base;
  return (f32x16)select16(is_nan, (i32x16)base, (i32x16)result & ~is_small);
}

static void BS_NAME(bs_contract)(
  const uint8_t *codes, size_t count, float scale, float inverse_exponent, float center,
  float *values
) {
#pragma STDC FP_CONTRACT OFF
  for (size_t i = 0; i < count; i += 16) {
    const size_t left = count - i;
    u8x16 bytes = {0};
    if (left >= 16) {
      bytes = LOAD(u8x16, codes + i);
    } else {
      for (size_t j = 0; j < left; j++) bytes[j] = codes[i + j];
    }
    const i32x16 code = (i32x16)__builtin_convertvector(bytes, u32x16);
    const i32x16 magnitude = code & 0x7F;
    // Below 8 the code counts steps of 2^-9.
    const f32x16 normal = (f32x16)((magnitude << 20) + (120 << 23));
    const f32x16 subnormal = __builtin_convertvector(magnitude, f32x16) * splat(0x1p-9f);
    const f32x16 value =
      (f32x16)select16(magnitude < 8, (i32x16)subnormal, (i32x16)normal);
    const f32x16 result = power16(value * splat(scale), inverse_exponent) * splat(center);
    store_f32(values + i, (f32x16)((i32x16)result | (code & 0x80) << 24), left);
  }
}

static void BS_NAME(bs_extremes)(
  const float *values, size_t count, float *largest, float *smallest
) {
  // Magnitudes order like their bits, NaN above all.
  i32x16 most = {0}, least = splat_int(0x7F800000);
  for (size_t i = 0; i < count; i += 16) {
    const i32x16 bits = (i32x16)load_f32(values + i, count - i) & 0x7FFFFFFF;
    most = select16(bits > most, bits, most);
    least = select16((bits < least) & (bits != 0), bits, least);
  }
  int32_t high = 0, low = 0x7F800000;
  for (int lane = 0; lane < 16; lane++) {
    if (most[lane] > high) high = most[lane];
    if (least[lane] < low) low = least[lane];
  }
  __builtin_memcpy(largest, &high, 4);
  __builtin_memcpy(smallest, &low, 4);
}

static void BS_NAME(bs_expand)(
  const float *values, size_t count, float scale, float exponent, float center, uint8_t *codes
) {
#pragma STDC FP_CONTRACT OFF
  const f32x16 inverse_center = splat(1 / center), inverse_scale = splat(1 / scale);
  for (size_t i = 0; i < count; i += 16) {
    const size_t left = count - i;
    const i32x16 bits = (i32x16)load_f32(values + i, left);
    const f32x16 expanded =
      power16((f32x16)(bits & 0x7FFFFFFF) * inverse_center, exponent) * inverse_scale;
    // To the nearest with three bits of significand, ties to even; below 2^-6 in steps of 2^-9.
    const i32x16 e = (i32x16)expanded;
    const i32x16 normal = ((e + 0x7FFFF + (e >> 20 & 1)) >> 20) - (120 << 3);
    const i32x16 subnormal =
      (i32x16)(expanded * splat(0x1p9f) + splat(12582912)) - 0x4B400000;
    i32x16 code = select16(expanded < splat(0x1p-6f), subnormal, normal);
    code = select16(code > 0x7E, splat_int(0x7E), code);
    const u8x16 bytes = __builtin_convertvector(code | (bits >> 24 & 0x80), u8x16);
    if (left >= 16) {
      STORE(codes + i, bytes);
    } else {
      for (size_t j = 0; j < left; j++) codes[i + j] = bytes[j];
    }
  }
}
