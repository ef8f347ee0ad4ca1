// SPDX-License-Identifier: Apache-2.0

#if defined(__aarch64__)

#define BS_HAS_FMA
#include "gemm_decode.h"

// Thirty-two registers of four lanes.
#define BS_TIER neon
#define BS_TILE_ROWS 6
#define BS_TILE_VECTORS 1
#include "gemm_template.h"

#else
typedef int bs_no_neon;
#endif
