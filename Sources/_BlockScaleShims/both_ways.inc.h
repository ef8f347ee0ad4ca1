// SPDX-License-Identifier: Apache-2.0

// Both orientations of 8-bit codes from one read of the values: E4M3 from BF16 in blocks of one row, and the
// transposition of the codes of square blocks.
//
// Four rows at a time are looked at, copied to a strip of 128 rows that stays in the second level of the
// cache, and encoded. On their way to the strip pieces of eight columns are brought together, a register
// of them from each four rows, so that a column's values lie in 2 KB. A full strip is transposed by bytes;
// the two bytes of a column's values come out apart, as the table of a column wants them, and are encoded
// as well. Codes go past the caches: lines of the transpose lie a page apart, and reading each before it is
// written took longer than all the arithmetic. Scale and table of a block are looked up by its maximum
// here, a few blocks after they were looked at, so that reading never waits for a whole row to be encoded.

#if defined(BS_AVX512)

enum {
  STRIP_ROWS = 128,
  PITCH = BS_STRIP_PITCH,
  ROWS = BS_STRIP_ROWS_AT_ONCE,
  /// The blocks of a row that are looked at before they are encoded.
  STEP_BLOCKS = 2,
};

/// Codes on their way to lines of memory, which need not begin where runs of 64 codes do.
typedef struct {
  /// How many bytes of a line belong to the run before.
  size_t offset;
  /// Brings a run into order and turns it by `offset`.
  __m512i places;
  __mmask64 own;
} lines_t;

/// The bytes of a register from the first to the last one.
BS_INLINE __m512i natural_order(void) {
  return _mm512_setr_epi64(
    0x0706050403020100, 0x0F0E0D0C0B0A0908, 0x1716151413121110, 0x1F1E1D1C1B1A1918,
    0x2726252423222120, 0x2F2E2D2C2B2A2928, 0x3736353433323130, 0x3F3E3D3C3B3A3938);
}

/// Where the codes of a row lie that come from `tabulated64`.
BS_INLINE __m512i tabulated_order(void) {
  return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), natural_order());
}

/// Where the codes of a column lie whose rows are in turn in the quarters of a register.
BS_INLINE __m512i column_order(void) {
  return _mm512_setr_epi64(
    0x3121110130201000, 0x3323130332221202, 0x3525150534241404, 0x3727170736261606,
    0x3929190938281808, 0x3B2B1B0B3A2A1A0A, 0x3D2D1D0D3C2C1C0C, 0x3F2F1F0F3E2E1E0E);
}

/// - Parameter order: The places of a run's codes in the register that holds them.
BS_INLINE lines_t lines_at(const uint8_t *codes, __m512i order) {
  const size_t offset = (size_t)codes & 63;
  const __m512i turned = _mm512_sub_epi8(natural_order(), _mm512_set1_epi8((char)offset));
  return (lines_t){offset, _mm512_permutexvar_epi8(turned, order), ~(uint64_t)0 << offset};
}

/// Completes a line by the first of 64 codes and keeps the others. The first line of all gets no other
/// bytes than these.
BS_INLINE void write_line(
  const lines_t *lines, uint8_t *codes, __m512i run, __m512i *rest, int is_first
) {
  uint8_t *line = codes - lines->offset;
  const __m512i turned = _mm512_permutexvar_epi8(lines->places, run);
  const __m512i all = _mm512_mask_blend_epi8(lines->own, *rest, turned);
  *rest = turned;
  if (is_first && lines->offset != 0) {
    _mm512_mask_storeu_epi8(line, lines->own, all);
  } else {
    _mm512_stream_si512((void *)line, all);
  }
}

/// Writes what is left after the last 64 codes, which end at `end`.
BS_INLINE void write_rest(const lines_t *lines, uint8_t *end, const void *rest) {
  _mm512_mask_storeu_epi8(end - lines->offset, ~lines->own, _mm512_load_si512(rest));
}

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

/// Four registers whose quarters change places with each other, as rows and columns do.
BS_INLINE void transpose_quarters(const __m512i *rows, __m512i *columns) {
  const __m512i lower0 = _mm512_shuffle_i64x2(rows[0], rows[1], 0x44);
  const __m512i lower1 = _mm512_shuffle_i64x2(rows[2], rows[3], 0x44);
  const __m512i upper0 = _mm512_shuffle_i64x2(rows[0], rows[1], 0xEE);
  const __m512i upper1 = _mm512_shuffle_i64x2(rows[2], rows[3], 0xEE);
  columns[0] = _mm512_shuffle_i64x2(lower0, lower1, 0x88);
  columns[1] = _mm512_shuffle_i64x2(lower0, lower1, 0xDD);
  columns[2] = _mm512_shuffle_i64x2(upper0, upper1, 0x88);
  columns[3] = _mm512_shuffle_i64x2(upper0, upper1, 0xDD);
}

/// Words of four registers, those of each in a quarter of one.
#define FOLD(operation, rows, result)                                                              \
  do {                                                                                             \
    const __m512i first = operation(                                                               \
      _mm512_shuffle_i64x2((rows)[0], (rows)[1], 0x44),                                            \
      _mm512_shuffle_i64x2((rows)[0], (rows)[1], 0xEE));                                           \
    const __m512i second = operation(                                                              \
      _mm512_shuffle_i64x2((rows)[2], (rows)[3], 0x44),                                            \
      _mm512_shuffle_i64x2((rows)[2], (rows)[3], 0xEE));                                           \
    result = operation(                                                                            \
      _mm512_shuffle_i64x2(first, second, 0x88), _mm512_shuffle_i64x2(first, second, 0xDD));       \
  } while (0)

/// The largest and, complemented, the smallest magnitudes of blocks of `ROWS` rows.
BS_INLINE __m128i fold_extremes(const __m512i *most, const __m512i *least) {
  __m512i maxima, minima;
  FOLD(_mm512_max_epu16, most, maxima);
  FOLD(_mm512_min_epu16, least, minima);
  minima = _mm512_xor_si512(minima, _mm512_set1_epi32(-1));
  __m512i all = _mm512_max_epu16(
    _mm512_unpacklo_epi64(maxima, minima), _mm512_unpackhi_epi64(maxima, minima));
  all = _mm512_max_epu16(all, _mm512_shuffle_epi32(all, 0xB1));
  all = _mm512_max_epu16(all, _mm512_rol_epi32(all, 16));
  // Of each quarter the first word, then the fifth one.
  const __m512i order =
    _mm512_setr_epi64(0x0018001000080000, 0x001C0014000C0004, 0, 0, 0, 0, 0, 0);
  return _mm512_castsi512_si128(_mm512_permutexvar_epi16(order, all));
}

/// Looks at one block of `ROWS` rows, which are also copied to the strip. The extremes are those of
/// `fold_extremes`.
BS_INLINE __m128i scan_block(
  const bs_strip_t *strip, const uint8_t *values, size_t stride, size_t row, size_t block
) {
  const __m512i magnitude = _mm512_set1_epi16(0x7FFF);
  // The groups of eight columns lie `PITCH` apart, in each of them 64 bytes of every four rows.
  uint8_t *copy = strip->groups + STRIP_ROWS / 8 * block * PITCH + 64 / ROWS * row;
  uint16_t *column_most = strip->column_maxima + STRIP_ROWS * block;
  uint16_t *column_least = strip->column_minima + STRIP_ROWS * block;
  __m512i most[ROWS], least[ROWS];
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
      least[index] = quarter ? _mm512_min_epu16(least[index], rows[index]) : rows[index];
    }
    __m512i larger = _mm512_max_epu16(
      _mm512_max_epu16(rows[0], rows[1]), _mm512_max_epu16(rows[2], rows[3]));
    __m512i smaller = _mm512_min_epu16(
      _mm512_min_epu16(rows[0], rows[1]), _mm512_min_epu16(rows[2], rows[3]));
    if (row > 0) {
      larger = _mm512_max_epu16(_mm512_load_si512(column_most + 32 * quarter), larger);
      smaller = _mm512_min_epu16(_mm512_load_si512(column_least + 32 * quarter), smaller);
    }
    _mm512_store_si512(column_most + 32 * quarter, larger);
    _mm512_store_si512(column_least + 32 * quarter, smaller);
  }
  return fold_extremes(most, least);
}

/// A block of 128 BF16 values by its table, as two runs in the order of `tabulated64`.
BS_INLINE void encode_runs_by_table(
  const uint8_t *values, const bs_factor_t *factor, __m512i *runs
) {
  const __m512i low = _mm512_loadu_si512(factor->table);
  const __m512i high = _mm512_loadu_si512(factor->table + 64);
  for (int half = 0; half < 2; half++) {
    runs[half] = tabulated64(
      _mm512_loadu_si512(values + 128 * half), _mm512_loadu_si512(values + 128 * half + 64), low,
      high);
  }
}

/// A block of 128 in the general way, as if its codes had come by a table.
BS_INLINE void encode_other_runs(
  const bs_rule_t *rule, const uint8_t *values, const bs_factor_t *factor, __m512i *runs
) {
  _Alignas(64) uint8_t codes[STRIP_ROWS];
  BS_NAME(bs_encode_other_block)(rule, values, factor, codes);
  const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
  for (int half = 0; half < 2; half++) {
    runs[half] = _mm512_permutexvar_epi64(order, _mm512_load_si512(codes + 64 * half));
  }
}

/// Fetches lines of the next rows that are shared with what lies beside these, and so have to be read.
BS_INLINE void fetch_shared_lines(
  const lines_t *lines, const uint8_t *codes, size_t stride, size_t columns, int edges
) {
  if (lines->offset == 0) return;
  for (size_t row = ROWS; row < 2 * ROWS; row++) {
    const uint8_t *line = codes + row * stride - lines->offset;
    if (edges & BS_STRIP_BEGINS) __builtin_prefetch(line, 1);
    if (edges & BS_STRIP_ENDS) __builtin_prefetch(line + columns, 1);
  }
}

static size_t BS_NAME(bs_encode_strip_rows)(
  const bs_rule_t *rule, const bs_strip_t *all, const void *values, size_t stride, size_t row,
  size_t columns, size_t done, const bs_factor_t *own, uint8_t *scales, size_t scale_stride,
  uint8_t *codes, size_t code_stride, int edges, uint32_t *maximum
) {
  // Of its own, so that no store can be one to it.
  const bs_strip_t strip = *all;
  const size_t blocks = columns / STRIP_ROWS;
  const lines_t lines = lines_at(codes, tabulated_order());
  const int begins = edges & BS_STRIP_BEGINS;
  if (done == 0) fetch_shared_lines(&lines, codes, code_stride, columns, edges);
  __m512i *waiting = (__m512i *)strip.row_rests + row;
  __m512i rests[ROWS];
#pragma clang loop unroll(full)
  for (int index = 0; index < ROWS; index++) rests[index] = waiting[index];
  // Blocks are looked at one step before they are encoded, which then waits for nothing.
  _Alignas(16) uint16_t extremes[2 * STEP_BLOCKS][2 * ROWS];
  size_t scanned = done / ROWS / STEP_BLOCKS * STEP_BLOCKS;
  for (size_t first = scanned; first < blocks; first += STEP_BLOCKS) {
    const size_t end = first + STEP_BLOCKS < blocks ? first + STEP_BLOCKS : blocks;
    for (; scanned < blocks && scanned < first + 2 * STEP_BLOCKS; scanned++) {
      _mm_store_si128(
        (__m128i *)extremes[scanned % (2 * STEP_BLOCKS)],
        scan_block(&strip, values, stride, row, scanned));
    }
    for (size_t block = first; block < end; block++) {
      const uint16_t *found = extremes[block % (2 * STEP_BLOCKS)];
      const uint8_t *from = (const uint8_t *)values + 2 * STRIP_ROWS * block;
#pragma clang loop unroll(full)
      for (int index = 0; index < ROWS; index++) {
        if (__builtin_expect(ROWS * block + index < done, 0)) continue;
        const bs_choice_t *choice = &strip.known[found[index]];
        const bs_factor_t *factor = &choice->factor;
        if (__builtin_expect(choice->scale == 0, 0)) {
          if (!own || ROWS * block + index > done) {
            *maximum = found[index];
            done = ROWS * block + index;
            goto stop;
          }
          factor = own;
        } else {
          store_scale(
            strip.scale_bytes, scales + index * scale_stride, block, ~choice->scale);
        }
        const uint8_t *ahead = from + (ROWS + ROWS / 2 + index / 2) * stride + 128 * (index % 2);
        __builtin_prefetch(ahead);
        __builtin_prefetch(ahead + 64);
        __m512i runs[2];
        if (__builtin_expect((uint16_t)~found[ROWS + index] >= factor->least, 1)) {
          encode_runs_by_table(from + index * stride, factor, runs);
        } else {
          encode_other_runs(rule, from + index * stride, factor, runs);
        }
        uint8_t *to = codes + index * code_stride + STRIP_ROWS * block;
        write_line(&lines, to, runs[0], &rests[index], begins && block == 0);
        write_line(&lines, to + 64, runs[1], &rests[index], 0);
      }
    }
  }
  if ((edges & BS_STRIP_ENDS) && lines.offset != 0) {
    for (int index = 0; index < ROWS; index++) {
      write_rest(&lines, codes + index * code_stride + columns, &rests[index]);
    }
  }
  done = ROWS * blocks;
stop:
#pragma clang loop unroll(full)
  for (int index = 0; index < ROWS; index++) waiting[index] = rests[index];
  return done;
}

/// Whether a block of 128 BF16 values has a smaller magnitude than its table.
BS_INLINE int has_small(const uint8_t *values, const bs_factor_t *factor) {
  const __m512i magnitude = _mm512_set1_epi16(0x7FFF);
  __m512i smallest = magnitude;
#pragma clang loop unroll(full)
  for (int index = 0; index < 4; index++) {
    smallest = _mm512_min_epu16(
      smallest, _mm512_and_si512(_mm512_loadu_si512(values + 64 * index), magnitude));
  }
  return _mm512_cmplt_epu16_mask(smallest, _mm512_set1_epi16((short)factor->least)) != 0;
}

static void BS_NAME(bs_encode_strip_squares)(
  const bs_rule_t *rule, const bs_strip_t *strip, const void *values, size_t stride, size_t row,
  size_t columns, const bs_factor_t *factors, uint8_t *codes, size_t code_stride, int edges
) {
  const lines_t lines = lines_at(codes, tabulated_order());
  const size_t width = rule->source == BS_FLOAT32 ? 4 : 2;
  fetch_shared_lines(&lines, codes, code_stride, columns, edges);
  // The groups of sixteen columns lie `PITCH` apart, in each of them 64 bytes of every four rows.
  uint8_t *copy = strip->groups + 64 / ROWS * row;
  __m512i *waiting = (__m512i *)strip->row_rests + row;
  __m512i rests[ROWS];
#pragma clang loop unroll(full)
  for (int index = 0; index < ROWS; index++) rests[index] = waiting[index];
  for (size_t block = 0; block < columns / STRIP_ROWS; block++) {
    const bs_factor_t *factor = &factors[block];
    __m512i runs[ROWS][2];
#pragma clang loop unroll(full)
    for (int index = 0; index < ROWS; index++) {
      const uint8_t *from =
        (const uint8_t *)values + width * STRIP_ROWS * block + index * stride;
      for (size_t place = 0; place < width * STRIP_ROWS; place += 64) {
        __builtin_prefetch(from + ROWS * stride + place);
      }
      if (__builtin_expect(factor->table && !has_small(from, factor), 1)) {
        encode_runs_by_table(from, factor, runs[index]);
      } else {
        encode_other_runs(rule, from, factor, runs[index]);
      }
    }
#pragma clang loop unroll(full)
    for (int half = 0; half < 2; half++) {
      const size_t column = STRIP_ROWS * block + 64 * half;
      __m512i rows[ROWS], groups[4];
#pragma clang loop unroll(full)
      for (int index = 0; index < ROWS; index++) {
        rows[index] = runs[index][half];
        write_line(
          &lines, codes + index * code_stride + column, rows[index], &rests[index],
          (edges & BS_STRIP_BEGINS) && column == 0);
      }
      transpose_quarters(rows, groups);
#pragma clang loop unroll(full)
      for (int index = 0; index < 4; index++) {
        _mm512_store_si512(copy + (column / 16 + index) * PITCH, groups[index]);
      }
    }
  }
#pragma clang loop unroll(full)
  for (int index = 0; index < ROWS; index++) {
    waiting[index] = rests[index];
    if ((edges & BS_STRIP_ENDS) && lines.offset != 0) {
      write_rest(&lines, codes + index * code_stride + columns, &rests[index]);
    }
  }
}

/// The first bytes of all quarters of sixteen registers, then the second ones, and so on; within a quarter
/// in the order of the registers.
BS_INLINE void interleave_bytes(__m512i *bytes) {
  __m512i next[16];
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
  __m512i *rests = (__m512i *)strip->column_rests + column;
  for (int half = 0; half < 2; half++) {
    const uint8_t *from = strip->groups + column / 8 * PITCH + STRIP_ROWS / ROWS / 2 * 64 * half;
    __m512i bytes[16];
#pragma clang loop unroll(full)
    for (int index = 0; index < 16; index++) {
      // The next columns, which the second level of the cache holds.
      __builtin_prefetch(from + PITCH + 64 * index);
      bytes[index] = _mm512_load_si512(from + 64 * index);
    }
    interleave_bytes(bytes);
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

/// What becomes of eight columns, whose scales are stored, if all of them are known.
typedef enum { COLUMNS_UNKNOWN, COLUMNS_RARE, COLUMNS_TABULATED } columns_t;

BS_INLINE columns_t choose_eight_columns(
  const bs_strip_t *strip, size_t column, size_t scale_bytes, uint8_t *scales,
  const bs_factor_t **factors
) {
  int is_rare = 0;
#pragma clang loop unroll(disable)
  for (size_t index = 0; index < 8; index++) {
    const bs_choice_t *choice = &strip->known[strip->column_maxima[column + index]];
    if (__builtin_expect(choice->scale == 0, 0)) return COLUMNS_UNKNOWN;
    store_scale(scale_bytes, scales, column + index, ~choice->scale);
    is_rare |= strip->column_minima[column + index] < choice->factor.least;
    factors[index] = &choice->factor;
  }
  return is_rare ? COLUMNS_RARE : COLUMNS_TABULATED;
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
    columns_t kind = COLUMNS_RARE;
    if (__builtin_expect(own != 0, 0)) {
      for (int index = 0; index < 8; index++) factors[index] = own + index;
      own = 0;
    } else if (strip.scale_bytes == 4) {
      kind = choose_eight_columns(&strip, column, 4, scales, factors);
    } else {
      kind = choose_eight_columns(&strip, column, strip.scale_bytes, scales, factors);
    }
    if (__builtin_expect(kind == COLUMNS_UNKNOWN, 0)) return column;
    uint8_t *to = codes + column * stride;
    if (__builtin_expect(kind == COLUMNS_RARE || is_first, 0)) {
      BS_NAME(bs_encode_eight_rare_columns)(
        rule, &strip, &lines, column, factors, to, stride, is_first);
    } else {
      encode_eight_columns(rule, &strip, &lines, column, factors, 0, to, stride, 0);
    }
  }
  return columns;
}

static void BS_NAME(bs_turn_strip_squares)(
  const bs_strip_t *strip, size_t columns, uint8_t *codes, size_t stride, int is_first
) {
  const lines_t lines = lines_at(codes, column_order());
  for (size_t group = 0; group < columns / 16; group++) {
    // Eight columns and those 32 further on, as `tabulated64` has them.
    const size_t first = group / 4 * 64 + group % 4 * 8;
    if (is_first && lines.offset != 0) {
      // Lines that are shared with what lies beside these columns have to be read.
      for (size_t index = 0; index < 16; index++) {
        const size_t column = first + 64 + index / 8 * 32 + index % 8;
        __builtin_prefetch(codes + column * stride - lines.offset, 1);
      }
    }
    for (int half = 0; half < 2; half++) {
      const uint8_t *from = strip->groups + group * PITCH + STRIP_ROWS / ROWS / 2 * 64 * half;
      __m512i bytes[16];
#pragma clang loop unroll(full)
      for (int index = 0; index < 16; index++) {
        __builtin_prefetch(from + PITCH + 64 * index);
        bytes[index] = _mm512_load_si512(from + 64 * index);
      }
      interleave_bytes(bytes);
#pragma clang loop unroll(full)
      for (size_t index = 0; index < 16; index++) {
        const size_t column = first + index / 8 * 32 + index % 8;
        write_line(
          &lines, codes + column * stride + 64 * half, bytes[index],
          (__m512i *)strip->column_rests + column, is_first && half == 0);
      }
    }
  }
}

static void BS_NAME(bs_finish_strip_columns)(
  const bs_strip_t *strip, size_t columns, uint8_t *ends, size_t stride
) {
  const lines_t lines = lines_at(ends, natural_order());
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
