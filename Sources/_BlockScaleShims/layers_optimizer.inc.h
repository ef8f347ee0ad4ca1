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

// A step with moments of one type, which `load` widens and `store` rounds. One rounding an operation, in
// the order of the reference: no contraction.
#define BS_ADAMW(name, type, load, store)                                                          \
  static void name(                                                                                \
    const bs_adamw_t *step, size_t count, float *parameters, const float *gradients, type *first,  \
    type *second                                                                                   \
  ) {                                                                                              \
    _Pragma("STDC FP_CONTRACT OFF")                                                                \
    for (size_t i = 0; i < count; i += 16) {                                                       \
      const size_t left = count - i;                                                               \
      f32x16 m = load(first + i, left), v = load(second + i, left);                                \
      f32x16 p = load_f32(parameters + i, left);                                                   \
      const f32x16 g = load_f32(gradients + i, left) * splat(step->gradient_factor);               \
      m = splat(step->beta1) * m + splat(1 - step->beta1) * g;                                     \
      v = splat(step->beta2) * v + splat(1 - step->beta2) * g * g;                                 \
      const f32x16 denominator =                                                                   \
        __builtin_elementwise_sqrt(v) / splat(step->root_of_second_correction)                     \
        + splat(step->epsilon);                                                                    \
      const f32x16 direction = m / (denominator * splat(step->first_correction))                   \
        + splat(step->weight_decay) * p;                                                           \
      p = p - splat(step->learning_rate) * direction;                                              \
      store(first + i, m, left);                                                                   \
      store(second + i, v, left);                                                                  \
      store_f32(parameters + i, p, left);                                                          \
    }                                                                                              \
  }

BS_ADAMW(BS_NAME(bs_adamw_float32), float, load_f32, store_f32)
BS_ADAMW(BS_NAME(bs_adamw_bfloat16), uint16_t, load_bf16, store_bf16)
#undef BS_ADAMW
