// SPDX-License-Identifier: Apache-2.0

// Compares the product kernels of a tier with a scalar model, for processors that the package's own
// tests do not run on. `Tools/check-neon` builds and runs it.

#include "bs_gemm_kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const bs_gemm_t *checked(void) {
#if defined(__aarch64__)
  return bs_gemm_neon();
#elif defined(CHECK_AVX512)
  return bs_gemm_avx512();
#else
  return bs_gemm_avx2();
#endif
}

static uint64_t state = 1;
static uint32_t random_bits(void) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(state >> 32);
}

static long comparisons, failures;

static void expect_near(float value, double expected, double magnitude, const char *what) {
  comparisons++;
  const double bound = magnitude * 1e-5 + 1e-30;
  if (isnan(expected) ? !isnan(value) : !(fabs(value - expected) <= bound)) {
    if (failures++ < 10) printf("%s: %g for %g\n", what, value, expected);
  }
}

static double code_value(bs_codes_t format, uint32_t code) {
  if (format == BS_CODES_BF16) {
    const uint32_t bits = code << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
  }
  const int fraction = format == BS_CODES_E2M1 ? 1 : format == BS_CODES_E4M3 ? 3 : 2;
  const int width = format == BS_CODES_E2M1 ? 4 : 8;
  const int bias = format == BS_CODES_E2M1 ? 1 : format == BS_CODES_E4M3 ? 7 : 15;
  const uint32_t magnitude = code & ((1u << (width - 1)) - 1);
  const double sign = code >> (width - 1) & 1 ? -1 : 1;
  const int field = (int)(magnitude >> fraction), part = (int)(magnitude & ((1u << fraction) - 1));
  if (format == BS_CODES_E4M3 && magnitude == 0x7F) return NAN;
  if (format == BS_CODES_E5M2 && field == 31) return part ? NAN : sign * INFINITY;
  return sign
    * (field ? ldexp((1 << fraction) + part, field - bias - fraction)
             : ldexp(part, 1 - bias - fraction));
}

static double scale_value(bool power, uint8_t code, int offset) {
  if (!power) return code_value(BS_CODES_E4M3, code);
  return code == 255 ? NAN : ldexp(1, code - 127 - offset);
}

enum { DEPTH = 96, ROWS = 4 };

static void check(bs_codes_t format, bs_scales_t place, bool powers, int block, int promotion_depth) {
  const int per_word = format == BS_CODES_BF16 ? 2 : format == BS_CODES_E2M1 ? 8 : 4;
  const int bits = 32 / per_word;
  uint32_t words[DEPTH / 2 * 16];
  uint8_t scales[DEPTH * 16];
  for (size_t i = 0; i < sizeof words / 4; i++) {
    words[i] = random_bits();
    // BF16 of a usual size; all codes of the others but those that are not finite.
    if (format == BS_CODES_BF16) words[i] = (words[i] & 0x80FF80FF) | 0x3F003F00;
    for (int p = 0; p < per_word; p++) {
      const uint32_t mask = (1u << (bits - 1)) - 1, code = words[i] >> (bits * p) & mask;
      if ((format == BS_CODES_E4M3 && code == 0x7F) || (format == BS_CODES_E5M2 && code >= 0x78)) {
        words[i] &= ~(0x40u << (bits * p));
      }
    }
  }
  for (size_t i = 0; i < sizeof scales; i++) {
    scales[i] = powers ? 120 + random_bits() % 16 : random_bits() % 0x7F;
  }
  const bs_columns_t columns = {
    words, place == BS_SCALES_NONE ? NULL : scales, format, place, block, powers, powers ? 3 : 0};
  double w[DEPTH][16];
  for (int k = 0; k < DEPTH; k++) {
    for (int n = 0; n < 16; n++) {
      const uint32_t word = words[k / per_word * 16 + n];
      const uint32_t code =
        word >> (bits * (k % per_word)) & (bits == 16 ? 0xFFFF : (1u << bits) - 1);
      w[k][n] = code_value(format, code);
      if (place == BS_SCALES_BY_OUTPUT) {
        w[k][n] *= scale_value(powers, scales[k / block * 16 + n], columns.power_offset);
      } else if (place == BS_SCALES_BY_K) {
        w[k][n] *= scale_value(powers, scales[k], columns.power_offset);
      }
    }
  }
  float panel[DEPTH * 32] = {0};
  const ptrdiff_t stride = checked()->tile_columns;
  checked()->decode(&columns, 0, DEPTH, panel, stride);
  for (int k = 0; k < DEPTH; k++) {
    for (int n = 0; n < 16; n++) {
      expect_near(panel[k * stride + n], w[k][n], fabs(w[k][n]) * 1e-3, "decode");
    }
  }

  // Rows of BF16, packed and decoded, and both products with their scales.
  const ptrdiff_t tile_rows = checked()->tile_rows;
  uint16_t x[16][DEPTH];
  float row_scales[4 * 16], column_scales[4 * 16];
  for (int m = 0; m < 16; m++) {
    for (int k = 0; k < DEPTH; k++) x[m][k] = (uint16_t)((random_bits() & 0x80FF) | 0x3F00);
  }
  for (int i = 0; i < 64; i++) {
    row_scales[i] = 1 + (random_bits() & 7);
    column_scales[i] = 0.5f + (random_bits() & 3);
  }
  const bs_rows_t source = {x, sizeof x[0], DEPTH, BS_CODES_BF16, NULL, 0, 16, false, 0};
  const bs_promotion_t promotion = {
    promotion_depth, row_scales, 16, column_scales, 16, 0, false};
  float a[DEPTH * 16], few[ROWS * DEPTH], c[16 * 32];
  checked()->pack_rows(&source, 0, tile_rows, DEPTH, a);
  checked()->decode_rows(&source, 0, ROWS, few, DEPTH);
  bs_few_rows_t rows = {.x = few, .x_stride = DEPTH, .rows = ROWS};
  bs_digits_t digits[ROWS][DEPTH / 8];
  enum { TILE, FEW_ROWS, DIGITS };
  static const char *const names[] = {"tile", "few rows", "digits"};
  for (int path = TILE; path <= DIGITS; path++) {
    if (path == TILE) {
      checked()->multiply(a, panel, DEPTH, &promotion, c, 32, false);
    } else if (place == BS_SCALES_BY_K || (place == BS_SCALES_BY_OUTPUT && promotion_depth)) {
      break;
    } else if (path == FEW_ROWS) {
      checked()->multiply_rows(&rows, &columns, DEPTH, &promotion, c, 32);
    } else if (!checked()->split_row || format != BS_CODES_E2M1 || place != BS_SCALES_BY_OUTPUT) {
      break;
    } else {
      rows.digits = digits[0];
      rows.digits_stride = DEPTH / 8;
      for (int m = 0; m < ROWS; m++) {
        rows.digits_count[m] =
          checked()->split_row(few + m * DEPTH, DEPTH, digits[m], DEPTH / 8);
      }
      checked()->multiply_digits(&rows, &columns, 1, DEPTH, c, 32);
    }
    for (int m = 0; m < (path == TILE ? tile_rows : ROWS); m++) {
      for (int n = 0; n < 16; n++) {
        double sum = 0, magnitude = 0;
        for (int k = 0; k < DEPTH; k++) {
          const int part = promotion_depth ? k / promotion_depth : 0;
          const double scale =
            promotion_depth ? row_scales[part * 16 + m] * column_scales[part * 16 + n] : 1;
          const double term = code_value(BS_CODES_BF16, x[m][k]) * w[k][n] * scale;
          sum += term;
          magnitude += fabs(term);
        }
        expect_near(c[m * 32 + n], sum, magnitude, names[path]);
      }
    }
  }

  // The output, with every step on the way, in FP32 and BF16.
  float out[16 * 16];
  float bias[16];
  for (int i = 0; i < 16; i++) bias[i] = (float)i - 7.5f;
  for (int i = 0; i < 256; i++) out[i] = 1;
  const bs_output_t output = {
    out, 16, BS_VALUES_FP32, true, 2, row_scales, column_scales, bias};
  checked()->store(c, 32, 3, 13, &output, 1, 0);
  for (int m = 0; m < 3; m++) {
    for (int n = 0; n < 13; n++) {
      const double value =
        (double)c[m * 32 + n] * 2 * row_scales[m + 1] * column_scales[n] + bias[n] + 1;
      expect_near(out[(m + 1) * 16 + n], value, fabs(value) + 10, "store");
    }
  }
}

static void check_packing(void) {
  uint32_t rows[16][37], words[37 * 16];
  for (int count = 1; count <= 16; count += 5) {
    for (int r = 0; r < 16; r++) {
      for (int w = 0; w < 37; w++) rows[r][w] = random_bits();
    }
    checked()->pack_words(rows, sizeof rows[0], count, 37, words);
    for (int r = 0; r < 16; r++) {
      for (int w = 0; w < 37; w++) {
        comparisons++;
        if (words[w * 16 + r] != (r < count ? rows[r][w] : 0)) failures++;
      }
    }
  }
}

int main(void) {
  for (int round = 0; round < 20; round++) {
    for (int promotion = 0; promotion <= 32; promotion += 32) {
      check(BS_CODES_BF16, BS_SCALES_NONE, false, 16, promotion);
      for (bs_codes_t format = BS_CODES_E4M3; format <= BS_CODES_E2M1; format++) {
        check(format, BS_SCALES_NONE, false, 16, promotion);
        for (int powers = 0; powers < 2; powers++) {
          check(format, BS_SCALES_BY_OUTPUT, powers, powers ? 32 : 16, promotion);
          check(format, BS_SCALES_BY_K, powers, 16, promotion);
        }
      }
    }
    check_packing();
  }
  printf("products: %ld comparisons, %ld failures\n", comparisons, failures);
  return failures != 0;
}
