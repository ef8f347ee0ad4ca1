// SPDX-License-Identifier: Apache-2.0

static void BS_NAME(bs_round)(const float *values, size_t count, uint16_t *result) {
  for (size_t i = 0; i < count; i += 16) {
    store_bf16(result + i, load_f32(values + i, count - i), count - i);
  }
}

static void BS_NAME(bs_add)(
  const uint16_t *first, const uint16_t *second, size_t count, uint16_t *sum
) {
  for (size_t i = 0; i < count; i += 16) {
    store_bf16(
      sum + i, load_bf16(first + i, count - i) + load_bf16(second + i, count - i), count - i);
  }
}

static void BS_NAME(bs_accumulate)(const uint16_t *values, size_t count, float *sums) {
  for (size_t i = 0; i < count; i += 16) {
    store_f32(
      sums + i, load_f32(sums + i, count - i) + load_bf16(values + i, count - i), count - i);
  }
}

// MARK: RMSNorm

BS_INLINE float inverse_root_mean_square(const uint16_t *x, size_t count, float epsilon) {
  f32x16 sums = {0};
  for (size_t i = 0; i < count; i += 16) {
    const f32x16 values = load_bf16(x + i, count - i);
    sums += values * values;
  }
  return 1 / sqrtf(lane_sum(sums) / (float)count + epsilon);
}

static void BS_NAME(bs_rms_norm)(
  const uint16_t *x, const float *weight, size_t count, float epsilon, uint16_t *y
) {
  const f32x16 inverse = splat(inverse_root_mean_square(x, count, epsilon));
  for (size_t i = 0; i < count; i += 16) {
    const size_t left = count - i;
    store_bf16(y + i, load_bf16(x + i, left) * inverse * load_f32(weight + i, left), left);
  }
}

static void BS_NAME(bs_rms_norm_backward)(
  const uint16_t *x, const float *weight, const uint16_t *gradient, const uint16_t *residual,
  size_t count, float epsilon, uint16_t *result, float *weight_sums
) {
  const f32x16 inverse = splat(inverse_root_mean_square(x, count, epsilon));
  f32x16 products = {0};
  for (size_t i = 0; i < count; i += 16) {
    const size_t left = count - i;
    const f32x16 normalized = load_bf16(x + i, left) * inverse;
    const f32x16 incoming = load_bf16(gradient + i, left);
    products += normalized * incoming * load_f32(weight + i, left);
    store_f32(weight_sums + i, load_f32(weight_sums + i, left) + incoming * normalized, left);
  }
  const f32x16 mean = splat(lane_sum(products) / (float)count);
  for (size_t i = 0; i < count; i += 16) {
    const size_t left = count - i;
    const f32x16 normalized = load_bf16(x + i, left) * inverse;
    const f32x16 weighted = load_bf16(gradient + i, left) * load_f32(weight + i, left);
    f32x16 values = inverse * (weighted - normalized * mean);
    if (residual) values += load_bf16(residual + i, left);
    store_bf16(result + i, values, left);
  }
}

// MARK: rotation

static void BS_NAME(bs_rotate)(
  uint16_t *x, size_t heads, size_t dimension, const float *cosines, const float *sines,
  float direction
) {
  const size_t half = dimension / 2;
  for (size_t head = 0; head < heads; head++) {
    uint16_t *first = x + head * dimension, *second = first + half;
    for (size_t i = 0; i < half; i += 16) {
      const size_t left = half - i;
      const f32x16 a = load_bf16(first + i, left), b = load_bf16(second + i, left);
      const f32x16 cosine = load_f32(cosines + i, left);
      const f32x16 sine = load_f32(sines + i, left) * splat(direction);
      store_bf16(first + i, a * cosine - b * sine, left);
      store_bf16(second + i, b * cosine + a * sine, left);
    }
  }
}

// MARK: SwiGLU

BS_INLINE f32x16 sigmoid16(f32x16 x) { return splat(1) / (splat(1) + exp16(-x)); }

static void BS_NAME(bs_swiglu)(
  const uint16_t *gate, const uint16_t *up, size_t count, uint16_t *result
) {
  for (size_t i = 0; i < count; i += 16) {
    const size_t left = count - i;
    const f32x16 x = load_bf16(gate + i, left);
    store_bf16(result + i, x * sigmoid16(x) * load_bf16(up + i, left), left);
  }
}

static void BS_NAME(bs_swiglu_backward)(
  const uint16_t *gate, const uint16_t *up, const uint16_t *gradient, size_t count,
  uint16_t *gate_gradient, uint16_t *up_gradient
) {
  for (size_t i = 0; i < count; i += 16) {
    const size_t left = count - i;
    const f32x16 x = load_bf16(gate + i, left);
    const f32x16 sigma = sigmoid16(x), incoming = load_bf16(gradient + i, left);
    const f32x16 silu = x * sigma;
    const f32x16 derivative = sigma + silu * (splat(1) - sigma);
    store_bf16(gate_gradient + i, incoming * load_bf16(up + i, left) * derivative, left);
    store_bf16(up_gradient + i, incoming * silu, left);
  }
}

// MARK: cross-entropy

static float BS_NAME(bs_cross_entropy)(
  float *logits, size_t count, size_t target, float factor, uint16_t *gradient
) {
  const float wanted = logits[target];
  f32x16 maxima = splat(-INFINITY);
  for (size_t i = 0; i < count; i += 16) {
    f32x16 values = load_f32(logits + i, count - i);
    values = (f32x16)select16(
      lanes_below(count - i), (i32x16)values, (i32x16)splat(-INFINITY));
    maxima = larger_or_nan(values, maxima);
  }
  float largest = maxima[0];
  for (int lane = 1; lane < 16; lane++) {
    largest = maxima[lane] > largest || maxima[lane] != maxima[lane] ? maxima[lane] : largest;
  }
  f32x16 sums = {0};
  for (size_t i = 0; i < count; i += 16) {
    const size_t left = count - i;
    const f32x16 values = exp16(load_f32(logits + i, left) - splat(largest));
    sums += (f32x16)((i32x16)values & lanes_below(left));
    store_f32(logits + i, values, left);
  }
  const float sum = lane_sum(sums);
  if (gradient) {
    const f32x16 scale = splat(factor / sum);
    for (size_t i = 0; i < count; i += 16) {
      store_bf16(gradient + i, load_f32(logits + i, count - i) * scale, count - i);
    }
    const f32x16 own = splat((logits[target] / sum - 1) * factor);
    store_bf16(gradient + target, own, 1);
  }
  return logf(sum) + (largest - wanted);
}
