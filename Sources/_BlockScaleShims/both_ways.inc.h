// SPDX-License-Identifier: Apache-2.0

// Both orientations of E4M3 codes in blocks of one row, from one read of BF16 values.
//
// Rows are looked at, copied to a strip and encoded. When their strip is full, the two bytes of a column's
// values come out of its transposition apart, as the table of a column wants them, and are encoded as well.
// Scale and table of a block are looked up by its maximum here, a few blocks after they were looked at, so
// that reading never waits for a whole row to be encoded.

#if defined(BS_AVX512)

/// The blocks of a row that are looked at before they are encoded.
enum { STEP_BLOCKS = 2 };

/// Stores the code of a scale of so many bytes.
BS_INLINE void store_scale(size_t bytes, uint8_t *scales, size_t index, uint32_t code) {
  if (__builtin_expect(bytes == 4, 1)) {
    STORE(scales + 4 * index, code);
  } else if (bytes == 2) {
    STORE(scales + 2 * index, (uint16_t)code);
  } else {
    scales[index] = (uint8_t)code;
  }
}

/// The largest magnitudes of `ROWS` rows, of each of which a register has some.
BS_INLINE __m128i fold_maxima(const __m512i *most) {
  // In the end those of each row in a quarter of one register.
  const __m512i first = _mm512_max_epu16(
    _mm512_shuffle_i64x2(most[0], most[1], 0x44), _mm512_shuffle_i64x2(most[0], most[1], 0xEE));
  const __m512i second = _mm512_max_epu16(
    _mm512_shuffle_i64x2(most[2], most[3], 0x44), _mm512_shuffle_i64x2(most[2], most[3], 0xEE));
  __m512i all = _mm512_max_epu16(
    _mm512_shuffle_i64x2(first, second, 0x88), _mm512_shuffle_i64x2(first, second, 0xDD));
  all = _mm512_max_epu16(all, _mm512_shuffle_epi32(all, 0x4E));
  all = _mm512_max_epu16(all, _mm512_shuffle_epi32(all, 0xB1));
  all = _mm512_max_epu16(all, _mm512_rol_epi32(all, 16));
  // Every word of a quarter is its largest by now.
  return _mm512_cvtepi64_epi16(
    _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 0, 2, 4, 6), all));
}

/// What a block of each of `ROWS` rows has been looked at for.
typedef struct {
  /// The smallest magnitudes of all rows, in no order.
  __m512i minima;
  /// The largest magnitude of each row, twice in turn.
  uint16_t maxima[2 * ROWS];
} extremes_t;

/// Looks at one block of `ROWS` rows, which are also copied to the strip.
BS_INLINE void scan_block(
  const bs_strip_t *strip, const uint8_t *values, size_t stride, size_t row, size_t block,
  extremes_t *extremes
) {
  const __m512i magnitude = _mm512_set1_epi16(0x7FFF);
  // The groups of eight columns lie `PITCH` apart, in each of them 64 bytes of every four rows.
  uint8_t *copy = strip->groups + STRIP_ROWS / 8 * block * PITCH + 64 / ROWS * row;
  uint16_t *column_most = strip->column_maxima + STRIP_ROWS * block;
  uint16_t *column_least = strip->column_minima + STRIP_ROWS * block;
  __m512i most[ROWS], least;
#pragma clang loop unroll(full)
  for (int quarter = 0; quarter < 4; quarter++) {
    const uint8_t *from = values + 2 * STRIP_ROWS * block + 64 * quarter;
    __m512i rows[ROWS], groups[4];
#pragma clang loop unroll(full)
    for (int index = 0; index < ROWS; index++) {
      rows[index] = _mm512_loadu_si512(from + index * stride);
      // The next rows lie on pages of their own, which no hardware foresees. Half of them are fetched
      // while blocks are encoded.
      if (index < ROWS / 2) __builtin_prefetch(from + (ROWS + index) * stride);
    }
    transpose_quarters(rows, groups);
#pragma clang loop unroll(full)
    for (int index = 0; index < 4; index++) {
      _mm512_store_si512(copy + (4 * quarter + index) * PITCH, groups[index]);
      rows[index] = _mm512_and_si512(rows[index], magnitude);
      most[index] = quarter ? _mm512_max_epu16(most[index], rows[index]) : rows[index];
    }
    __m512i larger = _mm512_max_epu16(
      _mm512_max_epu16(rows[0], rows[1]), _mm512_max_epu16(rows[2], rows[3]));
    __m512i smaller = _mm512_min_epu16(
      _mm512_min_epu16(rows[0], rows[1]), _mm512_min_epu16(rows[2], rows[3]));
    least = quarter ? _mm512_min_epu16(least, smaller) : smaller;
    if (row > 0) {
      larger = _mm512_max_epu16(_mm512_load_si512(column_most + 32 * quarter), larger);
      smaller = _mm512_min_epu16(_mm512_load_si512(column_least + 32 * quarter), smaller);
    }
    _mm512_store_si512(column_most + 32 * quarter, larger);
    _mm512_store_si512(column_least + 32 * quarter, smaller);
  }
  extremes->minima = least;
  _mm_storeu_si128((__m128i *)extremes->maxima, fold_maxima(most));
}

/// What blocks of rows or of columns need. Their scales are stored, only some if one is not known.
typedef enum { BLOCKS_UNKNOWN, BLOCKS_RARE, BLOCKS_TABULATED } block_kind_t;

BS_INLINE block_kind_t choose_rows(
  const bs_strip_t *strip, const extremes_t *extremes, size_t block, uint8_t *scales,
  size_t scale_stride, const bs_factor_t **factors
) {
  uint32_t least = 0;
#pragma clang loop unroll(full)
  for (int index = 0; index < ROWS; index++) {
    const bs_choice_t *choice = &strip->known[extremes->maxima[index]];
    if (__builtin_expect(choice->scale == 0, 0)) return BLOCKS_UNKNOWN;
    store_scale(strip->scale_bytes, scales + index * scale_stride, block, ~choice->scale);
    if (choice->factor.least > least) least = choice->factor.least;
    factors[index] = &choice->factor;
  }
  // In about one of 25 cases some row may have a value below its table; which one, is looked for then.
  const int is_rare = least > 0x7FFF
    || _mm512_cmplt_epu16_mask(extremes->minima, _mm512_set1_epi16((short)least)) != 0;
  return is_rare ? BLOCKS_RARE : BLOCKS_TABULATED;
}

static size_t BS_NAME(bs_encode_strip_rows)(
  const bs_rule_t *rule, const bs_strip_t *all, const void *values, size_t stride, size_t row,
  size_t columns, size_t done, const bs_factor_t *own, uint8_t *scales, size_t scale_stride,
  uint8_t *codes, size_t code_stride, int edges, uint32_t *maxima
) {
  // Of its own, so that no store can be one to it.
  const bs_strip_t strip = *all;
  const size_t blocks = columns / STRIP_ROWS;
  const lines_t lines = lines_at(codes, tabulated_order());
  const int begins = edges & BS_STRIP_BEGINS;
  if (done == 0) fetch_shared_lines(&lines, codes, code_stride, columns, edges);
  __m512i rests[ROWS];
  take_rests(&strip, row, rests);
  // Blocks are looked at one step before they are encoded, which then waits for nothing.
  extremes_t extremes[2 * STEP_BLOCKS];
  size_t scanned = done / STEP_BLOCKS * STEP_BLOCKS;
  for (size_t first = scanned; first < blocks; first += STEP_BLOCKS) {
    const size_t end = first + STEP_BLOCKS < blocks ? first + STEP_BLOCKS : blocks;
    for (; scanned < blocks && scanned < first + 2 * STEP_BLOCKS; scanned++) {
      scan_block(&strip, values, stride, row, scanned, &extremes[scanned % (2 * STEP_BLOCKS)]);
    }
    for (size_t block = first > done ? first : done; block < end; block++) {
      const extremes_t *found = &extremes[block % (2 * STEP_BLOCKS)];
      const uint8_t *from = (const uint8_t *)values + 2 * STRIP_ROWS * block;
      const bs_factor_t *factors[ROWS];
      block_kind_t kind = BLOCKS_RARE;
      if (__builtin_expect(own != 0, 0)) {
        for (int index = 0; index < ROWS; index++) factors[index] = own + index;
        own = 0;
      } else {
        kind = choose_rows(&strip, found, block, scales, scale_stride, factors);
      }
      if (__builtin_expect(kind == BLOCKS_UNKNOWN, 0)) {
        for (int index = 0; index < ROWS; index++) maxima[index] = found->maxima[index];
        done = block;
        goto stop;
      }
#pragma clang loop unroll(full)
      for (int index = 0; index < ROWS; index++) {
        const uint8_t *ahead = from + (ROWS + ROWS / 2 + index / 2) * stride + 128 * (index % 2);
        __builtin_prefetch(ahead);
        __builtin_prefetch(ahead + 64);
        __m512i runs[2];
        const uint8_t *some = from + index * stride;
        if (__builtin_expect(kind == BLOCKS_RARE && !is_tabulated(some, factors[index]), 0)) {
          encode_other_runs(rule, some, factors[index], runs);
        } else {
          encode_runs_by_table(some, factors[index], runs);
        }
        uint8_t *to = codes + index * code_stride + STRIP_ROWS * block;
        write_line(&lines, to, runs[0], &rests[index], begins && block == 0);
        write_line(&lines, to + 64, runs[1], &rests[index], 0);
      }
    }
  }
  if (edges & BS_STRIP_ENDS) finish_rows(&lines, codes + columns, code_stride, rests);
  done = blocks;
stop:
  keep_rests(&strip, row, rests);
  return done;
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
  __m512i *rests = (__m512i *)strip->column_rests + column;
  for (int half = 0; half < 2; half++) {
    const uint8_t *from = strip->groups + column / 8 * PITCH + STRIP_ROWS / ROWS / 2 * 64 * half;
    __m512i bytes[16];
    interleave_bytes(from, bytes);
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
        lines, codes + index * stride + 64 * half, run, rests + index, is_first && half == 0);
    }
  }
}

static __attribute__((noinline)) void BS_NAME(bs_encode_eight_rare_columns)(
  const bs_rule_t *rule, const bs_strip_t *strip, const lines_t *lines, size_t column,
  const bs_factor_t *const *factors, uint8_t *codes, size_t stride, int is_first
) {
  unsigned others = 0;
  for (int index = 0; index < 8; index++) {
    others |= (unsigned)(strip->column_minima[column + index] < factors[index]->least) << index;
  }
  encode_eight_columns(rule, strip, lines, column, factors, others, codes, stride, is_first);
}

static __attribute__((noinline)) void BS_NAME(bs_encode_eight_first_columns)(
  const bs_rule_t *rule, const bs_strip_t *strip, const lines_t *lines, size_t column,
  const bs_factor_t *const *factors, uint8_t *codes, size_t stride
) {
  encode_eight_columns(rule, strip, lines, column, factors, 0, codes, stride, 1);
}

BS_INLINE block_kind_t choose_eight_columns(
  const bs_strip_t *strip, size_t column, size_t scale_bytes, uint8_t *scales,
  const bs_factor_t **factors
) {
  int is_rare = 0;
#pragma clang loop unroll(disable)
  for (size_t index = 0; index < 8; index++) {
    const bs_choice_t *choice = &strip->known[strip->column_maxima[column + index]];
    if (__builtin_expect(choice->scale == 0, 0)) return BLOCKS_UNKNOWN;
    store_scale(scale_bytes, scales, column + index, ~choice->scale);
    is_rare |= strip->column_minima[column + index] < choice->factor.least;
    factors[index] = &choice->factor;
  }
  return is_rare ? BLOCKS_RARE : BLOCKS_TABULATED;
}

static size_t BS_NAME(bs_encode_strip_columns)(
  const bs_rule_t *rule, const bs_strip_t *all, size_t columns, size_t done,
  const bs_factor_t *own, uint8_t *scales, uint8_t *codes, size_t stride, int is_first
) {
  // Of its own, so that no store can be one to it.
  const bs_strip_t strip = *all;
  const lines_t lines = lines_at(codes, column_order());
  for (size_t column = done; column < columns; column += 8) {
    if (is_first && lines.offset != 0) {
      // Lines that are shared with what lies beside these columns have to be read.
      for (int index = 0; index < 8; index++) {
        __builtin_prefetch(codes + (column + 32 + index) * stride - lines.offset, 1);
      }
    }
    const bs_factor_t *factors[8];
    block_kind_t kind = BLOCKS_RARE;
    if (__builtin_expect(own != 0, 0)) {
      for (int index = 0; index < 8; index++) factors[index] = own + index;
      own = 0;
    } else if (strip.scale_bytes == 4) {
      kind = choose_eight_columns(&strip, column, 4, scales, factors);
    } else {
      kind = choose_eight_columns(&strip, column, strip.scale_bytes, scales, factors);
    }
    if (__builtin_expect(kind == BLOCKS_UNKNOWN, 0)) return column;
    uint8_t *to = codes + column * stride;
    if (__builtin_expect(kind == BLOCKS_RARE, 0)) {
      BS_NAME(bs_encode_eight_rare_columns)(
        rule, &strip, &lines, column, factors, to, stride, is_first);
    } else if (__builtin_expect(is_first, 0)) {
      BS_NAME(bs_encode_eight_first_columns)(rule, &strip, &lines, column, factors, to, stride);
    } else {
      encode_eight_columns(rule, &strip, &lines, column, factors, 0, to, stride, 0);
    }
  }
  return columns;
}

#endif
