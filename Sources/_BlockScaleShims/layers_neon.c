// SPDX-License-Identifier: Apache-2.0

#include "bs_layers.h"

#if defined(__aarch64__)

#define BS_NAME(name) name##_neon
#include "layers.inc.h"

const bs_layer_kernels_t *bs_layer_kernels_neon(void) { return &layer_table_neon; }

#else

const bs_layer_kernels_t *bs_layer_kernels_neon(void) { return 0; }

#endif
