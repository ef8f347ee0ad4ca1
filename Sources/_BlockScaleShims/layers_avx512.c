// SPDX-License-Identifier: Apache-2.0

#include "bs_layers.h"

#if defined(__x86_64__)

#define BS_NAME(name) name##_avx512

// By attribute, since packages cannot pass flags to single files.
#pragma clang attribute push( \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx2,fma,f16c"), min_vector_width(512))), apply_to = function)
#include "layers.inc.h"
#pragma clang attribute pop

const bs_layer_kernels_t *bs_layer_kernels_avx512(void) { return &layer_table_avx512; }

#else

const bs_layer_kernels_t *bs_layer_kernels_avx512(void) { return 0; }

#endif
