// SPDX-License-Identifier: Apache-2.0

// Rows of the FP8 activation flow. One rounding an operation, in the order of the reference: no
// contraction.

/// How a format of eight bits lies in FP32.
typedef struct {
  /// The significand bits that the format drops.
  int dropped_bits;
  /// The difference between the exponent biases, in the place of a code's exponent field.
  int32_t rebias;
  int32_t least_normal_code, greatest_code;
  float least_normal, greatest;
  /// A float whose last place is worth the smallest subnormal, so that an addition rounds to it.
  float subnormal_aligner, least_subnormal;
  /// What a code beyond the largest finite one sets.
  int32_t special_bits, special_mask;
} float8_format;

static const float8_format e4m3 = {
  20, (127 - 7) << 3, 0x08, 0x7E, 0x1p-6f, 448, 0x1p14f, 0x1p-9f, 0x7FC00000, 0,
};
static const float8_format e5m2 = {
  21, (127 - 15) << 2, 0x04, 0x7B, 0x1p-14f, 57344, 0x1p7f, 0x1p-16f, 0x7F800000, 0x7FFFFF,
};

/// The codes nearest to quotients, ties to even, saturating; a NaN becomes 0x7F. `source` has the signs.
BS_INLINE i32x16 float8_codes(const float8_format format, f32x16 quotients, f32x16 source) {
#pragma STDC FP_CONTRACT OFF
  const i32x16 magnitude = (i32x16)quotients & 0x7FFFFFFF;
  const i32x16 greatest = (i32x16)splat(format.greatest);
  const i32x16 clamped = select16(magnitude > greatest, greatest, magnitude);
  // Round half to even: add just under half a unit, and one more where the kept part is odd.
  const i32x16 odd = clamped >> format.dropped_bits & 1;
  const i32x16 normal =
    ((clamped + ((1 << (format.dropped_bits - 1)) - 1) + odd) >> format.dropped_bits)
    - format.rebias;
  const i32x16 subnormal = (i32x16)((f32x16)clamped + splat(format.subnormal_aligner))
    - (i32x16)splat(format.subnormal_aligner);
  const i32x16 is_subnormal = (f32x16)clamped < splat(format.least_normal);
  const i32x16 codes =
    select16(is_subnormal, subnormal, normal) | ((i32x16)source >> 31 & 0x80);
  return select16(quotients != quotients, splat_int(0x7F), codes);
}

/// The values of codes.
BS_INLINE f32x16 float8_values(const float8_format format, i32x16 codes) {
#pragma STDC FP_CONTRACT OFF
  const i32x16 magnitude = codes & 0x7F;
  // Arithmetic on subnormal floats is slow, so subnormal codes go through integers.
  const f32x16 subnormal =
    __builtin_convertvector(magnitude, f32x16) * splat(format.least_subnormal);
  const i32x16 normal = (magnitude + format.rebias) << format.dropped_bits;
  const i32x16 special =
    (magnitude << format.dropped_bits & format.special_mask) | format.special_bits;
  const i32x16 finite =
    select16(magnitude < format.least_normal_code, (i32x16)subnormal, normal);
  const i32x16 bits = select16(magnitude > format.greatest_code, special, finite);
  return (f32x16)(bits | (codes & 0x80) << 24);
}

BS_INLINE i32x16 load_codes(const uint8_t *codes, size_t count) {
  u8x16 bytes = {0};
  if (count >= 16) {
    bytes = LOAD(u8x16, codes);
  } else {
    for (size_t index = 0; index < count; index++) bytes[index] = codes[index];
  }
  return (i32x16)__builtin_convertvector(bytes, u32x16);
}

BS_INLINE void store_codes(uint8_t *address, i32x16 codes, size_t count) {
  const u8x16 bytes = __builtin_convertvector(codes, u8x16);
  if (count >= 16) {
    STORE(address, bytes);
  } else {
    for (size_t index = 0; index < count; index++) address[index] = bytes[index];
  }
}

BS_INLINE size_t group_end(size_t first, size_t size, size_t count) {
  return size < count - first ? first + size : count;
}

BS_INLINE void decode_groups(
  const float8_format format, const uint8_t *codes, size_t count, const uint16_t *scales,
  size_t size, float *row
) {
#pragma STDC FP_CONTRACT OFF
  for (size_t first = 0, group = 0; first < count; first += size, group++) {
    const f32x16 scale = (f32x16)splat_int((int32_t)((uint32_t)scales[group] << 16));
    const size_t end = group_end(first, size, count);
    for (size_t i = first; i < end; i += 16) {
      STORE(row + i, float8_values(format, load_codes(codes + i, count - i)) * scale);
    }
  }
}

static void BS_NAME(bs_decode_groups)(
  int is_e5m2, const uint8_t *codes, size_t count, const uint16_t *scales, size_t size, float *row
) {
  if (is_e5m2) {
    decode_groups(e5m2, codes, count, scales, size, row);
  } else {
    decode_groups(e4m3, codes, count, scales, size, row);
  }
}

BS_INLINE void encode_groups(
  const float8_format format, const float *row, size_t count, const float *divisors,
  size_t size, uint8_t *codes
) {
#pragma STDC FP_CONTRACT OFF
  for (size_t first = 0, group = 0; first < count; first += size, group++) {
    const f32x16 divisor = splat(divisors[group]);
    const size_t end = group_end(first, size, count);
    for (size_t i = first; i < end; i += 16) {
      const f32x16 values = LOAD(f32x16, row + i);
      store_codes(codes + i, float8_codes(format, values / divisor, values), count - i);
    }
  }
}

static void BS_NAME(bs_encode_groups)(
  int is_e5m2, const float *row, size_t count, const float *divisors, size_t size, uint8_t *codes
) {
  if (is_e5m2) {
    encode_groups(e5m2, row, count, divisors, size, codes);
  } else {
    encode_groups(e4m3, row, count, divisors, size, codes);
  }
}

BS_INLINE void requantize_groups(
  const float8_format format, float *row, size_t count, const float *divisors,
  const uint16_t *scales, size_t size
) {
#pragma STDC FP_CONTRACT OFF
  for (size_t first = 0, group = 0; first < count; first += size, group++) {
    const f32x16 divisor = splat(divisors[group]);
    const f32x16 scale = (f32x16)splat_int((int32_t)((uint32_t)scales[group] << 16));
    const size_t end = group_end(first, size, count);
    for (size_t i = first; i < end; i += 16) {
      const f32x16 values = LOAD(f32x16, row + i);
      const i32x16 codes = float8_codes(format, values / divisor, values);
      STORE(row + i, float8_values(format, codes) * scale);
    }
  }
}

static void BS_NAME(bs_requantize_groups)(
  int is_e5m2, float *row, size_t count, const float *divisors, const uint16_t *scales, size_t size
) {
  if (is_e5m2) {
    requantize_groups(e5m2, row, count, divisors, scales, size);
  } else {
    requantize_groups(e4m3, row, count, divisors, scales, size);
  }
}

static void BS_NAME(bs_group_maxima)(
  const float *row, size_t count, size_t size, int leaves_out_nan, float *maxima
) {
  for (size_t first = 0, group = 0; first < count; first += size, group++) {
    // Magnitudes order like their bits, NaN above all.
    i32x16 most = {0};
    const size_t end = group_end(first, size, count);
    for (size_t i = first; i < end; i += 16) {
      const f32x16 values = LOAD(f32x16, row + i);
      i32x16 bits = (i32x16)values & 0x7FFFFFFF & lanes_below(count - i);
      if (leaves_out_nan) bits &= values == values;
      most = select16(bits > most, bits, most);
    }
    const int32_t largest = __builtin_reduce_max(most);
    __builtin_memcpy(maxima + group, &largest, 4);
  }
}

/// As `groupScale` and `storedGroupScale` in ActivationRecipe.swift, bit for bit.
static void BS_NAME(bs_group_scales)(
  const float *maxima, size_t count, float greatest, float limit, int follows_stored,
  uint16_t *stored, float *divisors
) {
  for (size_t i = 0; i < count; i += 16) {
    const size_t left = count - i;
    const f32x16 most = load_f32(maxima + i, left);
    f32x16 divisor = (most + splat(1e-10f)) / splat(greatest);
    u32x16 bits = (rounded_to_upper_half(divisor) >> 16) << 16;
    if (follows_stored) {
      const i32x16 is_number = most < splat(limit);
      bits = (u32x16)select16(is_number, (i32x16)bits, splat_int(0x7FC00000));
      divisor = (f32x16)select16(is_number, (i32x16)bits, splat_int(0x7F800000));
    }
    store_bf16(stored + i, (f32x16)bits, left);
    store_f32(divisors + i, divisor, left);
  }
}

static void BS_NAME(bs_widen)(const uint16_t *values, size_t count, float *row) {
  for (size_t i = 0; i < count; i += 16) STORE(row + i, load_bf16(values + i, count - i));
}

/// As `to_bf16`, but every NaN becomes the same one.
BS_INLINE u16x16 to_canonical_bf16(f32x16 values) {
  const u32x16 upper = rounded_to_upper_half(values) >> 16;
  return __builtin_convertvector(
    (u32x16)select16(values != values, splat_int(0x7FC0), (i32x16)upper), u16x16);
}

static void BS_NAME(bs_narrow)(const float *row, size_t count, uint16_t *values) {
  for (size_t i = 0; i < count; i += 16) {
    const u16x16 halves = to_canonical_bf16(LOAD(f32x16, row + i));
    if (count - i >= 16) {
      STORE(values + i, halves);
    } else {
      for (size_t j = 0; j < count - i; j++) values[i + j] = halves[j];
    }
  }
}

/// a·b + c, rounded once, with or without an instruction for it.
BS_INLINE f32x16 fused16(f32x16 a, f32x16 b, f32x16 c) { return __builtin_elementwise_fma(a, b, c); }

/// As `sigmoid` in ActivationFunctions.swift, bit for bit.
static void BS_NAME(bs_sigmoid)(const float *row, size_t count, float *result) {
#pragma STDC FP_CONTRACT OFF
  for (size_t i = 0; i < count; i += 16) {
    const f32x16 x = -LOAD(f32x16, row + i);
    const f32x16 low = splat(-87.33654f), high = splat(88.72283f);
    const i32x16 is_low = x < low, is_high = x > high;
    const f32x16 clamped =
      (f32x16)select16(is_low, (i32x16)low, select16(is_high, (i32x16)high, (i32x16)x));
    const f32x16 shifted = fused16(clamped, splat(1.44269504f), splat(12582912));
    const f32x16 n = shifted - splat(12582912);
    const f32x16 z =
      fused16(n, splat(2.12194440e-4f), fused16(n, splat(-0.693359375f), clamped));
    f32x16 series = fused16(splat(0x1.6a23dp-10f), z, splat(0x1.123a2p-7f));
    series = fused16(series, z, splat(0x1.5558f2p-5f));
    series = fused16(series, z, splat(0x1.555492p-3f));
    series = fused16(series, z, splat(0x1.fffffcp-2f));
    series = fused16(series, z, splat(1));
    series = fused16(series, z, splat(1));
    const i32x16 exponent = (i32x16)shifted - 0x4B400000;
    const i32x16 half = exponent >> 1;
    const f32x16 finite =
      series * (f32x16)((half + 127) << 23) * (f32x16)((exponent - half + 127) << 23);
    const i32x16 bounded = select16(is_high, splat_int(0x7F800000), (i32x16)finite);
    const f32x16 sigma = splat(1) / (splat(1) + (f32x16)(bounded & ~is_low));
    STORE(result + i, (f32x16)((i32x16)sigma & ~(sigma < splat(0x1p-126f))));
  }
}
