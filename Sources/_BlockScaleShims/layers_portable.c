// SPDX-License-Identifier: Apache-2.0

#include "bs_layers.h"

#define BS_NAME(name) name##_portable
#include "layers.inc.h"

const bs_layer_kernels_t *bs_layer_kernels_portable(void) { return &layer_table_portable; }
