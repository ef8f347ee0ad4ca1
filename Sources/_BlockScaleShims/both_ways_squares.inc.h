// SPDX-License-Identifier: Apache-2.0

// Square blocks of 128 in both orientations: the codes of a row and of a column are the same, so they are
// made once, under factors that are known beforehand, and their strip is transposed.

#if defined(BS_AVX512)

static void BS_NAME(bs_encode_strip_squares)(
  const bs_rule_t *rule, const bs_strip_t *strip, const void *values, size_t stride, size_t row,
  size_t columns, const bs_factor_t *factors, uint8_t *codes, size_t code_stride, int edges
) {
  const lines_t lines = lines_at(codes, tabulated_order());
  const size_t width = rule->source == BS_FLOAT32 ? 4 : 2;
  fetch_shared_lines(&lines, codes, code_stride, columns, edges);
  // The groups of sixteen columns lie `PITCH` apart, in each of them 64 bytes of every four rows.
  uint8_t *copy = strip->groups + 64 / ROWS * row;
  __m512i rests[ROWS];
  take_rests(strip, row, rests);
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
      if (__builtin_expect(is_tabulated(from, factor), 1)) {
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
  if (edges & BS_STRIP_ENDS) finish_rows(&lines, codes + columns, code_stride, rests);
  keep_rests(strip, row, rests);
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
      interleave_bytes(from, bytes);
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

#endif
