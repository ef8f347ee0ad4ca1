// SPDX-License-Identifier: Apache-2.0

// E2M1 from 16-bit values.
//
// Sixteen-bit values have 32768 magnitudes. So the thresholds of a block, divided or multiplied by its
// factor, are themselves magnitudes, and codes come from comparing integers: no conversion, no product
// and no rounding, whatever the recipe. The thresholds depend on the block's maximum alone and are
// looked up by it. Seven comparisons are the general way. Thresholds of normal BF16 values lie at least
// 50 magnitudes apart, the second and the seventh at most 341; so a table of cells of 32 magnitudes tells
// all steps but the first.

/// How many values ahead memory is fetched.
enum { E2M1_AHEAD = 3072 };

BS_INLINE u16x16 load_words(const uint16_t *values, size_t count) {
  if (count >= 16) return LOAD(u16x16, values);
  u16x16 result = {0};
  copy_few(&result, values, 2 * count);
  return result;
}

/// Broadcasts of whole words need no shuffle.
BS_INLINE u16x16 all_pairs(uint32_t pair) {
  return (u16x16)(u32x8){pair, pair, pair, pair, pair, pair, pair, pair};
}

BS_INLINE u16x16 threshold(const bs_e2m1_entry_t *entry, int index) {
  return all_pairs(entry->thresholds[index]);
}

/// The magnitudes of sixteen codes.
BS_INLINE u16x16 e2m1_magnitudes(const bs_e2m1_entry_t *entry, u16x16 bits) {
  i16x16 count = {0};
  for (int index = 0; index < 7; index++) {
    count -= (i16x16)bits > (i16x16)threshold(entry, index);
  }
  return (u16x16)count;
}

/// Of the low bytes of sixteen words, which are below 16 and whose high bytes are zero, the bytes of a
/// table; the high bytes are of no meaning.
BS_INLINE u16x16 lookup_low_bytes(const uint8_t *table, u16x16 indices) {
#if defined(BS_NEON)
  const uint8x16_t bytes = vld1q_u8(table);
  u16x16 result;
  for (int half = 0; half < 2; half++) {
    ((uint8x16_t *)&result)[half] = vqtbl1q_u8(bytes, ((const uint8x16_t *)&indices)[half]);
  }
  return result;
#else
  const __m256i twice = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table));
  return (u16x16)_mm256_shuffle_epi8(twice, (__m256i)indices);
#endif
}

BS_INLINE u16x16 e2m1_signs(int zero_sign, u16x16 codes, u16x16 values, u16x16 bits) {
  u16x16 signs = values >> 12 & 8;
  if (zero_sign == BS_ZERO_SIGN_KEPT_UNLESS_INPUT_IS_ZERO) signs &= (u16x16)(bits != 0);
  if (zero_sign == BS_ZERO_SIGN_POSITIVE) signs &= (u16x16)(codes != 0);
  if (zero_sign == BS_ZERO_SIGN_NEGATIVE_FOR_ZERO_INPUT) signs |= (u16x16)(bits == 0) & 8;
  return signs;
}

/// Eight bytes of sixteen codes.
BS_INLINE u8x8 packed_nibbles(u16x16 codes) {
  const u32x8 pairs = (u32x8)codes;
  return __builtin_convertvector(pairs | pairs >> 12, u8x8);
}

/// One block of which everything but its codes is known.
BS_INLINE void encode_e2m1_block(
  int zero_sign, const uint16_t *values, size_t length, const bs_e2m1_entry_t *entry,
  uint8_t *codes
) {
  for (size_t index = 0; index < length; index += 16) {
    const size_t left = length - index < 16 ? length - index : 16;
    const u16x16 x = load_words(values + index, left);
    const u16x16 bits = x & 0x7FFF;
    const u16x16 magnitudes = e2m1_magnitudes(entry, bits);
    u16x16 signed_codes = magnitudes | e2m1_signs(zero_sign, magnitudes, x, bits);
    uint8_t *address = codes + index / 2;
    if (left == 16) {
      STORE(address, packed_nibbles(signed_codes));
    } else {
      const i16x16 lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
      signed_codes &= (u16x16)(lanes < (int16_t)left);
      const u8x8 bytes = packed_nibbles(signed_codes);
      copy_few(address, &bytes, (left + 1) / 2);
    }
  }
}

#if defined(BS_AVX512)

/// Codes of 32 values, each in a word, from the cells of each sixteen.
BS_INLINE __m512i codes_by_cells(
  int zero_sign, const uint16_t *values, const bs_e2m1_cells_t *first, const bs_e2m1_cells_t *second
) {
  const __mmask16 upper = 0xFF00;
#define BOTH(place)                                                                                \
  _mm512_mask_set1_epi32(_mm512_set1_epi32((int)first->place), upper, (int)second->place)
  const __m512i first_steps = BOTH(first), second_steps = BOTH(second);
#undef BOTH
  const __m512i bytes = _mm512_mask_broadcast_i32x4(
    _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)first->bytes)), upper,
    _mm_loadu_si128((const __m128i *)second->bytes));
  const __m512i x = _mm512_loadu_si512(values);
  const __m512i bits = _mm512_and_si512(x, _mm512_set1_epi16(0x7FFF));
  const __m512i distance = _mm512_subs_epu16(bits, second_steps);
  __m512i magnitudes = _mm512_srli_epi16(
    _mm512_add_epi16(_mm512_shuffle_epi8(bytes, _mm512_srli_epi16(distance, 5)), distance), 5);
  magnitudes = _mm512_mask_add_epi16(
    magnitudes, _mm512_cmpgt_epi16_mask(bits, first_steps), magnitudes, _mm512_set1_epi16(1));
  const __m512i signs =
    zero_sign == BS_ZERO_SIGN_KEPT_UNLESS_INPUT_IS_ZERO
    ? _mm512_maskz_srli_epi16(_mm512_test_epi16_mask(bits, bits), x, 12) : _mm512_srli_epi16(x, 12);
  // (magnitudes & 7) | (signs & ~7)
  return _mm512_ternarylogic_epi64(_mm512_set1_epi16(7), magnitudes, signs, 0xCA);
}

/// As many blocks of sixteen or 32 values as 64 values have, if the cells of all are known.
BS_INLINE int quantize_sixty_four(
  int zero_sign, const uint16_t *values, size_t block, const uint32_t *maxima,
  const bs_e2m1_cells_t *known, uint8_t *codes, uint8_t *scales
) {
  const bs_e2m1_cells_t *cells[4];
  int are_known = 1;
#pragma clang loop unroll(full)
  for (size_t index = 0; index < 4; index++) {
    cells[index] = &known[maxima[16 * index / block]];
    are_known &= cells[index]->is_known;
  }
  if (__builtin_expect(!are_known, 0)) return 0;
#pragma clang loop unroll(full)
  for (size_t index = 0; index < 64 / block; index++) {
    scales[index] = cells[index * block / 16]->scale;
  }
  __m512i pairs[2];
#pragma clang loop unroll(full)
  for (int half = 0; half < 2; half++) {
    __builtin_prefetch(values + 32 * half + E2M1_AHEAD);
    // An even code plus sixteen times the odd one.
    pairs[half] = _mm512_madd_epi16(
      codes_by_cells(zero_sign, values + 32 * half, cells[2 * half], cells[2 * half + 1]),
      _mm512_set1_epi32(0x00100001));
  }
  const __m512i lowest = _mm512_setr_epi32(
    0x0C080400, 0x1C181410, 0x2C282420, 0x3C383430, 0x4C484440, 0x5C585450, 0x6C686460,
    0x7C787470, 0, 0, 0, 0, 0, 0, 0, 0);
  _mm256_storeu_si256(
    (__m256i *)codes,
    _mm512_castsi512_si256(_mm512_permutex2var_epi8(pairs[0], lowest, pairs[1])));
  return 1;
}

#endif

/// Whole blocks of sixteen or 32 values, up to the first one whose cells are not known.
BS_INLINE size_t quantize_by_cells(
  int zero_sign, const uint16_t *values, size_t count, size_t block, const uint32_t *maxima,
  const bs_e2m1_cells_t *known, uint8_t *codes, uint8_t *scales
) {
  const size_t blocks = count / block;
  size_t done = 0;
#if defined(BS_AVX512)
  for (; (done + 64 / block) <= blocks; done += 64 / block) {
    uint8_t *to = codes + block / 2 * done;
    if (done % (128 / block) == 0) __builtin_prefetch(to + E2M1_AHEAD / 2, 1);
    if (!quantize_sixty_four(
          zero_sign, values + block * done, block, maxima + done, known, to, scales + done)) {
      break;
    }
  }
#endif
  for (; done < blocks; done++) {
    const bs_e2m1_cells_t *cells = &known[maxima[done]];
    if (__builtin_expect(!cells->is_known, 0)) return done;
    scales[done] = cells->scale;
    const uint16_t *from = values + block * done;
    uint8_t *to = codes + block / 2 * done;
    if (block == 32 || done % 2 == 0) __builtin_prefetch(from + E2M1_AHEAD);
    if (done % 4 == 0) __builtin_prefetch(to + E2M1_AHEAD / 2, 1);
    for (size_t index = 0; index < block; index += 16) {
      const u16x16 x = LOAD(u16x16, from + index);
      const u16x16 bits = x & 0x7FFF;
      const u16x16 distance = __builtin_elementwise_sub_sat(bits, all_pairs(cells->second));
      const u16x16 above = (lookup_low_bytes(cells->bytes, distance >> 5) + distance) >> 5;
      // Above the three bits of the code there is no meaning.
      const u16x16 magnitudes = above - (u16x16)((i16x16)bits > (i16x16)all_pairs(cells->first));
      u16x16 signs = x >> 12;
      if (zero_sign == BS_ZERO_SIGN_KEPT_UNLESS_INPUT_IS_ZERO) signs &= (u16x16)(bits != 0);
      const u16x16 mask = (u16x16){0} + 7;
      STORE(to + index / 2, packed_nibbles((magnitudes & mask) | (signs & ~mask)));
    }
  }
  return blocks;
}

BS_INLINE size_t quantize_e2m1(
  int zero_sign, const uint16_t *values, size_t count, size_t block, const uint32_t *maxima,
  const bs_e2m1_table_t *table, uint8_t *codes, uint8_t *scales
) {
  const uint32_t *known = table->scales;
  const bs_e2m1_entry_t *entries = table->entries;
  size_t done = 0, first = 0;
  const int has_cells = (block == 16 || block == 32)
    && (zero_sign == BS_ZERO_SIGN_KEPT || zero_sign == BS_ZERO_SIGN_KEPT_UNLESS_INPUT_IS_ZERO);
  // Whole blocks, whose length is a constant where `block` is one.
  for (; first + block <= count; first += block, done++) {
    if (has_cells) {
      done += quantize_by_cells(
        zero_sign, values + first, count - first, block, maxima + done, table->cells,
        codes + first / 2, scales + done);
      first = done * block;
      if (first + block > count) break;
    }
    const uint32_t maximum = maxima[done];
    const uint32_t scale = known[maximum];
    if (scale == 0) return done;
    scales[done] = (uint8_t)~scale;
    encode_e2m1_block(zero_sign, values + first, block, &entries[maximum], codes + first / 2);
  }
  if (first < count) {
    const uint32_t maximum = maxima[done];
    const uint32_t scale = known[maximum];
    if (scale != 0) {
      scales[done++] = (uint8_t)~scale;
      encode_e2m1_block(
        zero_sign, values + first, count - first, &entries[maximum], codes + first / 2);
    }
  }
  return done;
}

static size_t BS_NAME(bs_quantize_e2m1)(
  const bs_rule_t *rule, const uint16_t *values, size_t count, size_t block,
  const uint32_t *maxima, const bs_e2m1_table_t *table, uint8_t *codes, uint8_t *scales
) {
#define RUN(zero_sign, block)                                                                     \
  quantize_e2m1(zero_sign, values, count, block, maxima, table, codes, scales)
  const int kept = BS_ZERO_SIGN_KEPT, nonzero = BS_ZERO_SIGN_KEPT_UNLESS_INPUT_IS_ZERO;
  if (block == 16 && rule->zero_sign == kept) return RUN(kept, 16);
  if (block == 16 && rule->zero_sign == nonzero) return RUN(nonzero, 16);
  if (block == 32 && rule->zero_sign == kept) return RUN(kept, 32);
  return RUN(rule->zero_sign, block);
#undef RUN
}
