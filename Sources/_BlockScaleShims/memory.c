// SPDX-License-Identifier: Apache-2.0

#include "bs_memory.h"

#include <stdlib.h>

#ifdef __GLIBC__
#include <malloc.h>

bool bs_keep_freed_memory(void) {
  // No memory apart from the heap, and nothing back from its end; it grows by 64 MB.
  return mallopt(M_MMAP_MAX, 0) == 1 && mallopt(M_TRIM_THRESHOLD, -1) == 1
      && mallopt(M_TOP_PAD, 1 << 26) == 1;
}

#else

bool bs_keep_freed_memory(void) { return false; }

#endif
