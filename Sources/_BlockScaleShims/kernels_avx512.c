// SPDX-License-Identifier: Apache-2.0

// The AVX-512 tier: sixteen lanes are one register.

#include "bs_kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define BS_AVX512 1
#define BS_NAME(name) name##_avx512

// By attribute, since packages cannot pass flags to single files.
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx2,fma,f16c"))), apply_to = function)
#include "kernels.inc.h"
#pragma clang attribute pop

const bs_kernels_t *bs_kernels_avx512(void) { return &table_avx512; }

#else

const bs_kernels_t *bs_kernels_avx512(void) { return 0; }

#endif
