// SPDX-License-Identifier: Apache-2.0

// Rearrangements of weights for products, the same on every tier.

#include "bs_gemm.h"
#include "lanes.h"

void bs_pack_row_pairs(
  const uint16_t *first, const uint16_t *second, ptrdiff_t outputs, uint32_t *words,
  ptrdiff_t block_stride
) {
  ptrdiff_t output = 0;
  for (; output + 16 <= outputs; output += 16) {
    const u32x16 low = __builtin_convertvector(LOAD(u16x16, first + output), u32x16);
    const u32x16 high =
      second ? __builtin_convertvector(LOAD(u16x16, second + output), u32x16) << 16
             : (u32x16){0};
    const u32x16 pairs = low | high;
    STORE(words + output / 16 * block_stride, pairs);
  }
  for (; output < outputs; output++) {
    words[output / 16 * block_stride + output % 16] =
      first[output] | (second ? (uint32_t)second[output] << 16 : 0);
  }
}

void bs_transpose_16_bit(
  const uint16_t *from, ptrdiff_t from_stride, ptrdiff_t rows, ptrdiff_t columns, uint16_t *to,
  ptrdiff_t to_stride
) {
  ptrdiff_t row = 0;
  for (; row + 8 <= rows; row += 8) {
    ptrdiff_t column = 0;
    for (; column + 8 <= columns; column += 8) {
      u16x8 a[8], b[8];
      for (int i = 0; i < 8; i++) a[i] = LOAD(u16x8, from + (row + i) * from_stride + column);
      // Three rounds of interleaving rows that lie four, two and one apart.
      for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 4; i++) {
          b[2 * i] = __builtin_shufflevector(a[i], a[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
          b[2 * i + 1] = __builtin_shufflevector(a[i], a[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
        }
        for (int i = 0; i < 8; i++) a[i] = b[i];
      }
      for (int i = 0; i < 8; i++) STORE(to + (column + i) * to_stride + row, a[i]);
    }
    for (; column < columns; column++) {
      for (int i = 0; i < 8; i++) {
        to[column * to_stride + row + i] = from[(row + i) * from_stride + column];
      }
    }
  }
  for (; row < rows; row++) {
    for (ptrdiff_t column = 0; column < columns; column++) {
      to[column * to_stride + row] = from[row * from_stride + column];
    }
  }
}
