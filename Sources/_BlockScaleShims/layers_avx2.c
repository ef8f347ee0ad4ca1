// SPDX-License-Identifier: Apache-2.0

#include "bs_layers.h"

#if defined(__x86_64__)

#define BS_NAME(name) name##_avx2

// By attribute, since packages cannot pass flags to single files.
#pragma clang attribute push( \
  __attribute__((target("avx2,fma,f16c"))), apply_to = function)
#include "layers.inc.h"
#pragma clang attribute pop

const bs_layer_kernels_t *bs_layer_kernels_avx2(void) { return &layer_table_avx2; }

#else

const bs_layer_kernels_t *bs_layer_kernels_avx2(void) { return 0; }

#endif
