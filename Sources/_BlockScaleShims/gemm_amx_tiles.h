// SPDX-License-Identifier: Apache-2.0

// Hardware tiles of AMX and how they are loaded.

#ifndef BLOCKSCALE_GEMM_AMX_TILES_H
#define BLOCKSCALE_GEMM_AMX_TILES_H

#include "gemm_bf16.h"

/// Decoded columns lie in chunks as rows do. The bytes from one row of sums to the next:
enum { SUMS_BYTES = SUMS_STRIDE * 4 };

// MARK: sums

// Tiles 0 to 3 are sums: rows 0 and 16 by outputs 0 and 16. Tiles 4 and 5 are rows, 6 and 7 outputs.

BS_INLINE void zero_sums(void) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

/// What passes the first-level cache by, so that it does not push out what is soon read again.
typedef enum { ROWS_STREAM, COLUMNS_STREAM } stream_t;

#define LOAD_ROWS(tile, address)                                                                   \
  if (stream == ROWS_STREAM) {                                                                     \
    _tile_stream_loadd(tile, address, 64);                                                         \
  } else {                                                                                         \
    _tile_loadd(tile, address, 64);                                                                \
  }
#define LOAD_COLUMNS(tile, address)                                                                \
  if (stream == COLUMNS_STREAM) {                                                                  \
    _tile_stream_loadd(tile, address, 64);                                                         \
  } else {                                                                                         \
    _tile_loadd(tile, address, 64);                                                                \
  }

#endif
