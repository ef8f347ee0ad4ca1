// SPDX-License-Identifier: Apache-2.0

BS_INLINE f32x16 tiled(bs_tiled_row_t row, size_t j) {
  // Sixteen values never cross the end of a tile's row.
  return LOAD(f32x16, row.values + j / row.columns * row.tile_stride + j % row.columns);
}

static float BS_NAME(bs_softmax)(
  bs_tiled_row_t scores, size_t count, size_t padded, float scale, uint16_t *result,
  float *inverse_sum
) {
  f32x16 maxima = splat(-INFINITY);
  for (size_t j = 0; j < count; j += 16) {
    const f32x16 values = (f32x16)select16(
      lanes_below(count - j), (i32x16)(tiled(scores, j) * splat(scale)),
      (i32x16)splat(-INFINITY));
    maxima = larger_or_nan(values, maxima);
  }
  float largest = maxima[0];
  for (int lane = 1; lane < 16; lane++) {
    largest = maxima[lane] > largest || maxima[lane] != maxima[lane] ? maxima[lane] : largest;
  }
  f32x16 sums = {0};
  size_t j = 0;
  for (; j < count; j += 16) {
    const f32x16 values = exp16(tiled(scores, j) * splat(scale) - splat(largest));
    const u16x16 halves =
      to_bf16((f32x16)((i32x16)values & lanes_below(count - j)));
    // What is summed is what is multiplied.
    sums += (f32x16)(__builtin_convertvector(halves, u32x16) << 16);
    STORE(result + j, halves);
  }
  for (; j < padded; j += 16) STORE(result + j, (u16x16){0});
  const float sum = lane_sum(sums);
  *inverse_sum = 1 / sum;
  return largest + logf(sum);
}

static void BS_NAME(bs_softmax_backward)(
  bs_tiled_row_t scores, bs_tiled_row_t gradients, size_t count, size_t padded, float scale,
  float log_sum, float mean, uint16_t *probabilities, uint16_t *result
) {
  size_t j = 0;
  for (; j < count; j += 16) {
    const i32x16 there = lanes_below(count - j);
    const f32x16 p = exp16(tiled(scores, j) * splat(scale) - splat(log_sum));
    const f32x16 g = p * (tiled(gradients, j) - splat(mean)) * splat(scale);
    STORE(probabilities + j, to_bf16((f32x16)((i32x16)p & there)));
    STORE(result + j, to_bf16((f32x16)((i32x16)g & there)));
  }
  for (; j < padded; j += 16) {
    STORE(probabilities + j, (u16x16){0});
    STORE(result + j, (u16x16){0});
  }
}

static float BS_NAME(bs_dot)(const uint16_t *first, const uint16_t *second, size_t count) {
  f32x16 sums = {0};
  for (size_t i = 0; i < count; i += 16) {
    sums += load_bf16(first + i, count - i) * load_bf16(second + i, count - i);
  }
  return lane_sum(sums);
}

static float BS_NAME(bs_attend)(
  const uint16_t *query, const uint16_t *keys, const uint16_t *values, size_t stride, size_t count,
  size_t dimension, float scale, float *scores, float *sums, uint16_t *result
) {
  float largest = -INFINITY;
  for (size_t j = 0; j < count; j++) {
    const float score = BS_NAME(bs_dot)(query, keys + j * stride, dimension) * scale;
    scores[j] = score;
    largest = score > largest || score != score ? score : largest;
  }
  f32x16 totals = {0};
  for (size_t j = 0; j < count; j += 16) {
    const f32x16 p = exp16(load_f32(scores + j, count - j) - splat(largest));
    totals += (f32x16)((i32x16)p & lanes_below(count - j));
    STORE(scores + j, p);
  }
  for (size_t d = 0; d < dimension; d += 16) STORE(sums + d, splat(0));
  for (size_t j = 0; j < count; j++) {
    const uint16_t *row = values + j * stride;
    for (size_t d = 0; d < dimension; d += 16) {
      STORE(
        sums + d, LOAD(f32x16, sums + d) + splat(scores[j]) * load_bf16(row + d, dimension - d));
    }
  }
  const float total = lane_sum(totals);
  const f32x16 inverse = splat(1 / total);
  for (size_t d = 0; d < dimension; d += 16) {
    store_bf16(result + d, LOAD(f32x16, sums + d) * inverse, dimension - d);
  }
  return largest + logf(total);
}
