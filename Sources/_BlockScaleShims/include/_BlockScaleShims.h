// SPDX-License-Identifier: Apache-2.0

// What Swift cannot say: instructions of one processor. No policy, no allocation, no threads.
//
// Kernels that exist on several tiers are tables of functions, one for each. `bs_cpu_features` says which
// may be called.

#ifndef BLOCKSCALE_SHIMS_H
#define BLOCKSCALE_SHIMS_H

#include "bs_features.h"
#include "bs_gemm.h"
#include "bs_gemm_kernels.h"
#include "bs_kernels.h"
#include "bs_layers.h"
#include "bs_memory.h"

#endif
