// SPDX-License-Identifier: Apache-2.0

#if defined(__x86_64__)

#include <immintrin.h>

#pragma clang attribute push( \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c"), \
                 min_vector_width(512))), \
  apply_to = function)

#define BS_HAS_FMA
#define BS_HAS_DIGITS
#include "gemm_avx512_digits.h"

// Thirty-two registers of sixteen lanes: twenty-four of sums.
#define BS_TIER avx512
#define BS_TILE_ROWS 12
#define BS_TILE_VECTORS 2
#include "gemm_template.h"

#pragma clang attribute pop

const bs_gemm_t *bs_gemm_avx512(void) { return &table_avx512; }

#else

#include "bs_gemm_kernels.h"

const bs_gemm_t *bs_gemm_avx512(void) { return 0; }

#endif
