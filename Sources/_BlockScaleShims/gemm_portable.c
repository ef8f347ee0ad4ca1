// SPDX-License-Identifier: Apache-2.0

#include "gemm_decode.h"

#define BS_TIER portable
#define BS_TILE_ROWS 2
#define BS_TILE_VECTORS 1
#include "gemm_template.h"

const bs_gemm_t *bs_gemm_portable(void) { return &table_portable; }
