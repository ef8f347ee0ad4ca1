// SPDX-License-Identifier: Apache-2.0

static double BS_NAME(bs_sum_of_squares)(const float *values, size_t count) {
  double total = 0;
  for (size_t first = 0; first < count; first += 4096) {
    const size_t end = first + 4096 < count ? first + 4096 : count;
    f32x16 sums = {0};
    for (size_t i = first; i < end; i += 16) {
      const f32x16 v = load_f32(values + i, end - i);
      sums += v * v;
    }
    for (int lane = 0; lane < 16; lane++) total += (double)sums[lane];
  }
  return total;
}

// One rounding an operation, in the order of the reference: no contraction.
#define BS_ADAMW_STEP(m, v, p, g)                                                                  \
  do {                                                                                             \
    (m) = splat(step->beta1) * (m) + splat(1 - step->beta1) * (g);                                 \
    (v) = splat(step->beta2) * (v) + splat(1 - step->beta2) * (g) * (g);                           \
    const f32x16 denominator =                                                                     \
      __builtin_elementwise_sqrt(v) / splat(step->root_of_second_correction)                       \
      + splat(step->epsilon);                                                                      \
    const f32x16 direction = (m) / (denominator * splat(step->first_correction))                   \
      + splat(step->weight_decay) * (p);                                                           \
    (p) = (p) - splat(step->learning_rate) * direction;                                            \
  } while (0)

static void BS_NAME(bs_adamw_float32)(
  const bs_adamw_t *step, size_t count, float *parameters, const float *gradients, float *first,
  float *second
) {
#pragma STDC FP_CONTRACT OFF
  for (size_t i = 0; i < count; i += 16) {
    const size_t left = count - i;
    f32x16 m = load_f32(first + i, left), v = load_f32(second + i, left);
    f32x16 p = load_f32(parameters + i, left);
    const f32x16 g = load_f32(gradients + i, left) * splat(step->gradient_factor);
    BS_ADAMW_STEP(m, v, p, g);
    store_f32(first + i, m, left);
    store_f32(second + i, v, left);
    store_f32(parameters + i, p, left);
  }
}

static void BS_NAME(bs_adamw_bfloat16)(
  const bs_adamw_t *step, size_t count, float *parameters, const float *gradients, uint16_t *first,
  uint16_t *second
) {
#pragma STDC FP_CONTRACT OFF
  for (size_t i = 0; i < count; i += 16) {
    const size_t left = count - i;
    f32x16 m = load_bf16(first + i, left), v = load_bf16(second + i, left);
    f32x16 p = load_f32(parameters + i, left);
    const f32x16 g = load_f32(gradients + i, left) * splat(step->gradient_factor);
    BS_ADAMW_STEP(m, v, p, g);
    store_bf16(first + i, m, left);
    store_bf16(second + i, v, left);
    store_f32(parameters + i, p, left);
  }
}
