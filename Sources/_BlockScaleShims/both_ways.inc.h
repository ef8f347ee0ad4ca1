// SPDX-License-Identifier: Apache-2.0

// Both orientations of 8-bit codes from one read of the values: E4M3 from BF16 in blocks of one row, and the
// transposition of the codes of square blocks.
//
// Two rows at a time are looked at, copied to a strip of 128 rows that stays in the second level of the
// cache, and encoded. A full strip is transposed by bytes, so that the two bytes of a column's values
// come out apart, as the table of a column wants them, and encoded as well. Codes go past the caches:
// lines of the transpose lie a page apart, and reading each before it is written took longer than all
// the arithmetic. Scale and table of a block are looked up by its maximum here, a few blocks after they
// were looked at, so that reading never waits for a whole row to be encoded.

#if defined(BS_AVX512)

enum {
  STRIP_ROWS = 128,
  PITCH = BS_STRIP_PITCH,
  /// The blocks of a row that are looked at before they are encoded.
  STEP_BLOCKS = 2,
};

/// Codes on their way to lines of memory, which need not begin where runs of 64 codes do.
typedef struct {
  /// How many bytes of a line belong to the run before.
  size_t offset;
  __m512i rotation;
  __mmask64 own;
} lines_t;

BS_INLINE lines_t lines_at(const uint8_t *codes) {
  const __m512i places = _mm512_setr_epi64(
    0x0706050403020100, 0x0F0E0D0C0B0A0908, 0x1716151413121110, 0x1F1E1D1C1B1A1918,
    0x2726252423222120, 0x2F2E2D2C2B2A2928, 0x3736353433323130, 0x3F3E3D3C3B3A3938);
  const size_t offset = (size_t)codes & 63;
  return (lines_t){
    offset, _mm512_sub_epi8(places, _mm512_set1_epi8((char)offset)), ~(uint64_t)0 << offset};
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
  if (is_first && lines->offset != 0) {
    _mm512_mask_storeu_epi8(line, lines->own, all);
  } else {
    _mm512_stream_si512((void *)line, all);
  }
}

/// Writes what is left after the last 64 codes, which end at `end`.
BS_INLINE void write_rest(const lines_t *lines, uint8_t *end, const uint8_t *rest) {
  _mm512_mask_storeu_epi8(end - lines->offset, ~lines->own, _mm512_load_si512(rest));
}

/// Stores the code of a scale.
BS_INLINE void store_scale(const bs_strip_t *strip, uint8_t *scales, size_t index, uint32_t code) {
  switch (strip->scale_bytes) {
  case 4: STORE(scales + 4 * index, code); break;
  case 2: STORE(scales + 2 * index, (uint16_t)code); break;
  default: scales[index] = (uint8_t)code;
  }
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

/// Looks at one block of two rows, which are also copied to the strip. The extremes are those of
/// `fold_extremes`.
BS_INLINE uint64_t scan_block(
  const bs_strip_t *strip, const uint8_t *values, size_t stride, size_t row, size_t block
) {
  const __m512i magnitude = _mm512_set1_epi16(0x7FFF);
  uint8_t *copy = strip->rows + row * PITCH;
  uint16_t *most = strip->column_maxima, *least = strip->column_minima;
  __m512i first_most, first_least, second_most, second_least;
#pragma clang loop unroll(full)
  for (int quarter = 0; quarter < 4; quarter++) {
    const size_t column = STRIP_ROWS * block + 32 * quarter;
    const uint8_t *from = values + 2 * column;
    // The next two rows lie on pages of their own, which no hardware foresees. The second one of them
    // is fetched while blocks are encoded.
    __builtin_prefetch(from + 2 * stride);
    __m512i a = _mm512_loadu_si512(from);
    __m512i b = _mm512_loadu_si512(from + stride);
    _mm512_store_si512(copy + 2 * column, a);
    _mm512_store_si512(copy + PITCH + 2 * column, b);
    a = _mm512_and_si512(a, magnitude);
    b = _mm512_and_si512(b, magnitude);
    first_most = quarter ? _mm512_max_epu16(first_most, a) : a;
    first_least = quarter ? _mm512_min_epu16(first_least, a) : a;
    second_most = quarter ? _mm512_max_epu16(second_most, b) : b;
    second_least = quarter ? _mm512_min_epu16(second_least, b) : b;
    __m512i larger = _mm512_max_epu16(a, b), smaller = _mm512_min_epu16(a, b);
    if (row > 0) {
      larger = _mm512_max_epu16(_mm512_load_si512(most + column), larger);
      smaller = _mm512_min_epu16(_mm512_load_si512(least + column), smaller);
    }
    _mm512_store_si512(most + column, larger);
    _mm512_store_si512(least + column, smaller);
  }
  return (uint64_t)_mm_cvtsi128_si64(
    fold_extremes(first_most, first_least, second_most, second_least));
}

static size_t BS_NAME(bs_encode_strip_rows)(
  const bs_rule_t *rule, const bs_strip_t *strip, const void *values, size_t stride, size_t row,
  size_t columns, size_t done, const bs_factor_t *own, uint8_t *scales, size_t scale_stride,
  uint8_t *codes, size_t code_stride, int edges, uint32_t *maximum
) {
  const size_t blocks = columns / STRIP_ROWS;
  const lines_t lines = lines_at(codes);
  const int begins = edges & BS_STRIP_BEGINS;
  if (lines.offset != 0 && done == 0) {
    // Lines that are shared with what lies beside these rows have to be read.
    for (size_t next = 2; next < 4; next++) {
      uint8_t *line = codes + next * code_stride - lines.offset;
      if (begins) __builtin_prefetch(line, 1);
      if (edges & BS_STRIP_ENDS) __builtin_prefetch(line + columns, 1);
    }
  }
  // Blocks are looked at one step before they are encoded, which then waits for nothing.
  uint64_t extremes[2 * STEP_BLOCKS];
  size_t scanned = done / 2 / STEP_BLOCKS * STEP_BLOCKS;
  for (size_t first = scanned; first < blocks; first += STEP_BLOCKS) {
    const size_t end = first + STEP_BLOCKS < blocks ? first + STEP_BLOCKS : blocks;
    for (; scanned < blocks && scanned < first + 2 * STEP_BLOCKS; scanned++) {
      extremes[scanned % (2 * STEP_BLOCKS)] = scan_block(strip, values, stride, row, scanned);
    }
    for (size_t block = first; block < end; block++) {
      const uint64_t own_extremes = extremes[block % (2 * STEP_BLOCKS)];
#pragma clang loop unroll(full)
      for (int second = 0; second < 2; second++) {
        if (__builtin_expect(2 * block + second < done, 0)) continue;
        const uint32_t most = own_extremes >> (16 * second) & 0xFFFF;
        const uint16_t least = (uint16_t)~(own_extremes >> (16 * second + 32));
        const bs_choice_t *choice = &strip->known[most];
        const bs_factor_t *factor = &choice->factor;
        if (__builtin_expect(choice->scale == 0, 0)) {
          if (!own || 2 * block + second > done) {
            *maximum = most;
            return 2 * block + second;
          }
          factor = own;
        } else {
          store_scale(strip, scales + second * scale_stride, block, ~choice->scale);
        }
        const uint8_t *ahead = (const uint8_t *)values + 3 * stride + 2 * STRIP_ROWS * block;
        __builtin_prefetch(ahead + STRIP_ROWS * second);
        __builtin_prefetch(ahead + STRIP_ROWS * second + 64);
        const uint8_t *from = strip->rows + (row + second) * PITCH + 2 * STRIP_ROWS * block;
        __m512i half[2];
        if (__builtin_expect(is_tabulated(factor, least), 1)) {
          const __m512i low = _mm512_loadu_si512(factor->table);
          const __m512i high = _mm512_loadu_si512(factor->table + 64);
          half[0] =
            tabulated64(_mm512_load_si512(from), _mm512_load_si512(from + 64), low, high);
          half[1] = tabulated64(
            _mm512_load_si512(from + 128), _mm512_load_si512(from + 192), low, high);
        } else {
          _Alignas(64) uint8_t other[STRIP_ROWS];
          BS_NAME(bs_encode_other_block)(rule, from, factor, other);
          half[0] = _mm512_load_si512(other);
          half[1] = _mm512_load_si512(other + 64);
        }
        uint8_t *to = codes + second * code_stride + STRIP_ROWS * block;
        uint8_t *rest = strip->row_rests + 64 * (row + second);
        write_line(&lines, to, half[0], rest, begins && block == 0);
        write_line(&lines, to + 64, half[1], rest, 0);
      }
    }
  }
  if ((edges & BS_STRIP_ENDS) && lines.offset != 0) {
    write_rest(&lines, codes + columns, strip->row_rests + 64 * row);
    write_rest(&lines, codes + code_stride + columns, strip->row_rests + 64 * (row + 1));
  }
  return 2 * blocks;
}

/// Sixteen bytes into one quarter of a register: the compiler would join halves by an instruction that
/// takes the port of the interleaving ones.
#define INSERT_QUARTER(quarters, address, mask)                                                    \
  __asm__("vbroadcasti32x4 %1, %0%{%2%}"                                                           \
    : "+v"(quarters) : "m"(*(const __m128i *)(address)), "Yk"((__mmask16)(mask)))

/// 64 rows of sixteen bytes: the first byte of all rows, then the second one, and so on.
BS_INLINE void transpose_bytes_of_rows(const uint8_t *rows, __m512i *bytes) {
  __m512i next[16];
#pragma clang loop unroll(full)
  for (int row = 0; row < 16; row++) {
    // Rows 16 apart lie in the quarters of a register.
    __m512i pieces =
      _mm512_castsi128_si512(_mm_load_si128((const __m128i *)(rows + row * PITCH)));
    INSERT_QUARTER(pieces, rows + (row + 16) * PITCH, 0x00F0);
    INSERT_QUARTER(pieces, rows + (row + 32) * PITCH, 0x0F00);
    INSERT_QUARTER(pieces, rows + (row + 48) * PITCH, 0xF000);
    bytes[row] = pieces;
  }
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

/// Encodes those of 64 values of a column for which its table does not hold.
static __attribute__((noinline)) void BS_NAME(bs_encode_small)(
  const bs_rule_t *rule, const __m512i *bytes, const bs_factor_t *factor, uint8_t *codes
) {
  const __m512i low = bytes[0], high = bytes[1];
  const __m512i magnitude = _mm512_and_si512(high, _mm512_set1_epi8(0x7F));
  const __m512i least_high = _mm512_set1_epi8((char)(factor->least >> 8));
  const __m512i least_low = _mm512_set1_epi8((char)factor->least);
  uint64_t small = _mm512_cmplt_epu8_mask(magnitude, least_high)
    | (_mm512_cmpeq_epu8_mask(magnitude, least_high) & _mm512_cmplt_epu8_mask(low, least_low));
  if (small == 0) return;
  // A table of its own would take as long as these few.
  uint8_t words[2][64], places[64], found[64];
  uint16_t values[64];
  _mm512_storeu_si512(words[0], low);
  _mm512_storeu_si512(words[1], high);
  size_t count = 0;
  for (; small != 0; small &= small - 1) {
    const int place = __builtin_ctzll(small);
    places[count] = (uint8_t)place;
    values[count++] = (uint16_t)(words[0][place] | words[1][place] << 8);
  }
  BS_NAME(bs_encode_exactly)(rule, (const uint8_t *)values, count, *factor, found);
  for (size_t index = 0; index < count; index++) codes[places[index]] = found[index];
}

/// 64 values of a column for which there is no table.
static __attribute__((noinline)) void BS_NAME(bs_encode_without_table)(
  const bs_rule_t *rule, const __m512i *bytes, const bs_factor_t *factor, uint8_t *codes
) {
  if (factor->erases) {
    _mm512_storeu_si512(codes, _mm512_setzero_si512());
    return;
  }
  const __m512i upper = _mm512_unpackhi_epi8(bytes[0], bytes[1]);
  const __m512i lower = _mm512_unpacklo_epi8(bytes[0], bytes[1]);
  uint16_t values[64];
  _mm512_storeu_si512(
    values, _mm512_permutex2var_epi64(lower, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), upper));
  _mm512_storeu_si512(
    values + 32,
    _mm512_permutex2var_epi64(lower, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), upper));
  BS_NAME(bs_encode)(rule, values, 64, 64, factor, codes);
}

/// Eight columns of a full strip. `others` has a bit for each of them whose table, if there is one, does
/// not hold for all values; it and `is_first` are constants where this is inlined into the usual way.
BS_INLINE void encode_eight_columns(
  const bs_rule_t *rule, const bs_strip_t *strip, const lines_t *lines, size_t column,
  const bs_factor_t *const *factors, unsigned others, uint8_t *codes, size_t stride, int is_first
) {
  // For columns without a table.
  static const uint8_t no_table[128];
  for (int half = 0; half < 2; half++) {
    const uint8_t *from = strip->rows + 64 * half * PITCH + 2 * column;
    // A quarter of the next 32 columns' lines, which the second level of the cache holds.
    const uint8_t *next =
      strip->rows + (column % 32 * 4 + 16 * half) * PITCH + 2 * (column / 32 * 32) + 64;
#pragma clang loop unroll(full)
    for (int row = 0; row < 16; row++) __builtin_prefetch(next + row * PITCH);
    __m512i bytes[16];
    transpose_bytes_of_rows(from, bytes);
#pragma clang loop unroll(full)
    for (int index = 0; index < 8; index++) {
      const uint8_t *table = factors[index]->table;
      if (others && !table) table = no_table;
      __m512i run = tabulated_bytes(bytes[2 * index], bytes[2 * index + 1], table);
      if (others >> index & 1) {
        _Alignas(64) uint8_t other[64];
        _mm512_store_si512(other, run);
        if (factors[index]->table) {
          BS_NAME(bs_encode_small)(rule, bytes + 2 * index, factors[index], other);
        } else {
          BS_NAME(bs_encode_without_table)(rule, bytes + 2 * index, factors[index], other);
        }
        run = _mm512_load_si512(other);
      }
      write_line(
        lines, codes + index * stride + 64 * half, run,
        strip->column_rests + 64 * (column + index), is_first && half == 0);
    }
  }
}

static __attribute__((noinline)) void BS_NAME(bs_encode_eight_rare_columns)(
  const bs_rule_t *rule, const bs_strip_t *strip, const lines_t *lines, size_t column,
  const bs_factor_t *const *factors, unsigned others, uint8_t *codes, size_t stride, int is_first
) {
  encode_eight_columns(rule, strip, lines, column, factors, others, codes, stride, is_first);
}

static size_t BS_NAME(bs_encode_strip_columns)(
  const bs_rule_t *rule, const bs_strip_t *strip, size_t columns, size_t done,
  const bs_factor_t *own, uint8_t *scales, uint8_t *codes, size_t stride, int is_first
) {
  const lines_t lines = lines_at(codes);
  for (size_t column = done; column < columns; column += 8) {
    if (is_first && lines.offset != 0) {
      // Lines that are shared with what lies beside these columns have to be read.
      for (int index = 0; index < 8; index++) {
        __builtin_prefetch(codes + (column + 32 + index) * stride - lines.offset, 1);
      }
    }
    const bs_factor_t *factors[8];
    unsigned others = 0;
    for (int index = 0; index < 8; index++) {
      const bs_choice_t *choice = &strip->known[strip->column_maxima[column + index]];
      factors[index] = own ? own + index : &choice->factor;
      if (!own) {
        if (__builtin_expect(choice->scale == 0, 0)) return column;
        store_scale(strip, scales, column + index, ~choice->scale);
      }
      others |=
        (unsigned)!is_tabulated(factors[index], strip->column_minima[column + index]) << index;
    }
    own = 0;
    uint8_t *to = codes + column * stride;
    if (__builtin_expect(others != 0 || is_first, 0)) {
      BS_NAME(bs_encode_eight_rare_columns)(
        rule, strip, &lines, column, factors, others, to, stride, is_first);
    } else {
      encode_eight_columns(rule, strip, &lines, column, factors, 0, to, stride, 0);
    }
  }
  return columns;
}

static void BS_NAME(bs_turn_strip_codes)(
  const bs_strip_t *strip, size_t columns, uint8_t *codes, size_t stride, int is_first
) {
  const lines_t lines = lines_at(codes);
  for (size_t column = 0; column < columns; column += 16) {
    uint8_t *to = codes + column * stride;
    if (is_first && lines.offset != 0) {
      // Lines that are shared with what lies beside these columns have to be read.
      for (int index = 0; index < 16; index++) {
        __builtin_prefetch(to + (32 + index) * stride - lines.offset, 1);
      }
    }
    for (int half = 0; half < 2; half++) {
      __m512i bytes[16];
      transpose_bytes_of_rows(strip->rows + 64 * half * PITCH + column, bytes);
#pragma clang loop unroll(full)
      for (int index = 0; index < 16; index++) {
        write_line(
          &lines, to + index * stride + 64 * half, bytes[index],
          strip->column_rests + 64 * (column + index), is_first && half == 0);
      }
    }
  }
}

static void BS_NAME(bs_finish_strip_columns)(
  const bs_strip_t *strip, size_t columns, uint8_t *ends, size_t stride
) {
  const lines_t lines = lines_at(ends);
  if (lines.offset != 0) {
    for (size_t column = 0; column < columns; column++) {
      __builtin_prefetch(ends + (column + 32) * stride - lines.offset, 1);
      write_rest(&lines, ends + column * stride, strip->column_rests + 64 * column);
    }
  }
  // Lines that went past the caches are ordered with what other threads do next.
  _mm_sfence();
}

#endif
