// SPDX-License-Identifier: Apache-2.0

// E4M3 from BF16 by tables.
//
// Under one factor a code depends on the seven bits of a BF16 significand, and rises by eight with
// each step of the exponent: products, quotients and their rounding commute with powers of two as long
// as nothing is subnormal. So the 128 codes of one binade tell all codes but those below the smallest
// normal one.

#if defined(BS_AVX512)

/// 64 codes, valid where the magnitude is at least that of the smallest normal code; eight of the first
/// values and eight of the second ones by turns.
BS_INLINE __m512i tabulated64(__m512i first, __m512i second, __m512i low, __m512i high) {
  // Of every four words the low bytes, which hold the significand, and the bytes from bit 4 on, which
  // hold eight times the exponent plus an eighth of the significand; the table has that subtracted.
  const __m512i fields = _mm512_set1_epi64(0x3424140430201000);
  const __m512i a = _mm512_multishift_epi64_epi8(fields, first);
  const __m512i b = _mm512_multishift_epi64_epi8(fields, second);
  const __m512i significands = (__m512i)_mm512_shuffle_ps((__m512)a, (__m512)b, 0x88);
  const __m512i exponents = (__m512i)_mm512_shuffle_ps((__m512)a, (__m512)b, 0xDD);
  // Indices have seven bits, whatever the eighth is.
  const __m512i codes =
    _mm512_add_epi8(_mm512_permutex2var_epi8(low, significands, high), exponents);
  // Packed with saturation, words keep their signs; they lie as shuffled above.
  const __m512i signs = _mm512_packs_epi16(first, second);
  return _mm512_ternarylogic_epi64(codes, signs, _mm512_set1_epi8((char)0x80), 0xF8);
}

/// The codes of `tabulated64` in the order of their values.
BS_INLINE __m512i in_order64(__m512i codes) {
  return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), codes);
}

static __attribute__((noinline)) void BS_NAME(bs_encode_exactly)(
  const bs_rule_t *rule, const uint8_t *values, size_t count, bs_factor_t factor, uint8_t *codes
) {
  encode_any(
    BS_BFLOAT16, BS_E4M3, BS_ZERO_SIGN_KEPT, rule->intermediate, rule, values, count, factor,
    codes);
}

/// One block under a factor with a table.
BS_INLINE void encode_block_by_table(
  const bs_rule_t *rule, const uint8_t *values, size_t count, const bs_factor_t *factor,
  uint8_t *codes
) {
  const __m512i low = _mm512_loadu_si512(factor->table);
  const __m512i high = _mm512_loadu_si512(factor->table + 64);
  const __m512i least = _mm512_set1_epi16((short)factor->least);
  const __m512i magnitude = _mm512_set1_epi16(0x7FFF);
  const uint32_t ahead = rule->ahead;
  size_t index = 0, length;
  for (; index + 32 <= count; index += length) {
    const uint8_t *from = values + 2 * index;
    // A last half is encoded twice, and stored once.
    const int is_half = index + 64 > count;
    length = is_half ? 32 : 64;
    if (ahead) {
      __builtin_prefetch(from + ahead);
      __builtin_prefetch(from + ahead + 64);
      __builtin_prefetch(codes + index + ahead / 2, 1);
    }
    const __m512i first = _mm512_loadu_si512(from);
    const __m512i second = _mm512_loadu_si512(from + (is_half ? 0 : 64));
    __m512i all = in_order64(tabulated64(first, second, low, high));
    const __m512i smallest = _mm512_min_epu16(
      _mm512_and_si512(first, magnitude), _mm512_and_si512(second, magnitude));
    if (__builtin_expect(_mm512_cmplt_epu16_mask(smallest, least) != 0, 0)) {
      const __mmask32 first_zeros = _mm512_testn_epi16_mask(first, magnitude);
      const __mmask32 second_zeros = _mm512_testn_epi16_mask(second, magnitude);
      const __mmask32 first_small =
        _mm512_cmplt_epu16_mask(_mm512_and_si512(first, magnitude), least);
      const __mmask32 second_small =
        _mm512_cmplt_epu16_mask(_mm512_and_si512(second, magnitude), least);
      if (first_zeros != first_small || second_zeros != second_small) {
        BS_NAME(bs_encode_exactly)(rule, from, length, *factor, codes + index);
        continue;
      }
      // Nothing is small but zeros, of which the signs are left.
      const __mmask64 zeros = (uint64_t)second_zeros << 32 | first_zeros;
      const __mmask64 signs =
        (uint64_t)_mm512_movepi16_mask(second) << 32 | _mm512_movepi16_mask(first);
      all = _mm512_mask_mov_epi8(
        all, zeros, _mm512_maskz_set1_epi8(signs, (char)0x80));
    }
    if (is_half) {
      _mm256_storeu_si256((__m256i *)(codes + index), _mm512_castsi512_si256(all));
    } else {
      _mm512_storeu_si512(codes + index, all);
    }
  }
  if (index < count) {
    BS_NAME(bs_encode_exactly)(rule, values + 2 * index, count - index, *factor, codes + index);
  }
}

static int BS_NAME(bs_tabulate_float8)(
  const bs_rule_t *rule, uint32_t maximum, bs_factor_t *factor, uint8_t *table
) {
  if (rule->source != BS_BFLOAT16 || rule->element != BS_E4M3) return 0;
  if (rule->zero_sign != BS_ZERO_SIGN_KEPT) return 0;
  if (!(factor->multiplier > 0x1p-100f && factor->multiplier < 0x1p100f)) return 0;
  // A binade that is scaled to about one.
  const int field = 254 - (int)(LOAD(uint32_t, &factor->multiplier) >> 23);
  uint16_t values[128];
  uint8_t codes[128];
  for (int index = 0; index < 128; index++) values[index] = (uint16_t)(field << 7 | index);
  BS_NAME(bs_encode_exactly)(rule, (const uint8_t *)values, 128, *factor, codes);
  // Codes of larger values than the largest one of E4M3 are not told by a table.
  const int largest = codes[maximum & 0x7F] + 8 * ((int)(maximum >> 7) - field);
  if (largest > 0x7E) return 0;
  uint32_t least = 0x7FFF;
  for (int index = 0; index < 128; index++) {
    // The lowest binade in which the code is a normal one, eight or more.
    const uint32_t magnitude = (uint32_t)(field - (codes[index] - 8) / 8) << 7 | (uint32_t)index;
    if (magnitude < least) least = magnitude;
    table[index] = (uint8_t)(codes[index] - (index >> 4) - 8 * field);
  }
  factor->table = table;
  factor->least = least;
  return 1;
}

#endif
