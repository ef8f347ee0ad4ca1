// SPDX-License-Identifier: Apache-2.0

// Transposition of bytes by tiles of 16x16: four rounds in which each pair of rows is interleaved.

BS_INLINE void transpose_tile(
  const uint8_t *bytes, size_t stride, uint8_t *result, size_t result_stride
) {
  u8x16 rows[16], next[16];
  for (int row = 0; row < 16; row++) rows[row] = LOAD(u8x16, bytes + row * stride);
#pragma clang loop unroll(full)
  for (int round = 0; round < 4; round++) {
#pragma clang loop unroll(full)
    for (int row = 0; row < 8; row++) {
      next[2 * row] = __builtin_shufflevector(
        rows[row], rows[row + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      next[2 * row + 1] = __builtin_shufflevector(
        rows[row], rows[row + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
#pragma clang loop unroll(full)
    for (int row = 0; row < 16; row++) rows[row] = next[row];
  }
  for (int row = 0; row < 16; row++) STORE(result + row * result_stride, rows[row]);
}

static void BS_NAME(bs_transpose_bytes)(
  const uint8_t *bytes, size_t stride, size_t rows, size_t columns, uint8_t *result,
  size_t result_stride
) {
  const size_t whole_rows = rows & ~(size_t)15, whole_columns = columns & ~(size_t)15;
  for (size_t column = 0; column < whole_columns; column += 16) {
    for (size_t row = 0; row < whole_rows; row += 16) {
      transpose_tile(
        bytes + row * stride + column, stride, result + column * result_stride + row,
        result_stride);
    }
  }
  for (size_t row = 0; row < rows; row++) {
    const size_t first = row < whole_rows ? whole_columns : 0;
    for (size_t column = first; column < columns; column++) {
      result[column * result_stride + row] = bytes[row * stride + column];
    }
  }
}

typedef uint16_t u16x8 __attribute__((vector_size(16)));
typedef uint32_t u32x4 __attribute__((vector_size(16)));

#if !defined(BS_AVX512)

/// Eight by eight words: three rounds of interleaving.
BS_INLINE void transpose_words(
  const uint8_t *values, size_t stride, uint8_t *result, size_t result_stride
) {
  u16x8 rows[8], next[8];
  for (int row = 0; row < 8; row++) rows[row] = LOAD(u16x8, values + row * stride);
#pragma clang loop unroll(full)
  for (int round = 0; round < 3; round++) {
#pragma clang loop unroll(full)
    for (int row = 0; row < 4; row++) {
      next[2 * row] =
        __builtin_shufflevector(rows[row], rows[row + 4], 0, 8, 1, 9, 2, 10, 3, 11);
      next[2 * row + 1] =
        __builtin_shufflevector(rows[row], rows[row + 4], 4, 12, 5, 13, 6, 14, 7, 15);
    }
#pragma clang loop unroll(full)
    for (int row = 0; row < 8; row++) rows[row] = next[row];
  }
  for (int row = 0; row < 8; row++) STORE(result + row * result_stride, rows[row]);
}

#endif

/// Four by four values of four bytes.
BS_INLINE void transpose_wide(
  const uint8_t *values, size_t stride, uint8_t *result, size_t result_stride
) {
  u32x4 rows[4], next[4];
  for (int row = 0; row < 4; row++) rows[row] = LOAD(u32x4, values + row * stride);
#pragma clang loop unroll(full)
  for (int round = 0; round < 2; round++) {
#pragma clang loop unroll(full)
    for (int row = 0; row < 2; row++) {
      next[2 * row] = __builtin_shufflevector(rows[row], rows[row + 2], 0, 4, 1, 5);
      next[2 * row + 1] = __builtin_shufflevector(rows[row], rows[row + 2], 2, 6, 3, 7);
    }
#pragma clang loop unroll(full)
    for (int row = 0; row < 4; row++) rows[row] = next[row];
  }
  for (int row = 0; row < 4; row++) STORE(result + row * result_stride, rows[row]);
}

#if defined(BS_AVX512)

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

/// Sixteen by sixteen values of four bytes, so that all of a line is read and written at once: two rounds of
/// interleaving, then quarters of registers change places.
BS_INLINE void transpose_lines(
  const uint8_t *values, size_t stride, uint8_t *result, size_t result_stride
) {
  __m512i rows[16], next[16];
#pragma clang loop unroll(full)
  for (int row = 0; row < 16; row++) rows[row] = _mm512_loadu_si512(values + row * stride);
  // Rows two apart, then one apart, of each four: a column of four rows in each quarter.
#pragma clang loop unroll(full)
  for (int row = 0; row < 16; row += 4) {
#pragma clang loop unroll(full)
    for (int index = 0; index < 2; index++) {
      next[row + 2 * index] = _mm512_unpacklo_epi32(rows[row + index], rows[row + index + 2]);
      next[row + 2 * index + 1] = _mm512_unpackhi_epi32(rows[row + index], rows[row + index + 2]);
    }
#pragma clang loop unroll(full)
    for (int index = 0; index < 2; index++) {
      rows[row + 2 * index] = _mm512_unpacklo_epi32(next[row + index], next[row + index + 2]);
      rows[row + 2 * index + 1] = _mm512_unpackhi_epi32(next[row + index], next[row + index + 2]);
    }
  }
  // Of column 4 * quarter + index the four rows from `row` on lie in that quarter of `rows[row + index]`.
#pragma clang loop unroll(full)
  for (int index = 0; index < 4; index++) {
    __m512i pieces[4] = {rows[index], rows[4 + index], rows[8 + index], rows[12 + index]};
    __m512i columns[4];
    transpose_quarters(pieces, columns);
#pragma clang loop unroll(full)
    for (int quarter = 0; quarter < 4; quarter++) {
      _mm512_storeu_si512(result + (4 * quarter + index) * result_stride, columns[quarter]);
    }
  }
}

/// 32x32 words. Rows may lie a power of two apart and then fight for the same lines of the cache, so
/// they are first brought together.
BS_INLINE void transpose_many_words(
  const uint8_t *values, size_t stride, uint8_t *result, size_t result_stride
) {
  _Alignas(64) uint8_t near[32 * 64];
  for (int row = 0; row < 32; row++) {
    _mm512_store_si512(near + 64 * row, _mm512_loadu_si512(values + row * stride));
  }
  for (int group = 0; group < 4; group++) {
    // Eight rows and those 8, 16 and 24 further down, each in a quarter of a register.
    __m512i rows[8], next[8];
#define PIECE(row) _mm_load_si128((const __m128i *)(near + 64 * (row) + 16 * group))
#pragma clang loop unroll(full)
    for (int row = 0; row < 8; row++) {
      __m512i pieces = _mm512_castsi128_si512(PIECE(row));
      pieces = _mm512_mask_broadcast_i32x4(pieces, 0x00F0, PIECE(row + 8));
      pieces = _mm512_mask_broadcast_i32x4(pieces, 0x0F00, PIECE(row + 16));
      rows[row] = _mm512_mask_broadcast_i32x4(pieces, 0xF000, PIECE(row + 24));
    }
#undef PIECE
#pragma clang loop unroll(full)
    for (int round = 0; round < 3; round++) {
#pragma clang loop unroll(full)
      for (int row = 0; row < 4; row++) {
        next[2 * row] = _mm512_unpacklo_epi16(rows[row], rows[row + 4]);
        next[2 * row + 1] = _mm512_unpackhi_epi16(rows[row], rows[row + 4]);
      }
#pragma clang loop unroll(full)
      for (int row = 0; row < 8; row++) rows[row] = next[row];
    }
    for (int row = 0; row < 8; row++) {
      _mm512_storeu_si512(result + (8 * group + row) * result_stride, rows[row]);
    }
  }
}

#endif

/// Whole tiles of some rows and columns.
BS_INLINE void transpose_tiles(
  size_t width, size_t tile, const uint8_t *values, size_t stride, size_t first_row, size_t end_row,
  size_t first_column, size_t end_column, uint8_t *result, size_t result_stride
) {
  for (size_t row = first_row; row < end_row; row += tile) {
    for (size_t column = first_column; column < end_column; column += tile) {
      const uint8_t *from = values + row * stride + width * column;
      uint8_t *to = result + column * result_stride + width * row;
      switch (tile) {
#if defined(BS_AVX512)
      case 32: transpose_many_words(from, stride, to, result_stride); break;
      case 16: transpose_lines(from, stride, to, result_stride); break;
#else
      case 8: transpose_words(from, stride, to, result_stride); break;
#endif
      default: transpose_wide(from, stride, to, result_stride);
      }
    }
  }
}

static void BS_NAME(bs_transpose_values)(
  size_t width, const void *values, size_t stride, size_t rows, size_t columns, void *result,
  size_t result_stride
) {
  const uint8_t *from = values;
  uint8_t *to = result;
#if defined(BS_AVX512)
  const size_t tile = width == 2 ? 32 : 16;
#else
  const size_t tile = width == 2 ? 8 : 4;
#endif
  size_t whole_rows = rows & ~(tile - 1), whole_columns = columns & ~(tile - 1);
  transpose_tiles(
    width, tile, from, stride, 0, whole_rows, 0, whole_columns, to, result_stride);
  if (tile == 16) {
    // Smaller tiles of what is left below and beside the others.
    const size_t more_rows = rows & ~(size_t)3, more_columns = columns & ~(size_t)3;
    transpose_tiles(
      width, 4, from, stride, whole_rows, more_rows, 0, more_columns, to, result_stride);
    transpose_tiles(
      width, 4, from, stride, 0, whole_rows, whole_columns, more_columns, to, result_stride);
    whole_rows = more_rows;
    whole_columns = more_columns;
  }
  for (size_t row = 0; row < rows; row++) {
    const size_t first = row < whole_rows ? whole_columns : 0;
    for (size_t column = first; column < columns; column++) {
      const uint8_t *value = from + row * stride + width * column;
      uint8_t *place = to + column * result_stride + width * row;
      if (width == 2) {
        STORE(place, LOAD(uint16_t, value));
      } else {
        STORE(place, LOAD(uint32_t, value));
      }
    }
  }
}

#if defined(BS_AVX512)

/// Writes rows past the caches, but for the ends that share a line with what lies beside them.
BS_INLINE void stream_rows(
  const uint8_t *bytes, size_t stride, size_t rows, size_t row_bytes, uint8_t *result,
  size_t result_stride
) {
  for (size_t row = 0; row < rows; row++) {
    const uint8_t *from = bytes + row * stride;
    uint8_t *to = result + row * result_stride;
    if (row + 8 < rows) {
      __builtin_prefetch(to + 8 * result_stride, 1);
      __builtin_prefetch(to + 8 * result_stride + row_bytes - 1, 1);
    }
    const size_t before = -(size_t)to & 63;
    size_t index = before < row_bytes ? before : row_bytes;
    _mm512_mask_storeu_epi8(
      to, ~(~(uint64_t)0 << index),
      _mm512_maskz_loadu_epi8(~(~(uint64_t)0 << index), from));
    for (; index + 64 <= row_bytes; index += 64) {
      _mm512_stream_si512((void *)(to + index), _mm512_loadu_si512(from + index));
    }
    const __mmask64 last = ~(~(uint64_t)0 << (row_bytes - index));
    _mm512_mask_storeu_epi8(to + index, last, _mm512_maskz_loadu_epi8(last, from + index));
  }
  // Lines that went past the caches are ordered with what other threads do next.
  _mm_sfence();
}

#endif

static void BS_NAME(bs_join_runs)(
  const uint8_t *runs, size_t run, size_t stride, size_t rows, size_t row_bytes, int is_streamed,
  uint8_t *result, size_t result_stride
) {
#if defined(BS_AVX512)
  if (is_streamed && run >= row_bytes) {
    stream_rows(runs, run, rows, row_bytes, result, result_stride);
    return;
  }
#else
  (void)is_streamed;
#endif
  for (size_t row = 0; row < rows; row++) {
    uint8_t *to = result + row * result_stride;
    if (row + 8 < rows) {
      // Each row begins on a page of its own, which no hardware foresees.
      const uint8_t *next = to + 8 * result_stride;
      for (size_t place = 0; place < row_bytes; place += 64) __builtin_prefetch(next + place, 1);
    }
    for (size_t place = 0; place < row_bytes; place += run) {
      const uint8_t *from = runs + place / run * stride + row * run;
      const size_t length = row_bytes - place < run ? row_bytes - place : run;
      size_t index = 0;
      for (; index + 64 <= length; index += 64) {
        STORE(to + place + index, LOAD(u32x16, from + index));
      }
      if (index < length) copy_few(to + place + index, from + index, length - index);
    }
  }
}
