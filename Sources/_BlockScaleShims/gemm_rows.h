// SPDX-License-Identifier: Apache-2.0

// Rows of X, sixteen k at a time, in FP32.

#ifndef BLOCKSCALE_GEMM_ROWS_H
#define BLOCKSCALE_GEMM_ROWS_H

#include "gemm_decode.h"

BS_INLINE ptrdiff_t bytes_of_codes(bs_codes_t format, ptrdiff_t count) {
  switch (format) {
  case BS_CODES_BF16: return count * 2;
  case BS_CODES_E4M3:
  case BS_CODES_E5M2: return count;
  case BS_CODES_E2M1: return (count + 1) / 2;
  }
  return 0;
}

BS_INLINE f32x16 decode_sixteen(bs_codes_t format, const uint8_t *codes) {
  switch (format) {
  case BS_CODES_BF16:
    return decode_bf16(__builtin_convertvector(LOAD(u16x16, codes), u32x16), 0);
  case BS_CODES_E4M3: return decode_e4m3(__builtin_convertvector(LOAD(u8x16, codes), u32x16), 0);
  case BS_CODES_E5M2: return decode_e5m2(__builtin_convertvector(LOAD(u8x16, codes), u32x16), 0);
  case BS_CODES_E2M1: {
    uint64_t bytes;
    memcpy(&bytes, codes, sizeof bytes);
    u8x16 nibbles;
    // Sixteen nibbles, lowest first.
    for (int index = 0; index < 16; index++) nibbles[index] = bytes >> (4 * index) & 15;
    return decode_e2m1(__builtin_convertvector(nibbles, u32x16), 0);
  }
  }
  return splat(0);
}

/// Sixteen values of a row from `k`, a multiple of sixteen; zero beyond the row's end.
BS_INLINE f32x16 row_sixteen(
  bs_codes_t format, const bs_rows_t *source, ptrdiff_t row, ptrdiff_t k
) {
  const uint8_t *codes = (const uint8_t *)source->codes + row * source->row_bytes;
  f32x16 values;
  if (k + 16 <= source->depth) {
    values = decode_sixteen(format, codes + bytes_of_codes(format, k));
  } else {
    uint8_t padded[32] = {0};
    const ptrdiff_t left = source->depth - k;
    memcpy(padded, codes + bytes_of_codes(format, k), bytes_of_codes(format, left));
    values = decode_sixteen(format, padded);
    for (ptrdiff_t index = left; index < 16; index++) values[index] = 0;
  }
  if (source->scales) {
    const uint8_t code =
      source->scales[row * source->scale_row_stride + k / source->scale_block];
    u8x16 codes16 = {0};
    codes16[0] = code;
    const f32x16 scale = source->scales_are_powers ? scales_e8m0(codes16, source->power_offset)
                                                   : scales_e4m3(codes16);
    values *= splat(scale[0]);
    // What is not there stays zero also under a NaN scale.
    for (ptrdiff_t index = source->depth - k; index < 16; index++) values[index] = 0;
  }
  return values;
}

#define BS_FOR_ROW_FORMAT(source, body)                                                            \
  switch ((source)->code_format) {                                                                 \
    body(BS_CODES_BF16) body(BS_CODES_E4M3) body(BS_CODES_E5M2) body(BS_CODES_E2M1)                \
  }

#endif
