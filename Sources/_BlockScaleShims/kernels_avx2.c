// SPDX-License-Identifier: Apache-2.0

// The AVX2 tier: sixteen lanes are two registers.

#include "bs_kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define BS_AVX2 1
#define BS_NAME(name) name##_avx2

// By attribute, since packages cannot pass flags to single files.
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#include "kernels.inc.h"
#pragma clang attribute pop

const bs_kernels_t *bs_kernels_avx2(void) { return &table_avx2; }

#else

const bs_kernels_t *bs_kernels_avx2(void) { return 0; }

#endif
