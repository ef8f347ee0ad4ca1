// SPDX-License-Identifier: Apache-2.0

// Kernels of the layers between products, one table of functions for each tier.
//
// Activations are BF16, everything inside is FP32. All work on runs of any length; nothing is read or
// written beyond them, and no pointer need be aligned.

#ifndef BLOCKSCALE_SHIMS_LAYERS_H
#define BLOCKSCALE_SHIMS_LAYERS_H

#include <stddef.h>
#include <stdint.h>

/// What all parameters of one step of AdamW have in common.
typedef struct {
  float learning_rate, beta1, beta2, epsilon, weight_decay;
  /// 1 − β₁ᵗ and √(1 − β₂ᵗ).
  float first_correction, root_of_second_correction;
  /// What gradients are multiplied by first.
  float gradient_factor;
} bs_adamw_t;

/// Rows of a tile of sums: value j of a row is `values[j / columns * tile_stride + j % columns]`.
typedef struct {
  const float *_Nonnull values;
  /// A multiple of sixteen.
  size_t columns;
  size_t tile_stride;
} bs_tiled_row_t;

/// The kernels of one tier.
typedef struct {
  /// FP32 as BF16, to the nearest, ties to even.
  void (*_Nonnull round)(const float *_Nonnull values, size_t count, uint16_t *_Nonnull result);

  /// Sums of BF16 values, rounded once.
  void (*_Nonnull add)(
    const uint16_t *_Nonnull first, const uint16_t *_Nonnull second, size_t count,
    uint16_t *_Nonnull sum);

  /// One row of RMSNorm.
  void (*_Nonnull rms_norm)(
    const uint16_t *_Nonnull x, const float *_Nonnull weight, size_t count, float epsilon,
    uint16_t *_Nonnull y);

  /// The gradient of one row of RMSNorm, plus that of a residual if there is one; adds to the sums for
  /// the weight.
  void (*_Nonnull rms_norm_backward)(
    const uint16_t *_Nonnull x, const float *_Nonnull weight, const uint16_t *_Nonnull gradient,
    const uint16_t *_Nullable residual, size_t count, float epsilon, uint16_t *_Nonnull result,
    float *_Nonnull weight_sums);

  /// Turns pairs half a head apart in each head of a row; a negative direction turns back.
  void (*_Nonnull rotate)(
    uint16_t *_Nonnull x, size_t heads, size_t dimension, const float *_Nonnull cosines,
    const float *_Nonnull sines, float direction);

  /// SiLU of the gate times the other factor.
  void (*_Nonnull swiglu)(
    const uint16_t *_Nonnull gate, const uint16_t *_Nonnull up, size_t count,
    uint16_t *_Nonnull result);

  /// The gradients of both factors.
  void (*_Nonnull swiglu_backward)(
    const uint16_t *_Nonnull gate, const uint16_t *_Nonnull up, const uint16_t *_Nonnull gradient,
    size_t count, uint16_t *_Nonnull gate_gradient, uint16_t *_Nonnull up_gradient);

  /// Exponentials of a row's scaled scores without the largest, then zeros up to `padded`.
  ///
  /// Writes the reciprocal of their sum and returns the logarithm of the sum of all exponentials.
  float (*_Nonnull softmax)(
    bs_tiled_row_t scores, size_t count, size_t padded, float scale, uint16_t *_Nonnull result,
    float *_Nonnull inverse_sum);

  /// A row's probabilities and the gradients of its unscaled scores, then zeros up to `padded`.
  void (*_Nonnull softmax_backward)(
    bs_tiled_row_t scores, bs_tiled_row_t gradients, size_t count, size_t padded, float scale,
    float log_sum, float mean, uint16_t *_Nonnull probabilities, uint16_t *_Nonnull result);

  /// The product of two runs.
  float (*_Nonnull dot)(
    const uint16_t *_Nonnull first, const uint16_t *_Nonnull second, size_t count);

  /// Attention of one query to keys and values whose rows lie `stride` elements apart.
  ///
  /// `scores` has room for `count` numbers, rounded up to sixteen, and `sums` for the dimension, rounded
  /// up likewise. Returns the logarithm of the sum of all exponentials.
  float (*_Nonnull attend)(
    const uint16_t *_Nonnull query, const uint16_t *_Nonnull keys, const uint16_t *_Nonnull values,
    size_t stride, size_t count, size_t dimension, float scale, float *_Nonnull scores,
    float *_Nonnull sums, uint16_t *_Nonnull result);

  /// The loss of one row of logits, which are overwritten; and its gradient times a factor, if wanted.
  float (*_Nonnull cross_entropy)(
    float *_Nonnull logits, size_t count, size_t target, float factor, uint16_t *_Nullable gradient);

  /// Adds BF16 values to FP32 ones.
  void (*_Nonnull accumulate)(
    const uint16_t *_Nonnull values, size_t count, float *_Nonnull sums);

  /// The sum of squares, in FP32 for each of sixteen lanes over some thousand values, then in FP64.
  double (*_Nonnull sum_of_squares)(const float *_Nonnull values, size_t count);

  /// Takes a step with moments in FP32.
  void (*_Nonnull adamw_float32)(
    const bs_adamw_t *_Nonnull step, size_t count, float *_Nonnull parameters,
    const float *_Nonnull gradients, float *_Nonnull first, float *_Nonnull second);

  /// Takes a step with moments in BF16.
  void (*_Nonnull adamw_bfloat16)(
    const bs_adamw_t *_Nonnull step, size_t count, float *_Nonnull parameters,
    const float *_Nonnull gradients, uint16_t *_Nonnull first, uint16_t *_Nonnull second);

  /// Up to 128 values of a group of a range-expanded moment.
  void (*_Nonnull contract)(
    const uint8_t *_Nonnull codes, size_t count, float scale, float inverse_exponent, float center,
    float *_Nonnull values);

  /// The largest magnitude, NaN if there is one, and the smallest that is not zero.
  void (*_Nonnull extremes)(
    const float *_Nonnull values, size_t count, float *_Nonnull largest, float *_Nonnull smallest);

  /// The codes of a group whose scale is positive.
  void (*_Nonnull expand)(
    const float *_Nonnull values, size_t count, float scale, float exponent, float center,
    uint8_t *_Nonnull codes);

  // Rows of the FP8 activation flow. A row's memory is whole vectors of sixteen; what lies behind its
  // last value is neither used nor preserved. Groups of `size` values, a multiple of sixteen or at least
  // `count`, share a BF16 scale. Codes are E4M3, or E5M2.

  /// BF16 values as a row.
  void (*_Nonnull widen)(const uint16_t *_Nonnull values, size_t count, float *_Nonnull row);

  /// A row as BF16, to the nearest, ties to even; every NaN becomes 0x7FC0.
  void (*_Nonnull narrow)(const float *_Nonnull row, size_t count, uint16_t *_Nonnull values);

  /// Code times scale.
  void (*_Nonnull decode_groups)(
    int is_e5m2, const uint8_t *_Nonnull codes, size_t count, const uint16_t *_Nonnull scales,
    size_t size, float *_Nonnull row);

  /// The codes nearest to the quotients of a row and its groups' divisors, which are positive.
  void (*_Nonnull encode_groups)(
    int is_e5m2, const float *_Nonnull row, size_t count, const float *_Nonnull divisors,
    size_t size, uint8_t *_Nonnull codes);

  /// Puts the values of codes and scales in the place of the values that are encoded.
  void (*_Nonnull requantize_groups)(
    int is_e5m2, float *_Nonnull row, size_t count, const float *_Nonnull divisors,
    const uint16_t *_Nonnull scales, size_t size);

  /// The largest magnitude of each group; NaN is larger than everything, or left out.
  void (*_Nonnull group_maxima)(
    const float *_Nonnull row, size_t count, size_t size, int leaves_out_nan,
    float *_Nonnull maxima);

  /// The scales of groups as they are stored, and what their values are divided by.
  ///
  /// Divisors are the stored scales, which are NaN where a maximum is not below the limit; or the scales
  /// from before they are stored.
  void (*_Nonnull group_scales)(
    const float *_Nonnull maxima, size_t count, float greatest, float limit, int follows_stored,
    uint16_t *_Nonnull stored, float *_Nonnull divisors);

  /// σ of a row.
  void (*_Nonnull sigmoid)(const float *_Nonnull row, size_t count, float *_Nonnull result);
} bs_layer_kernels_t;

/// The kernels of each tier; null where the architecture has no such tier. Whether they may be called
/// is for `bs_cpu_features` to say.
const bs_layer_kernels_t *_Nonnull bs_layer_kernels_portable(void);
const bs_layer_kernels_t *_Nullable bs_layer_kernels_avx512(void);
const bs_layer_kernels_t *_Nullable bs_layer_kernels_avx2(void);
const bs_layer_kernels_t *_Nullable bs_layer_kernels_neon(void);

#endif
