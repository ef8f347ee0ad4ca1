// SPDX-License-Identifier: Apache-2.0

#if defined(__x86_64__)

#include <immintrin.h>

#pragma clang attribute push( \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx2,fma,f16c"), \
                 min_vector_width(512))), \
  apply_to = function)

#define BS_HAS_FMA
#include "gemm_avx512_lanes.h"

// Thirty-two registers of sixteen lanes: twenty-four of sums.
#define BS_TIER avx512
#define BS_TILE_ROWS 12
#define BS_TILE_VECTORS 2
#include "gemm_template.h"

#pragma clang attribute pop

#else
typedef int bs_no_avx512;
#endif
