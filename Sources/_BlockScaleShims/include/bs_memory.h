// SPDX-License-Identifier: Apache-2.0

#ifndef BLOCKSCALE_SHIMS_MEMORY_H
#define BLOCKSCALE_SHIMS_MEMORY_H

#include <stdbool.h>

/// Makes `malloc` keep what is freed instead of giving it back to the kernel, and says whether it does.
///
/// Swift's module of glibc lacks `mallopt`.
bool bs_keep_freed_memory(void);

#endif
