// SPDX-License-Identifier: Apache-2.0

// All kernels, for the tier whose file includes this.

#include "vectors.inc.h"

#include "maxima.inc.h"
#include "encode.inc.h"
#include "quantize_e2m1.inc.h"
#include "decode.inc.h"
#include "errors.inc.h"
#include "transpose.inc.h"
#include "strips.inc.h"
#include "both_ways.inc.h"
#include "both_ways_squares.inc.h"

static const bs_kernels_t BS_NAME(table) = {
  .maximum = BS_NAME(bs_maximum),
  .block_maxima = BS_NAME(bs_block_maxima),
  .column_maxima = BS_NAME(bs_column_maxima),
  .encode = BS_NAME(bs_encode),
#if defined(BS_AVX512)
  .tabulate_float8 = BS_NAME(bs_tabulate_float8),
#endif
  .quantize_e2m1 = BS_NAME(bs_quantize_e2m1),
  .measure = BS_NAME(bs_measure),
#if defined(BS_AVX512)
  .encode_strip_rows = BS_NAME(bs_encode_strip_rows),
  .encode_strip_columns = BS_NAME(bs_encode_strip_columns),
  .encode_strip_squares = BS_NAME(bs_encode_strip_squares),
  .turn_strip_squares = BS_NAME(bs_turn_strip_squares),
  .finish_strip_columns = BS_NAME(bs_finish_strip_columns),
#endif
  .transpose_bytes = BS_NAME(bs_transpose_bytes),
  .transpose_values = BS_NAME(bs_transpose_values),
  .join_runs = BS_NAME(bs_join_runs),
  .load_scales = BS_NAME(bs_load_scales),
  .decode_float8 = BS_NAME(bs_decode_float8),
  .decode_e2m1 = BS_NAME(bs_decode_e2m1),
};
