// SPDX-License-Identifier: Apache-2.0

// Codes and scales to values: `(code × scale) × tensor scale` in FP32, then one rounding.

/// Sixteen 8-bit codes as FP32.
///
/// Both formats are read as FP16. E5M2 is its upper byte; E4M3, moved below the sign, is the value
/// times 2^-8, but for its NaN.
BS_INLINE f32x16 float8_as_float(int element, u8x16 codes) {
  u16x16 words = __builtin_convertvector(codes, u16x16);
  if (element == BS_E5M2) return __builtin_convertvector((f16x16)(words << 8), f32x16);
  const u16x16 magnitudes = words & 0x7F;
  const u16x16 nan = (u16x16)(magnitudes == 0x7F) & 0x7E00;
  const u16x16 halves = magnitudes << 7 | (words & 0x80) << 8 | nan;
  return __builtin_convertvector((f16x16)halves, f32x16) * 0x1p8f;
}

/// Sixteen scales as FP32.
BS_INLINE f32x16 scale_values(int format, const uint8_t *scales) {
  const i32x16 nan = (i32x16)splat_int(0x7FC00000);
  if (format == BS_E8M0_SCALES) {
    // An exponent is FP32's own, but for the smallest one, which is subnormal, and NaN.
    const i32x16 exponents = __builtin_convertvector(LOAD(u8x16, scales), i32x16);
    const i32x16 usual = select16(exponents == 0, (i32x16)splat_int(1 << 22), exponents << 23);
    return (f32x16)select16(exponents == 255, nan, usual);
  }
  const f32x16 values =
    format == BS_E4M3_SCALES ? float8_as_float(BS_E4M3, LOAD(u8x16, scales)) : LOAD(f32x16, scales);
  return (f32x16)select16(values != values, nan, (i32x16)values);
}

BS_INLINE void load_scales(int format, const uint8_t *scales, size_t count, float *values) {
  const size_t bytes = format == BS_FLOAT32_SCALES ? 4 : 1;
  size_t index = 0;
  for (; index + 16 <= count; index += 16) {
    STORE(values + index, scale_values(format, scales + bytes * index));
  }
  if (index == count) return;
  uint8_t padded[64] = {0};
  copy_few(padded, scales + bytes * index, bytes * (count - index));
  const f32x16 last = scale_values(format, padded);
  copy_few(values + index, &last, 4 * (count - index));
}

static void BS_NAME(bs_load_scales)(
  int format, const void *scales, size_t count, float *values
) {
  switch (format) {
  case BS_FLOAT32_SCALES: load_scales(BS_FLOAT32_SCALES, scales, count, values); break;
  case BS_E8M0_SCALES: load_scales(BS_E8M0_SCALES, scales, count, values); break;
  default: load_scales(BS_E4M3_SCALES, scales, count, values);
  }
}

BS_INLINE void store_values(int format, uint8_t *address, f32x16 values, size_t count) {
  uint8_t bytes[64];
  uint8_t *to = count >= 16 ? address : bytes;
  if (format == BS_FLOAT32) {
    STORE(to, values);
  } else if (format == BS_FLOAT16) {
    STORE(to, __builtin_convertvector(values, f16x16));
  } else {
    STORE(to, __builtin_convertvector(rounded_to_upper_half(values) >> 16, u16x16));
  }
  if (count < 16) copy_few(address, bytes, count * width_of(format));
}

BS_INLINE void decode_float8(
  int element, int format, int tensor_mode, const bs_rule_t *rule, const uint8_t *codes,
  size_t count, size_t block, const float *scales, uint8_t *values
) {
  for (size_t first = 0; first < count; first += block) {
    const size_t length = count - first < block ? count - first : block;
    const f32x16 scale = splat(*scales++);
    for (size_t index = 0; index < length; index += 16) {
      const size_t left = length - index < 16 ? length - index : 16;
      u8x16 bytes = {0};
      if (left == 16) {
        bytes = LOAD(u8x16, codes + first + index);
      } else {
        copy_few(&bytes, codes + first + index, left);
      }
      f32x16 decoded = float8_as_float(element, bytes) * scale;
      if (tensor_mode == BS_TENSOR_MULTIPLIER) decoded = decoded * rule->tensor_scale;
      if (tensor_mode == BS_TENSOR_DIVISOR) decoded = decoded / rule->tensor_scale;
      store_values(format, values + width_of(format) * (first + index), decoded, left);
    }
  }
}

#if defined(BS_AVX512)

/// What E4M3 codes become in BF16 under one scale that is far from the ends of FP32's range.
///
/// The product of a normal code depends on the three bits of its significand, and its exponent is
/// added; this is exact where rounding commutes with powers of two. The few other codes are looked up.
typedef struct {
  /// Of significands, then of the codes below the normal ones.
  __m512i products;
  /// Words are looked up by the five lowest bits of codes. Shifted codes, to which normal products are
  /// added, bring their significand and the exponent's bias along.
  __m512i normal;
} e4m3_table_t;

BS_INLINE u16x32 code_lanes(void) {
  return (u16x32){0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                  16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31} & 7;
}

BS_INLINE e4m3_table_t tabulated_e4m3(float scale) {
  const f32x16 significands = {
    0x1p0f,    0x1.2p0f,  0x1.4p0f,  0x1.6p0f,    0x1.8p0f,  0x1.Ap0f,    0x1.Cp0f,    0x1.Ep0f,
    0,         0x1p-9f,   0x1p-8f,   0x1.8p-8f,   0x1p-7f,   0x1.4p-7f,   0x1.8p-7f,   0x1.Cp-7f};
  e4m3_table_t table;
  table.products = _mm512_castsi256_si512(_mm512_cvtepi32_epi16(
    (__m512i)(rounded_to_upper_half(significands * scale) >> 16)));
  table.normal = _mm512_sub_epi16(
    _mm512_permutexvar_epi16((__m512i)code_lanes(), table.products),
    (__m512i)((code_lanes() << 4) + (7 << 7)));
  return table;
}

/// Which of 64 codes are not normal numbers: neither from the smallest one on nor up to the largest.
BS_INLINE __mmask64 unusual_e4m3(__m512i codes) {
  const __m512i places = _mm512_sub_epi8(
    _mm512_and_si512(codes, _mm512_set1_epi8(0x7F)), _mm512_set1_epi8(8));
  return _mm512_cmpgt_epu8_mask(places, _mm512_set1_epi8(118));
}

BS_INLINE void decode_e4m3_block(
  const uint8_t *codes, size_t count, const e4m3_table_t *table, uint8_t *values
) {
  const __m512i sign = _mm512_set1_epi16((short)0x8000);
  const __m512i kept = _mm512_set1_epi16((short)0x87F0);
  for (size_t index = 0; index < count; index += 64) {
    const size_t left = count - index;
    const __mmask64 some = left < 64 ? ((uint64_t)1 << left) - 1 : ~(uint64_t)0;
    const __m512i bytes = left < 64 ? _mm512_maskz_loadu_epi8(some, codes + index)
                                    : _mm512_loadu_si512(codes + index);
    const __mmask64 special = unusual_e4m3(bytes);
    __m512i words[2] = {
      _mm512_cvtepi8_epi16(_mm512_castsi512_si256(bytes)),
      _mm512_cvtepi8_epi16(_mm512_extracti64x4_epi64(bytes, 1))};
    __m512i results[2];
    for (int half = 0; half < 2; half++) {
      results[half] = _mm512_add_epi16(
        _mm512_and_si512(_mm512_slli_epi16(words[half], 4), kept),
        _mm512_permutexvar_epi16(words[half], table->normal));
    }
    if (__builtin_expect(special != 0, 0)) {
      const __m512i other = _mm512_mask_set1_epi16(
        _mm512_permutexvar_epi16((__m512i)(code_lanes() + 8), table->products), 1u << 31, 0x7FC0);
      for (int half = 0; half < 2; half++) {
        results[half] = _mm512_mask_mov_epi16(
          results[half], (__mmask32)(special >> (32 * half)),
          _mm512_ternarylogic_epi64(
            _mm512_permutexvar_epi16(words[half], other), words[half], sign, 0xF8));
      }
    }
    if (left < 64) {
      _mm512_mask_storeu_epi16(values + 2 * index, (__mmask32)some, results[0]);
      _mm512_mask_storeu_epi16(values + 2 * index + 64, (__mmask32)(some >> 32), results[1]);
    } else {
      _mm512_storeu_si512(values + 2 * index, results[0]);
      _mm512_storeu_si512(values + 2 * index + 64, results[1]);
    }
  }
}

BS_INLINE void decode_e4m3_to_bfloat16(
  const bs_rule_t *rule, const uint8_t *codes, size_t count, size_t block, const float *scales,
  uint8_t *values
) {
  if (count == 0) return;
  // A block's table is worked out while the block before is decoded, so that nothing waits for it.
  e4m3_table_t next = tabulated_e4m3(*scales);
  for (size_t first = 0; first < count; first += block) {
    const size_t length = count - first < block ? count - first : block;
    const float scale = *scales++;
    const e4m3_table_t table = next;
    if (first + block < count) next = tabulated_e4m3(*scales);
    if (rule->ahead) {
      for (size_t line = 0; line < length; line += 64) {
        __builtin_prefetch(codes + first + rule->ahead + line);
        __builtin_prefetch(values + 2 * (first + line) + rule->ahead, 1);
        __builtin_prefetch(values + 2 * (first + line) + rule->ahead + 64, 1);
      }
    }
    if (__builtin_expect(scale > 0x1p-100f && scale < 0x1p100f, 1)) {
      if (__builtin_expect(length == 128, 1)) {
        decode_e4m3_block(codes + first, 128, &table, values + 2 * first);
      } else {
        decode_e4m3_block(codes + first, length, &table, values + 2 * first);
      }
    } else {
      decode_float8(
        BS_E4M3, BS_BFLOAT16, BS_NO_TENSOR_SCALE, rule, codes + first, length, length, &scale,
        values + 2 * first);
    }
  }
}

static __attribute__((noinline)) void BS_NAME(bs_decode_e4m3_block)(
  const uint8_t *codes, size_t count, float scale, uint8_t *values
) {
  const e4m3_table_t table = tabulated_e4m3(scale);
  decode_e4m3_block(codes, count, &table, values);
}

/// Whether a scale is a power of two that is far from the ends of FP32's range.
BS_INLINE int is_usual_power(uint32_t bits) {
  return (bits & 0x7FFFFF) == 0 && (bits >> 23) - 28 < 199;
}

/// 32 normal codes under a power of two, whose exponent is added.
BS_INLINE __m512i decode_e4m3_by_power(__m256i codes, uint32_t bits) {
  const __m512i shifted = _mm512_slli_epi16(_mm512_cvtepi8_epi16(codes), 4);
  // Without the bias of a code's exponent.
  return _mm512_add_epi16(
    _mm512_and_si512(shifted, _mm512_set1_epi16((short)0x87F0)),
    _mm512_set1_epi16((short)(((bits >> 23) - 7) << 7)));
}

/// Blocks of 32, for which a table takes too long, under scales that are powers of two: the exponents of normal
/// codes are added to that of the scale.
BS_INLINE void decode_e4m3_by_powers(
  const bs_rule_t *rule, const uint8_t *codes, size_t count, const float *scales, uint8_t *values
) {
  for (size_t first = 0; first < count;) {
    if (rule->ahead && first % 64 == 0) {
      __builtin_prefetch(codes + first + rule->ahead);
      __builtin_prefetch(values + 2 * first + rule->ahead, 1);
      __builtin_prefetch(values + 2 * first + rule->ahead + 64, 1);
    }
    if (count - first >= 64) {
      const uint32_t low = LOAD(uint32_t, scales), high = LOAD(uint32_t, scales + 1);
      const __m512i some = _mm512_loadu_si512(codes + first);
      const int is_usual = is_usual_power(low) & is_usual_power(high);
      if (__builtin_expect(is_usual && unusual_e4m3(some) == 0, 1)) {
        _mm512_storeu_si512(
          values + 2 * first, decode_e4m3_by_power(_mm512_castsi512_si256(some), low));
        _mm512_storeu_si512(
          values + 2 * first + 64,
          decode_e4m3_by_power(_mm512_extracti64x4_epi64(some, 1), high));
        first += 64;
        scales += 2;
        continue;
      }
    }
    const size_t length = count - first < 32 ? count - first : 32;
    if (is_usual_power(LOAD(uint32_t, scales))) {
      BS_NAME(bs_decode_e4m3_block)(codes + first, length, *scales, values + 2 * first);
    } else {
      decode_float8(
        BS_E4M3, BS_BFLOAT16, BS_NO_TENSOR_SCALE, rule, codes + first, length, length, scales,
        values + 2 * first);
    }
    first += length;
    scales++;
  }
}

#endif

static void BS_NAME(bs_decode_float8)(
  const bs_rule_t *rule, const uint8_t *codes, size_t count, size_t block, const float *scales,
  void *values
) {
#if defined(BS_AVX512)
  if (
    rule->source == BS_BFLOAT16 && rule->element == BS_E4M3
    && rule->tensor_mode == BS_NO_TENSOR_SCALE && (block >= 64 || block == 32)) {
    // A shorter block is not worth a table.
    if (block == 32) {
      decode_e4m3_by_powers(rule, codes, count, scales, values);
    } else {
      decode_e4m3_to_bfloat16(rule, codes, count, block, scales, values);
    }
    return;
  }
#endif
#define CASE(format, element)                                                                     \
  case format * 4 + element:                                                                      \
    if (rule->tensor_mode == BS_NO_TENSOR_SCALE) {                                                \
      decode_float8(                                                                              \
        element, format, BS_NO_TENSOR_SCALE, rule, codes, count, block, scales, values);          \
    } else {                                                                                      \
      decode_float8(                                                                              \
        element, format, rule->tensor_mode, rule, codes, count, block, scales, values);           \
    }                                                                                             \
    break;
  switch (rule->source * 4 + rule->element) {
    CASE(BS_FLOAT32, BS_E4M3)
    CASE(BS_FLOAT32, BS_E5M2)
    CASE(BS_BFLOAT16, BS_E4M3)
    CASE(BS_BFLOAT16, BS_E5M2)
    CASE(BS_FLOAT16, BS_E4M3)
    CASE(BS_FLOAT16, BS_E5M2)
  }
#undef CASE
}

/// Sixteen values of two or four bytes each, from sixteen codes in eight bytes.
BS_INLINE void decode_sixteen(int width, const uint8_t *codes, const uint8_t *planes, uint8_t *to) {
  const u8x8 pairs = LOAD(u8x8, codes);
  const u8x8 even = pairs & 0x0F, odd = pairs >> 4;
  const u8x16 indices =
    __builtin_shufflevector(even, odd, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
#define LOW_HALF(a, b)                                                                            \
  __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH_HALF(a, b)                                                                           \
  __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
  const u8x16 first = lookup16(LOAD(u8x16, planes), indices);
  const u8x16 second = lookup16(LOAD(u8x16, planes + 16), indices);
  const u8x16 low = LOW_HALF(first, second), high = HIGH_HALF(first, second);
  if (width == 2) {
    STORE(to, low);
    STORE(to + 16, high);
    return;
  }
  const u8x16 third = lookup16(LOAD(u8x16, planes + 32), indices);
  const u8x16 fourth = lookup16(LOAD(u8x16, planes + 48), indices);
  const u8x16 upper_low = LOW_HALF(third, fourth), upper_high = HIGH_HALF(third, fourth);
#undef LOW_HALF
#undef HIGH_HALF
  typedef uint16_t u16x8 __attribute__((vector_size(16)));
#define LOW_HALF(a, b)                                                                            \
  __builtin_shufflevector((u16x8)(a), (u16x8)(b), 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH_HALF(a, b)                                                                           \
  __builtin_shufflevector((u16x8)(a), (u16x8)(b), 4, 12, 5, 13, 6, 14, 7, 15)
  STORE(to, LOW_HALF(low, upper_low));
  STORE(to + 16, HIGH_HALF(low, upper_low));
  STORE(to + 32, LOW_HALF(high, upper_high));
  STORE(to + 48, HIGH_HALF(high, upper_high));
#undef LOW_HALF
#undef HIGH_HALF
}

#if defined(BS_AVX512)

/// 64 values of two bytes, sixteen under each of four tables.
BS_INLINE void decode_four_sixteens(
  const uint8_t *codes, const uint8_t *const tables[4], uint8_t *to
) {
  // Four bytes of codes to each eight indices; of four bits, those above the low ones are cleared.
  const __m512i shifts = _mm512_set1_epi64(0x1C1814100C080400);
  const __m512i indices = _mm512_and_si512(
    _mm512_multishift_epi64_epi8(
      shifts, _mm512_cvtepu32_epi64(_mm256_loadu_si256((const __m256i *)codes))),
    _mm512_set1_epi8(15));
  __m512i pairs[2];
#pragma clang loop unroll(full)
  for (int pair = 0; pair < 2; pair++) {
    pairs[pair] = _mm512_inserti64x4(
      _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)tables[2 * pair])),
      _mm256_loadu_si256((const __m256i *)tables[2 * pair + 1]), 1);
  }
  const __m512i low =
    _mm512_shuffle_epi8(_mm512_shuffle_i64x2(pairs[0], pairs[1], 0x88), indices);
  const __m512i high =
    _mm512_shuffle_epi8(_mm512_shuffle_i64x2(pairs[0], pairs[1], 0xDD), indices);
  // Values 0 to 7 and 8 to 15 of each sixteen.
  const __m512i first = _mm512_unpacklo_epi8(low, high), second = _mm512_unpackhi_epi8(low, high);
  _mm512_storeu_si512(
    to, _mm512_permutex2var_epi64(first, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), second));
  _mm512_storeu_si512(
    to + 64,
    _mm512_permutex2var_epi64(first, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), second));
}

/// As many whole 64 values of two bytes as there are, in blocks of sixteen or 32. Returns their number.
BS_INLINE size_t decode_sixty_fours(
  const uint8_t *codes, size_t count, size_t block, const uint8_t *scales, const uint8_t *planes,
  uint8_t *values
) {
  size_t first = 0;
  for (; first + 64 <= count; first += 64) {
    if (first % 128 == 0) __builtin_prefetch(codes + first / 2 + E2M1_AHEAD);
    __builtin_prefetch(values + 2 * first + E2M1_AHEAD, 1);
    __builtin_prefetch(values + 2 * first + E2M1_AHEAD + 64, 1);
    const uint8_t *tables[4];
#pragma clang loop unroll(full)
    for (size_t index = 0; index < 4; index++) {
      tables[index] = planes + 32 * (size_t)scales[(first + 16 * index) / block];
    }
    decode_four_sixteens(codes + first / 2, tables, values + 2 * first);
  }
  return first;
}

#endif

BS_INLINE void decode_e2m1(
  int width, const uint8_t *codes, size_t count, size_t block, const uint8_t *scales,
  const uint8_t *planes, uint8_t *values
) {
  size_t first = 0;
#if defined(BS_AVX512)
  if (width == 2 && (block == 16 || block == 32)) {
    first = decode_sixty_fours(codes, count, block, scales, planes, values);
    scales += first / block;
  }
#endif
  for (; first < count; first += block) {
    const size_t length = count - first < block ? count - first : block;
    if (first % 128 == 0) __builtin_prefetch(codes + first / 2 + E2M1_AHEAD);
    if (first % 32 == 0) __builtin_prefetch(values + (size_t)width * first + E2M1_AHEAD, 1);
    const uint8_t *table = planes + (size_t)*scales++ * (16 * (size_t)width);
    for (size_t index = 0; index < length; index += 16) {
      const size_t left = length - index;
      const uint8_t *from = codes + (first + index) / 2;
      uint8_t *to = values + (size_t)width * (first + index);
      if (left >= 16) {
        decode_sixteen(width, from, table, to);
      } else {
        uint8_t some_codes[8] = {0}, some_values[64];
        copy_few(some_codes, from, (left + 1) / 2);
        decode_sixteen(width, some_codes, table, some_values);
        copy_few(to, some_values, (size_t)width * left);
      }
    }
  }
}

static void BS_NAME(bs_decode_e2m1)(
  size_t width, const uint8_t *codes, size_t count, size_t block, const uint8_t *scales,
  const uint8_t *planes, void *values
) {
  if (width == 2) {
    if (block == 16) {
      decode_e2m1(2, codes, count, 16, scales, planes, values);
    } else if (block == 32) {
      decode_e2m1(2, codes, count, 32, scales, planes, values);
    } else {
      decode_e2m1(2, codes, count, block, scales, planes, values);
    }
  } else {
    decode_e2m1(4, codes, count, block, scales, planes, values);
  }
}
