// SPDX-License-Identifier: Apache-2.0

// The NEON tier: sixteen lanes are four registers, and FP16 conversions are part of the base.

#include "bs_kernels.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#define BS_NEON 1
#define BS_NAME(name) name##_neon

#include "kernels.inc.h"

const bs_kernels_t *bs_kernels_neon(void) { return &table_neon; }

#else

const bs_kernels_t *bs_kernels_neon(void) { return 0; }

#endif
