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
