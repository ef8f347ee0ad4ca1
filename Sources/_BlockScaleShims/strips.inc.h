// SPDX-License-Identifier: Apache-2.0

// Strips of 128 rows, of which 8-bit codes are made in both orientations.
//
// Rows are read four at a time. On their way to the strip, which stays in the second level of the cache,
// pieces of sixteen bytes are brought together, a register of them from each four rows, so that a few columns
// lie in 2 KB. These are transposed by bytes when the strip is full.
//
// Codes go past the caches: lines of the transpose lie a page apart, and reading each before it is written
// took longer than all the arithmetic. So only whole lines are written, and what does not fill one waits.

#if defined(BS_AVX512)

enum {
  STRIP_ROWS = 128,
  PITCH = BS_STRIP_PITCH,
  ROWS = BS_STRIP_ROWS_AT_ONCE,
};
_Static_assert(ROWS == 4, "each of the rows has a quarter of a register");

/// Codes on their way to lines of memory, which need not begin where runs of 64 codes do.
typedef struct {
  /// How many bytes of a line belong to the run before.
  size_t offset;
  /// Brings a run into order and rotates it by `offset`.
  __m512i places;
  /// The bytes of a line that are not of the run before.
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
  return in_order64(natural_order());
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
  const __m512i rotated = _mm512_sub_epi8(natural_order(), _mm512_set1_epi8((char)offset));
  return (lines_t){offset, _mm512_permutexvar_epi8(rotated, order), ~(uint64_t)0 << offset};
}

/// Completes a line by the first of 64 codes and keeps the others. The first line of all gets no other
/// bytes than these.
BS_INLINE void write_line(
  const lines_t *lines, uint8_t *codes, __m512i run, __m512i *rest, int is_first
) {
  uint8_t *line = codes - lines->offset;
  const __m512i rotated = _mm512_permutexvar_epi8(lines->places, run);
  const __m512i all = _mm512_mask_blend_epi8(lines->own, *rest, rotated);
  *rest = rotated;
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

/// Sixteen lines of four quarters: the first bytes of all quarters, then the second ones, and so on; within a
/// quarter in the order of the lines. Lines `PITCH` further on are fetched from the second level of the cache.
BS_INLINE void interleave_bytes(const uint8_t *lines, __m512i *bytes) {
  __m512i next[16];
#pragma clang loop unroll(full)
  for (int line = 0; line < 16; line++) {
    __builtin_prefetch(lines + PITCH + 64 * line);
    bytes[line] = _mm512_load_si512(lines + 64 * line);
  }
#pragma clang loop unroll(full)
  for (int round = 0; round < 4; round++) {
#pragma clang loop unroll(full)
    for (int line = 0; line < 8; line++) {
      next[2 * line] = _mm512_unpacklo_epi8(bytes[line], bytes[line + 8]);
      next[2 * line + 1] = _mm512_unpackhi_epi8(bytes[line], bytes[line + 8]);
    }
#pragma clang loop unroll(full)
    for (int line = 0; line < 16; line++) bytes[line] = next[line];
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

/// Whether there is a table that holds for all of a block of 128 BF16 values.
BS_INLINE int is_tabulated(const uint8_t *values, const bs_factor_t *factor) {
  if (!factor->table) return 0;
  const __m512i magnitude = _mm512_set1_epi16(0x7FFF);
  __m512i smallest = magnitude;
#pragma clang loop unroll(full)
  for (int index = 0; index < 4; index++) {
    smallest = _mm512_min_epu16(
      smallest, _mm512_and_si512(_mm512_loadu_si512(values + 64 * index), magnitude));
  }
  return _mm512_cmplt_epu16_mask(smallest, _mm512_set1_epi16((short)factor->least)) == 0;
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

BS_INLINE void take_rests(const bs_strip_t *strip, size_t row, __m512i *rests) {
#pragma clang loop unroll(full)
  for (int index = 0; index < ROWS; index++) {
    rests[index] = _mm512_load_si512(strip->row_rests + 64 * (row + index));
  }
}

BS_INLINE void keep_rests(const bs_strip_t *strip, size_t row, const __m512i *rests) {
#pragma clang loop unroll(full)
  for (int index = 0; index < ROWS; index++) {
    _mm512_store_si512(strip->row_rests + 64 * (row + index), rests[index]);
  }
}

/// Writes what is left of rows that end at `ends`.
BS_INLINE void finish_rows(
  const lines_t *lines, uint8_t *ends, size_t stride, const __m512i *rests
) {
  if (lines->offset == 0) return;
  for (int index = 0; index < ROWS; index++) write_rest(lines, ends + index * stride, &rests[index]);
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
