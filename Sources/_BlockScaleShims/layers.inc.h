// SPDX-License-Identifier: Apache-2.0

// All kernels of layers, for the tier whose file includes this with `BS_NAME` defined.

#include "layers_lanes.h"

#include <math.h>

#include "layers_attention.inc.h"
#include "layers_elementwise.inc.h"
#include "layers_expansion.inc.h"
#include "layers_activation.inc.h"
#include "layers_optimizer.inc.h"

static const bs_layer_kernels_t BS_NAME(layer_table) = {
  .round = BS_NAME(bs_round),
  .add = BS_NAME(bs_add),
  .rms_norm = BS_NAME(bs_rms_norm),
  .rms_norm_backward = BS_NAME(bs_rms_norm_backward),
  .rotate = BS_NAME(bs_rotate),
  .swiglu = BS_NAME(bs_swiglu),
  .swiglu_backward = BS_NAME(bs_swiglu_backward),
  .softmax = BS_NAME(bs_softmax),
  .softmax_backward = BS_NAME(bs_softmax_backward),
  .dot = BS_NAME(bs_dot),
  .attend = BS_NAME(bs_attend),
  .cross_entropy = BS_NAME(bs_cross_entropy),
  .accumulate = BS_NAME(bs_accumulate),
  .sum_of_squares = BS_NAME(bs_sum_of_squares),
  .adamw_float32 = BS_NAME(bs_adamw_float32),
  .adamw_bfloat16 = BS_NAME(bs_adamw_bfloat16),
  .contract = BS_NAME(bs_contract),
  .extremes = BS_NAME(bs_extremes),
  .expand = BS_NAME(bs_expand),
  .widen = BS_NAME(bs_widen),
  .narrow = BS_NAME(bs_narrow),
  .decode_groups = BS_NAME(bs_decode_groups),
  .encode_groups = BS_NAME(bs_encode_groups),
  .requantize_groups = BS_NAME(bs_requantize_groups),
  .group_maxima = BS_NAME(bs_group_maxima),
  .group_scales = BS_NAME(bs_group_scales),
  .sigmoid = BS_NAME(bs_sigmoid),
};
