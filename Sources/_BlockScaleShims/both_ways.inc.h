// SPDX-License-Identifier: Apache-2.0

// E4M3 from BF16 in both orientations, from one read of the values.
//
// Two rows at a time are looked at, copied to a strip of 128 rows that stays in the second level of the
// cache, and encoded. A full strip is transposed by bytes, so that the two bytes of a column's values
// come out apart, as the table of a column wants them, and encoded as well. Codes of large matrices go
// past the caches: lines of the transpose lie a page apart, and reading each before it is written took
// longer than all the arithmetic.

#if defined(BS_AVX512)

enum { STRIP_ROWS = 128 };

/// Codes on their way to lines of memory, which need not begin where runs of 64 codes do.
typedef struct {
  /// How many bytes of a line belong to the run before.
  size_t offset;
  __m512i rotation;
  __mmask64 own;
  int is_streamed;
} lines_t;

BS_INLINE lines_t lines_at(const bs_strip_t *strip, const uint8_t *codes) {
  const __m512i places = _mm512_setr_epi64(
    0x0706050403020100, 0x0F0E0D0C0B0A0908, 0x1716151413121110, 0x1F1E1D1C1B1A1918,
    0x2726252423222120, 0x2F2E2D2C2B2A2928, 0x3736353433323130, 0x3F3E3D3C3B3A3938);
  const size_t offset = (size_t)codes & 63;
  return (lines_t){
    offset, _mm512_sub_epi8(places, _mm512_set1_epi8((char)offset)), ~(uint64_t)0 << offset,
    strip->is_streamed};
}

/// Completes a line by the first of 64 codes and keeps the others. The first line of all gets no other
/// bytes than these.
BS_INLINE void write_line(
  const lines_t *lines, uint8_t *codes, __m512i run, uint8_t *rest, int is_first
) {
  uint8_t *line = codes - lines->offset;
  const __m512i rotated = _mm512_permutexvar_epi8(lines->rotation, run);
  const __m512i all = _mm512_mask_blend_epi8(lines->own, _mm512_load_si512(rest), rotated);
  _mm512_store_si512(rest, rotated);
  if (__builtin_expect(is_first && lines->offset != 0, 0)) {
    _mm512_mask_storeu_epi8(line, lines->own, all);
  } else if (lines->is_streamed) {
    // Empty assembly keeps the compiler from making one usual store of the two.
    __asm__ volatile("");
    _mm512_stream_si512((void *)line, all);
    __asm__ volatile("");
  } else {
    _mm512_store_si512(line, all);
  }
}

/// Writes what is left after the last 64 codes, which end at `end`.
BS_INLINE void write_rest(const lines_t *lines, uint8_t *end, const uint8_t *rest) {
  _mm512_mask_storeu_epi8(end - lines->offset, ~lines->own, _mm512_load_si512(rest));
}

/// A block of 128 in the general way.
static __attribute__((noinline)) void BS_NAME(bs_encode_other_block)(
  const bs_rule_t *rule, const uint8_t *values, const bs_factor_t *factor, uint8_t *codes
) {
  if (factor->erases) {
    for (int index = 0; index < STRIP_ROWS; index += 64) {
      _mm512_storeu_si512(codes + index, _mm512_setzero_si512());
    }
  } else {
    BS_NAME(bs_encode)(rule, values, STRIP_ROWS, STRIP_ROWS, factor, codes);
  }
}

/// Whether all codes of a block are in its table.
BS_INLINE int is_tabulated(const bs_factor_t *factor, uint16_t minimum) {
  return factor->table && minimum >= factor->least;
}

/// The largest and, complemented, the smallest magnitudes of two blocks, from as many registers each.
BS_INLINE __m128i fold_extremes(
  __m512i first_most, __m512i first_least, __m512i second_most, __m512i second_least
) {
#define LOWER(a, b) _mm512_shuffle_i64x2(a, b, 0x44)
#define UPPER(a, b) _mm512_shuffle_i64x2(a, b, 0xEE)
  const __m512i ones = _mm512_set1_epi32(-1);
  const __m512i not_first = _mm512_xor_si512(first_least, ones);
  const __m512i not_second = _mm512_xor_si512(second_least, ones);
  const __m512i first =
    _mm512_max_epu16(LOWER(first_most, not_first), UPPER(first_most, not_first));
  const __m512i second =
    _mm512_max_epu16(LOWER(second_most, not_second), UPPER(second_most, not_second));
#undef LOWER
#undef UPPER
  // Each of the four in a quarter of a register.
  __m512i all = _mm512_max_epu16(
    _mm512_shuffle_i64x2(first, second, 0x88), _mm512_shuffle_i64x2(first, second, 0xDD));
  all = _mm512_max_epu16(all, _mm512_shuffle_epi32(all, 0x4E));
  all = _mm512_max_epu16(all, _mm512_shuffle_epi32(all, 0xB1));
  all = _mm512_max_epu16(all, _mm512_rol_epi32(all, 16));
  // Maxima of both blocks, then minima.
  const __m512i order = _mm512_setr_epi64(0x0018000800100000, 0, 0, 0, 0, 0, 0, 0);
  return _mm512_castsi512_si128(_mm512_permutexvar_epi16(order, all));
}

static void BS_NAME(bs_scan_rows)(
  const bs_strip_t *strip, const void *values, size_t stride, size_t row, size_t columns,
  uint32_t *maxima
) {
  const __m512i magnitude = _mm512_set1_epi16(0x7FFF);
  const uint8_t *first = values, *second = first + stride;
  uint8_t *copy = strip->rows + row * strip->pitch;
  uint16_t *most = strip->column_maxima, *least = strip->column_minima;
  const size_t blocks = columns / STRIP_ROWS;
  if (row == 0) {
    __builtin_memset(most, 0, 2 * columns);
    __builtin_memset(least, 0xFF, 2 * columns);
  }
  for (size_t block = 0; block < blocks; block++) {
    __m512i first_most, first_least, second_most, second_least;
#pragma clang loop unroll(full)
    for (int quarter = 0; quarter < 4; quarter++) {
      const size_t column = STRIP_ROWS * block + 32 * quarter;
      // The next two rows lie on pages of their own, which no hardware foresees.
      __builtin_prefetch(first + 2 * stride + 2 * column);
      __builtin_prefetch(second + 2 * stride + 2 * column);
      __m512i a = _mm512_loadu_si512(first + 2 * column);
      __m512i b = _mm512_loadu_si512(second + 2 * column);
      _mm512_store_si512(copy + 2 * column, a);
      _mm512_store_si512(copy + strip->pitch + 2 * column, b);
      a = _mm512_and_si512(a, magnitude);
      b = _mm512_and_si512(b, magnitude);
      first_most = quarter ? _mm512_max_epu16(first_most, a) : a;
      first_least = quarter ? _mm512_min_epu16(first_least, a) : a;
      second_most = quarter ? _mm512_max_epu16(second_most, b) : b;
      second_least = quarter ? _mm512_min_epu16(second_least, b) : b;
      _mm512_store_si512(
        most + column,
        _mm512_max_epu16(_mm512_load_si512(most + column), _mm512_max_epu16(a, b)));
      _mm512_store_si512(
        least + column,
        _mm512_min_epu16(_mm512_load_si512(least + column), _mm512_min_epu16(a, b)));
    }
    const __m128i extremes = fold_extremes(first_most, first_least, second_most, second_least);
    const uint64_t words = (uint64_t)_mm_cvtsi128_si64(extremes);
    maxima[block] = words & 0xFFFF;
    maxima[blocks + block] = words >> 16 & 0xFFFF;
    strip->row_minima[block] = (uint16_t)~(words >> 32);
    strip->row_minima[blocks + block] = (uint16_t)~(words >> 48);
  }
}

static void BS_NAME(bs_encode_rows)(
  const bs_rule_t *rule, const bs_strip_t *strip, size_t row, size_t columns,
  const bs_factor_t *factors, uint8_t *codes, size_t stride
) {
  const size_t blocks = columns / STRIP_ROWS;
  const lines_t lines = lines_at(strip, codes);
  for (size_t block = 0; block < blocks; block++) {
#pragma clang loop unroll(full)
    for (int second = 0; second < 2; second++) {
      const bs_factor_t *factor = &factors[second * blocks + block];
      const uint8_t *from =
        strip->rows + (row + second) * strip->pitch + 2 * STRIP_ROWS * block;
      __m512i half[2];
      if (__builtin_expect(
            is_tabulated(factor, strip->row_minima[second * blocks + block]), 1)) {
        const __m512i low = _mm512_loadu_si512(factor->table);
        const __m512i high = _mm512_loadu_si512(factor->table + 64);
        half[0] =
          tabulated64(_mm512_load_si512(from), _mm512_load_si512(from + 64), low, high);
        half[1] =
          tabulated64(_mm512_load_si512(from + 128), _mm512_load_si512(from + 192), low, high);
      } else {
        _Alignas(64) uint8_t other[STRIP_ROWS];
        BS_NAME(bs_encode_other_block)(rule, from, factor, other);
        half[0] = _mm512_load_si512(other);
        half[1] = _mm512_load_si512(other + 64);
      }
      uint8_t *to = codes + second * stride + STRIP_ROWS * block;
      uint8_t *rest = strip->row_rests + 64 * second;
      write_line(&lines, to, half[0], rest, block == 0);
      write_line(&lines, to + 64, half[1], rest, 0);
    }
  }
  write_rest(&lines, codes + columns, strip->row_rests);
  write_rest(&lines, codes + stride + columns, strip->row_rests + 64);
}

/// 64 rows of eight columns: the low bytes of each column and then its high bytes.
BS_INLINE void transpose_eight(const uint8_t *rows, size_t pitch, __m512i *bytes) {
  __m512i next[16];
#define PIECE(row) _mm_load_si128((const __m128i *)(rows + (row) * pitch))
#pragma clang loop unroll(full)
  for (int row = 0; row < 16; row++) {
    // Rows 16 apart lie in the quarters of a register.
    __m512i pieces = _mm512_castsi128_si512(PIECE(row));
    pieces = _mm512_mask_broadcast_i32x4(pieces, 0x00F0, PIECE(row + 16));
    pieces = _mm512_mask_broadcast_i32x4(pieces, 0x0F00, PIECE(row + 32));
    bytes[row] = _mm512_mask_broadcast_i32x4(pieces, 0xF000, PIECE(row + 48));
  }
#undef PIECE
#pragma clang loop unroll(full)
  for (int round = 0; round < 4; round++) {
#pragma clang loop unroll(full)
    for (int row = 0; row < 8; row++) {
      next[2 * row] = _mm512_unpacklo_epi8(bytes[row], bytes[row + 8]);
      next[2 * row + 1] = _mm512_unpackhi_epi8(bytes[row], bytes[row + 8]);
    }
#pragma clang loop unroll(full)
    for (int row = 0; row < 16; row++) bytes[row] = next[row];
  }
}

/// Codes of 64 values whose low and high bytes lie apart, by a table as `tabulated64` has it.
BS_INLINE __m512i tabulated_bytes(__m512i low, __m512i high, const uint8_t *table) {
  // Eight times the exponent plus an eighth of the significand; the eighth bit is of no meaning.
  const __m512i fields = _mm512_ternarylogic_epi64(
    _mm512_set1_epi8(0x70), _mm512_slli_epi16(high, 4), _mm512_srli_epi16(low, 4), 0xCA);
  const __m512i steps = _mm512_permutex2var_epi8(
    _mm512_loadu_si512(table), low, _mm512_loadu_si512(table + 64));
  return _mm512_ternarylogic_epi64(
    _mm512_set1_epi8((char)0x80), high, _mm512_add_epi8(steps, fields), 0xCA);
}

/// Whether a table holds for 64 values but for zeros, which are then put in order.
BS_INLINE int has_only_zeros(
  __m512i low, __m512i high, const bs_factor_t *factor, __m512i *codes
) {
  if (!factor->table) return 0;
  const __m512i magnitude = _mm512_and_si512(high, _mm512_set1_epi8(0x7F));
  const __m512i least_high = _mm512_set1_epi8((char)(factor->least >> 8));
  const __m512i least_low = _mm512_set1_epi8((char)factor->least);
  const __mmask64 small = _mm512_cmplt_epu8_mask(magnitude, least_high)
    | (_mm512_cmpeq_epu8_mask(magnitude, least_high) & _mm512_cmplt_epu8_mask(low, least_low));
  const __m512i either = _mm512_or_si512(magnitude, low);
  const __mmask64 zeros = _mm512_testn_epi8_mask(either, either);
  const __m512i signs = _mm512_and_si512(high, _mm512_set1_epi8((char)0x80));
  *codes = _mm512_mask_mov_epi8(*codes, zeros, signs);
  return small == zeros;
}

/// One column of the strip in the general way.
static __attribute__((noinline)) void BS_NAME(bs_encode_other_column)(
  const bs_rule_t *rule, const bs_strip_t *strip, size_t column, const bs_factor_t *factor,
  uint8_t *codes
) {
  uint16_t values[STRIP_ROWS];
  for (size_t row = 0; row < STRIP_ROWS; row++) {
    values[row] = LOAD(uint16_t, strip->rows + row * strip->pitch + 2 * column);
  }
  BS_NAME(bs_encode_other_block)(rule, (const uint8_t *)values, factor, codes);
}

static void BS_NAME(bs_encode_columns)(
  const bs_rule_t *rule, const bs_strip_t *strip, size_t first, size_t count,
  const bs_factor_t *factors, uint8_t *codes, size_t stride, int is_first
) {
  const lines_t lines = lines_at(strip, codes);
  // For columns without a table.
  static const uint8_t no_table[128];
  for (size_t done = 0; done < count; done += 8) {
    const size_t column = first + done;
    const uint8_t *tables[8];
    unsigned is_other = 0;
    for (int index = 0; index < 8; index++) {
      const bs_factor_t *factor = &factors[done + index];
      tables[index] = factor->table ? factor->table : no_table;
      is_other |= (unsigned)!is_tabulated(factor, strip->column_minima[column + index]) << index;
    }
    for (int half = 0; half < 2; half++) {
      const uint8_t *from = strip->rows + 64 * half * strip->pitch + 2 * column;
      // A quarter of the next 32 columns' lines, which the second level of the cache holds.
      const uint8_t *next =
        strip->rows + (column % 32 * 4 + 16 * half) * strip->pitch + 2 * (column / 32 * 32) + 64;
      for (int row = 0; row < 16; row++) __builtin_prefetch(next + row * strip->pitch);
      __m512i bytes[16];
      transpose_eight(from, strip->pitch, bytes);
#pragma clang loop unroll(full)
      for (int index = 0; index < 8; index++) {
        __m512i run = tabulated_bytes(bytes[2 * index], bytes[2 * index + 1], tables[index]);
        if (__builtin_expect(is_other >> index & 1, 0)) {
          const bs_factor_t *factor = &factors[done + index];
          if (!has_only_zeros(bytes[2 * index], bytes[2 * index + 1], factor, &run)) {
            _Alignas(64) uint8_t other[STRIP_ROWS];
            BS_NAME(bs_encode_other_column)(rule, strip, column + index, factor, other);
            run = _mm512_load_si512(other + 64 * half);
          }
        }
        write_line(
          &lines, codes + (done + index) * stride + 64 * half, run,
          strip->column_rests + 64 * (column + index), is_first && half == 0);
      }
    }
  }
}

static void BS_NAME(bs_finish_columns)(
  const bs_strip_t *strip, size_t columns, uint8_t *ends, size_t stride
) {
  const lines_t lines = lines_at(strip, ends);
  for (size_t column = 0; column < columns; column++) {
    write_rest(&lines, ends + column * stride, strip->column_rests + 64 * column);
  }
  // Lines that went past the caches are ordered with what other threads do next.
  _mm_sfence();
}

#endif
