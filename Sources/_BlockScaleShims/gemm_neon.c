// SPDX-License-Identifier: Apache-2.0

#if defined(__aarch64__)

#define BS_HAS_FMA
#include "gemm_decode.h"

// Thirty-two registers of four lanes.
#define BS_TIER neon
#define BS_TILE_ROWS 6
#define BS_TILE_VECTORS 1
#include "gemm_template.h"

const bs_gemm_t *bs_gemm_neon(void) { return &table_neon; }

#else

#include "bs_gemm_kernels.h"

const bs_gemm_t *bs_gemm_neon(void) { return 0; }

#endif
