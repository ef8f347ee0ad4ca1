// SPDX-License-Identifier: Apache-2.0

// The kernels of layers of this processor's tier against the portable ones: the same bytes where the
// order of operations is written down, else within rounding.

#include "bs_layers.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__aarch64__)
#define TIER bs_layer_kernels_neon
#elif defined(CHECK_AVX512)
#define TIER bs_layer_kernels_avx512
#else
#define TIER bs_layer_kernels_avx2
#endif

enum { MOST = 400 };

static uint64_t state = 1;
static float normal(void) {
  float sum = -2;
  for (int i = 0; i < 4; i++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    sum += (float)(state >> 40) * 0x1p-24f;
  }
  return sum;
}
static uint16_t half(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return (uint16_t)(bits >> 16);
}
static float wide(uint16_t value) {
  const uint32_t bits = (uint32_t)value << 16;
  float result;
  memcpy(&result, &bits, 4);
  return result;
}

static int failures = 0;
static void near_halves(const char *name, size_t n, const uint16_t *a, const uint16_t *b) {
  for (size_t i = 0; i < n; i++) {
    if (!(fabsf(wide(a[i]) - wide(b[i])) <= 0.01f * fabsf(wide(b[i])) + 1e-6f)) {
      printf("%s: %g is not %g at %zu of %zu\n", name, wide(a[i]), wide(b[i]), i, n);
      failures++;
      return;
    }
  }
}
static void same(const char *name, size_t bytes, const void *a, const void *b) {
  if (memcmp(a, b, bytes) != 0) {
    printf("%s: other bytes\n", name);
    failures++;
  }
}
static void near_number(const char *name, double a, double b) {
  if (!(fabs(a - b) <= 1e-5 * fabs(b) + 1e-6)) {
    printf("%s: %g is not %g\n", name, a, b);
    failures++;
  }
}

int main(void) {
  const bs_layer_kernels_t *own = TIER(), *plain = bs_layer_kernels_portable();
  static const size_t counts[] = {1, 7, 16, 33, 100, 128, 387};
  for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
    const size_t n = counts[c];
    uint16_t x[MOST], y[MOST], z[MOST], a[2][MOST], b[2][MOST];
    float w[MOST], f[MOST], g[MOST];
    for (size_t i = 0; i < MOST; i++) {
      x[i] = half(normal() * 3);
      y[i] = half(normal());
      z[i] = half(normal());
      w[i] = 1 + normal() / 4;
      f[i] = normal() * 1e-3f;
      g[i] = normal() * 4;
    }
    const bs_layer_kernels_t *both[2] = {own, plain};
#define BOTH(call)                                                                                 \
  for (int t = 0; t < 2; t++) {                                                                    \
    const bs_layer_kernels_t *k = both[t];                                                         \
    call;                                                                                          \
  }
    BOTH(k->round(g, n, a[t]))
    same("round", 2 * n, a[0], a[1]);
    BOTH(k->add(x, y, n, a[t]))
    same("add", 2 * n, a[0], a[1]);
    BOTH(k->rms_norm(x, w, n, 1e-5f, a[t]))
    near_halves("rms_norm", n, a[0], a[1]);
    float sums[2][MOST] = {{0}};
    BOTH(k->rms_norm_backward(x, w, y, z, n, 1e-5f, a[t], sums[t]))
    for (size_t i = 0; i < n; i++) near_number("rms_norm_backward", sums[0][i], sums[1][i]);
    BOTH(k->swiglu(x, y, n, a[t]))
    near_halves("swiglu", n, a[0], a[1]);
    BOTH(k->swiglu_backward(x, y, z, n, a[t], b[t]))
    near_halves("swiglu_backward", n, b[0], b[1]);
    double numbers[2];
    BOTH(numbers[t] = k->dot(x, y, n))
    near_number("dot", numbers[0], numbers[1]);
    BOTH(numbers[t] = k->sum_of_squares(f, n))
    near_number("sum_of_squares", numbers[0], numbers[1]);
    BOTH(float copy[MOST]; memcpy(copy, g, sizeof copy);
         numbers[t] = k->cross_entropy(copy, n, n / 2, 0.5f, a[t]))
    near_number("cross_entropy", numbers[0], numbers[1]);
    near_halves("cross_entropy", n, a[0], a[1]);
    const bs_tiled_row_t row = {.values = g, .columns = MOST, .tile_stride = 0};
    float inverse;
    BOTH(numbers[t] = k->softmax(row, n, (n + 15) / 16 * 16, 0.3f, a[t], &inverse))
    near_number("softmax", numbers[0], numbers[1]);
    near_halves("softmax", n, a[0], a[1]);
    const bs_adamw_t step = {1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 0.1f, 0.2f, 0.7f};
    float p[2][MOST], m[2][MOST], v[2][MOST];
    BOTH(memcpy(p[t], w, sizeof w); memcpy(m[t], f, sizeof f); memset(v[t], 0, sizeof v[t]);
         k->adamw_float32(&step, n, p[t], f, m[t], v[t]))
    same("adamw_float32", 4 * n, p[0], p[1]);
    const size_t group = n < 128 ? n : 128;
    uint8_t codes[2][128];
    float most, least;
    BOTH(k->extremes(f, group, &most, &least); k->expand(f, group, 0.01f, 1.3f, 1e-3f, codes[t]))
    same("expand", group, codes[0], codes[1]);
    BOTH(k->contract(codes[t], group, 0.01f, 1 / 1.3f, 1e-3f, m[t]))
    same("contract", 4 * group, m[0], m[1]);
  }
  printf(failures ? "layers: %d failures\n" : "layers: all kernels agree\n", failures);
  return failures != 0;
}
