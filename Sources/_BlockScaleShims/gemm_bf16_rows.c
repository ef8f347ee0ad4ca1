// SPDX-License-Identifier: Apache-2.0

// Rows of X for kernels that multiply pairs of BF16.

#if defined(__x86_64__)

#include <immintrin.h>

#pragma clang attribute push( \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx2,fma,f16c,prfchw"), \
                 min_vector_width(512))), \
  apply_to = function)

#define BS_HAS_FMA
#include "gemm_bf16.h"
#include "gemm_rows.h"

/// 32 k of a row, as far as they exist.
BS_INLINE void pack_row_step(
  bs_codes_t format, const bs_rows_t *source, ptrdiff_t row, ptrdiff_t k, uint16_t *to
) {
  if (format == BS_CODES_BF16 && !source->scales && k + 32 <= source->depth) {
    memcpy(to, (const uint8_t *)source->codes + row * source->row_bytes + 2 * k, 64);
    return;
  }
  const f32x16 low = row_sixteen(format, source, row, k);
  const f32x16 high =
    k + 16 < source->depth ? row_sixteen(format, source, row, k + 16) : splat(0);
  const u16x16 halves[2] = {
    __builtin_convertvector((u32x16)low >> 16, u16x16),
    __builtin_convertvector((u32x16)high >> 16, u16x16)};
  memcpy(to, halves, 64);
}

/// `format` is a constant where this is inlined.
BS_INLINE void pack_rows(
  bs_codes_t format, const bs_rows_t *source, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t padded_depth,
  uint16_t *tiles
) {
  const ptrdiff_t code_bits = format == BS_CODES_BF16 ? 16 : format == BS_CODES_E2M1 ? 4 : 8;
  const ptrdiff_t chunk_bytes = CHUNK_DEPTH * code_bits / 8;
  const bool decodes_bytes =
    (format == BS_CODES_E4M3 || format == BS_CODES_E5M2) && !source->scales;
  // All rows of a chunk before the next: what is written stays in the first-level cache until it is whole.
  for (ptrdiff_t chunk = 0; chunk < chunk_count(padded_depth); chunk++) {
    const int steps = chunk_steps(padded_depth, chunk);
    const ptrdiff_t first = chunk * CHUNK_DEPTH, end = first + 32 * steps;
    for (ptrdiff_t r = 0; r < (rows > 16 ? 32 : 16); r++) {
      const uint8_t *codes = (const uint8_t *)source->codes + (row + r) * source->row_bytes;
      uint16_t *line = tiles + chunk * CHUNK + (r / 16 * steps * 16 + r % 16) * 32;
      // The next chunk's lines of the row, which may lie on a page of its own, and of its tiles.
      const uint8_t *ahead = codes + (chunk + 1) * chunk_bytes;
      for (ptrdiff_t byte = 0; byte < chunk_bytes; byte += 64) __builtin_prefetch(ahead + byte);
      for (int step = 0; step < steps; step++) __builtin_prefetch(line + CHUNK + step * TILE, 1);
      ptrdiff_t k = first;
      for (; decodes_bytes && r < rows && k + 64 <= end && k + 64 <= source->depth; k += 64) {
        u32x16 halves[2];
        decode_fp8_sequence(format, codes + k, halves);
        STORE(line + (k - first) / 32 * TILE, halves[0]);
        STORE(line + ((k - first) / 32 + 1) * TILE, halves[1]);
      }
      for (; k < end; k += 32) {
        uint16_t *to = line + (k - first) / 32 * TILE;
        if (r < rows && k < source->depth) {
          pack_row_step(format, source, row + r, k, to);
        } else {
          memset(to, 0, 64);
        }
      }
    }
  }
}

void bs_pack_rows_bf16(
  const bs_rows_t *source, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t padded_depth, uint16_t *tiles
) {
#define BS_CASE(format)                                                                            \
  case format: pack_rows(format, source, row, rows, padded_depth, tiles); return;
  BS_FOR_ROW_FORMAT(source, BS_CASE)
#undef BS_CASE
}

#pragma clang attribute pop

#else
typedef int bs_no_bf16_rows;
#endif
