// SPDX-License-Identifier: Apache-2.0

// What Swift cannot say: instructions of one processor. No policy, no allocation, no threads.
//
// A kernel that exists on several tiers has one name for each, ending in the tier: `_avx512`,
// `_avx2`, `_neon`, `_portable`. A tier's functions are declared everywhere and defined where the
// architecture has them; `bs_cpu_features` says which may be called.

#ifndef BLOCKSCALE_SHIMS_H
#define BLOCKSCALE_SHIMS_H

#include "bs_features.h"
#include "bs_gemm.h"
#include "bs_kernels.h"
#include "bs_layers.h"

#endif
