// SPDX-License-Identifier: Apache-2.0

// Compares the kernels of a tier with a scalar model, for processors that the package's own tests do
// not run on. `Tools/check-neon` builds and runs it.

#include "bs_kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#pragma STDC FP_CONTRACT OFF

static uint64_t state = 1;
static uint32_t random_bits(void) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(state >> 32);
}

static float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

static uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return bits;
}

static float half_of(uint16_t bits) {
  _Float16 value;
  memcpy(&value, &bits, 2);
  return (float)value;
}

static float value_at(int source, const uint8_t *values, size_t index) {
  uint16_t word;
  if (source == BS_FLOAT32) {
    float value;
    memcpy(&value, values + 4 * index, 4);
    return value;
  }
  memcpy(&word, values + 2 * index, 2);
  return source == BS_BFLOAT16 ? float_of((uint32_t)word << 16) : half_of(word);
}

/// What a code without sign stands for.
static float decoded(int element, int code) {
  if (element == BS_E2M1) {
    const float values[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    return values[code];
  }
  const int bits = element == BS_E4M3 ? 3 : 2, bias = element == BS_E4M3 ? 7 : 15;
  const int field = code >> bits, significand = code & ((1 << bits) - 1);
  if (element == BS_E4M3 && code == 0x7F) return NAN;
  if (element == BS_E5M2 && field == 31) return significand ? NAN : INFINITY;
  return field ? ldexpf((float)((1 << bits) + significand), field - bias - bits)
               : ldexpf((float)significand, 1 - bias - bits);
}

/// The nearest code without sign, of ties the even one.
static int encoded(int element, float value) {
  const float magnitude = fabsf(value);
  const int largest = element == BS_E4M3 ? 0x7E : element == BS_E5M2 ? 0x7B : 7;
  if (isnan(magnitude)) return element == BS_E2M1 ? 0 : 0x7F;
  if (magnitude >= decoded(element, largest)) return largest;
  int low = 0, high = largest;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (decoded(element, middle) <= magnitude) low = middle; else high = middle;
  }
  const double below = (double)magnitude - decoded(element, low);
  const double above = (double)decoded(element, high) - magnitude;
  return below < above || (below == above && low % 2 == 0) ? low : high;
}

static int failures = 0;
static long checks = 0;
#define CHECK(condition, ...)                                                                     \
  do {                                                                                            \
    checks++;                                                                                     \
    if (!(condition) && failures++ < 20) {                                                        \
      printf("FAILED line %d: %s  ", __LINE__, #condition);                                       \
      printf(__VA_ARGS__);                                                                        \
      printf("\n");                                                                               \
    }                                                                                             \
  } while (0)

enum { CAPACITY = 1024 };

static void fill(int source, uint8_t *values, size_t count, int kind) {
  for (size_t index = 0; index < count; index++) {
    float value = ((int32_t)random_bits() >> 8) * 0x1p-20f;
    if (kind == 1) value *= ldexpf(1, (int)(random_bits() % 40) - 30);
    if (kind == 2) value = (float)((int)(random_bits() % 65) - 32) / 4;
    uint32_t bits = bits_of(value);
    if (kind == 3) {
      bits = random_bits();
      if (random_bits() % 4 == 0) bits &= 0x807FFFFF;
    }
    if (source == BS_FLOAT32) {
      memcpy(values + 4 * index, &bits, 4);
    } else {
      uint16_t word = (uint16_t)(bits >> 16);
      if (source == BS_FLOAT16 && kind != 3) {
        const _Float16 half = (_Float16)value;
        memcpy(&word, &half, 2);
      }
      memcpy(values + 2 * index, &word, 2);
    }
  }
}

static float divided(float value, bs_factor_t factor) {
  return factor.divisor == 0 ? value * factor.multiplier : value / factor.divisor;
}

static void check_encoding(const bs_kernels_t *kernels, int source, int element, int kind) {
  static const size_t counts[] = {1, 15, 16, 17, 63, 64, 65, 128, 257, 512};
  static uint8_t values[CAPACITY * 4], codes[CAPACITY];
  bs_factor_t factors[CAPACITY];
  for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
    const size_t count = counts[c], block = c % 2 ? 16 : 128;
    fill(source, values, count, kind);
    for (size_t index = 0; index < CAPACITY; index++) {
      const float f = ldexpf(1 + (random_bits() >> 9) * 0x1p-23f, (int)(random_bits() % 20) - 10);
      const bs_factor_t kinds[] = {{f, 0, 0, 0, NULL}, {0, f, 0, 0, NULL}, {1 / f, f, 0, 0, NULL}};
      // A refined division is only asked for where no quotient can leave FP32's range.
      factors[index] = kinds[random_bits() % (kind == 3 ? 2 : 3)];
    }
    bs_rule_t rule = {
      .source = (uint8_t)source, .element = (uint8_t)element};
    const float even[] = {0.25f, nextafterf(0.75f, 0), 1.25f, nextafterf(1.75f, 0), 2.5f,
                          nextafterf(3.5f, 0), 5};
    memcpy(rule.thresholds, even, sizeof even);
    kernels->encode(&rule, values, count, block, factors, codes);
    for (size_t index = 0; index < count; index++) {
      const float x = value_at(source, values, index);
      const bs_factor_t factor = factors[index / block];
      const int sign = signbit(x) != 0;
      const int code = encoded(element, divided(x, factor));
      if (element == BS_E2M1) {
        const int got = codes[index / 2] >> (4 * (index % 2)) & 15;
        CHECK(got == (code | sign << 3), "%a / %a: %d", x, factor.divisor, got);
      } else {
        CHECK(
          codes[index] == (code | sign << 7), "%a by %a or %a: %d", x, factor.multiplier,
          factor.divisor, codes[index]);
      }
    }
  }
}

/// Sums as `measure` forms them: in FP32 over some values, unless these leave its range.
typedef struct {
  float signal[16], error[16];
  double wide_signal[16], wide_error[16];
} run_t;

static void end_run(run_t *run, bs_errors_t *sums) {
  int is_in_range = 0;
  for (int lane = 0; lane < 16; lane++) is_in_range |= run->signal[lane] >= 0x1p-60f;
  for (int lane = 0; lane < 16; lane++) {
    is_in_range &= run->signal[lane] <= 0x1p100f && run->error[lane] <= 0x1p100f;
  }
  for (int lane = 0; lane < 16; lane++) {
    sums->signal[lane] += is_in_range ? run->signal[lane] : run->wide_signal[lane];
    sums->error[lane] += is_in_range ? run->error[lane] : run->wide_error[lane];
  }
  memset(run, 0, sizeof *run);
}

static void check_errors(const bs_kernels_t *kernels, int source, int element, int kind) {
  static const size_t counts[] = {1, 15, 16, 17, 63, 100, 128, 200, 256, 48};
  static const size_t blocks[] = {16, 32, 48, 128, 256};
  enum { ROWS = 3, STRIDE = 256 };
  static uint8_t values[ROWS * STRIDE * 4], codes[ROWS * STRIDE];
  float scales[STRIDE / 16];
  for (int round = 0; round < 50; round++) {
    const size_t count = counts[round % 10], block = blocks[round / 10];
    fill(source, values, ROWS * STRIDE, kind);
    for (size_t index = 0; index < sizeof codes; index++) {
      // Codes of the values' signs, and NaN where the value is.
      const float x = value_at(source, values, index);
      int code = (int)(random_bits() % (element == BS_E2M1 ? 8 : element == BS_E4M3 ? 0x7F : 0x7C));
      if (element != BS_E2M1 && isnan(x)) code = 0x7F;
      if (element == BS_E2M1) {
        const int nibble = code | (signbit(x) != 0) << 3;
        codes[index / 2] = (uint8_t)(index % 2 ? codes[index / 2] | nibble << 4 : nibble);
      } else {
        codes[index] = (uint8_t)(code | (signbit(x) != 0) << 7);
      }
    }
    for (int index = 0; index < STRIDE / 16; index++) {
      const float special[] = {0, NAN, 0x1p-120f, 0x1p115f};
      scales[index] = ldexpf(1 + (random_bits() >> 9) * 0x1p-23f, (int)(random_bits() % 20) - 10);
      if (round % 4 == 1 && random_bits() % 8 == 0) scales[index] = special[random_bits() % 4];
    }
    const bs_rule_t rule = {
      .source = (uint8_t)source, .element = (uint8_t)element, .tensor_mode = (uint8_t)(round % 3),
      .tensor_scale = 0.7f};
    const size_t width = source == BS_FLOAT32 ? 4 : 2;
    const size_t code_stride = element == BS_E2M1 ? STRIDE / 2 : STRIDE;
    for (int row = 0; element == BS_E2M1 && count % 2 && row < ROWS; row++) {
      codes[row * code_stride + count / 2] &= 15;
    }
    bs_errors_t errors = {0}, expected = {0};
    kernels->measure(
      &rule, values, STRIDE * width, ROWS, count, block, scales, codes, code_stride, &errors);
    for (size_t row = 0; row < ROWS; row++) {
      run_t run = {0};
      for (size_t column = 0; column < count; column++) {
        const size_t place = block < 128 ? column % (128 / block * block) : column % block % 128;
        if (place == 0) end_run(&run, &expected);
        const size_t index = row * STRIDE + column;
        const float x = value_at(source, values, index), scale = scales[column / block];
        const int code =
          element == BS_E2M1 ? codes[index / 2] >> (4 * (index % 2)) & 7 : codes[index] & 0x7F;
        const float greatest[] = {448, 57344, 6};
        float y = decoded(element, code) * scale, most = greatest[element] * scale;
        if (rule.tensor_mode == BS_TENSOR_MULTIPLIER) y *= 0.7f, most *= 0.7f;
        if (rule.tensor_mode == BS_TENSOR_DIVISOR) y /= 0.7f, most /= 0.7f;
        y = copysignf(y, x);
        const int lane = (int)(column % block % 16);
        if (!isfinite(x) || !isfinite(y)) {
          expected.non_finite[lane]--;
          continue;
        }
        const float difference = y - x, square = difference * difference;
        run.signal[lane] += x * x;
        run.error[lane] += square;
        run.wide_signal[lane] += (double)x * x;
        run.wide_error[lane] += (double)difference * difference;
        const int32_t bits = (int32_t)bits_of(fabsf(difference));
        if (bits > expected.maximum[lane]) expected.maximum[lane] = bits;
        if (most > 0 && fabsf(x) > most * 0x1.00001p0f) expected.saturated[lane]--;
        if (y == 0 && x != 0) expected.underflowed[lane]--;
      }
      end_run(&run, &expected);
    }
    expected.count = (int64_t)(ROWS * count);
    for (int lane = 0; lane < 16; lane++) {
      CHECK(
        errors.signal[lane] == expected.signal[lane], "lane %d of %zu in %zu: %a, not %a", lane,
        count, block, errors.signal[lane], expected.signal[lane]);
      CHECK(
        errors.error[lane] == expected.error[lane], "lane %d of %zu in %zu: %a, not %a", lane,
        count, block, errors.error[lane], expected.error[lane]);
      CHECK(errors.maximum[lane] == expected.maximum[lane], "maximum of lane %d", lane);
      CHECK(errors.saturated[lane] == expected.saturated[lane], "clipped in lane %d", lane);
      CHECK(errors.underflowed[lane] == expected.underflowed[lane], "zeros in lane %d", lane);
      CHECK(errors.non_finite[lane] == expected.non_finite[lane], "NaN in lane %d", lane);
    }
    CHECK(errors.count == expected.count, "count");
  }
}

static void check_maxima(const bs_kernels_t *kernels, size_t width) {
  static uint8_t values[CAPACITY * 4];
  static uint32_t maxima[CAPACITY];
  static uint8_t columns[CAPACITY * 4];
  for (size_t count = 1; count < 300; count += 7) {
    for (size_t index = 0; index < sizeof values; index++) values[index] = random_bits() >> 24;
    for (size_t block = 16; block <= 128; block *= 2) {
      kernels->block_maxima(width, values, count, block, maxima);
      uint32_t whole = 0;
      for (size_t first = 0; first < count; first += block) {
        uint32_t most = 0;
        for (size_t index = first; index < first + block && index < count; index++) {
          uint32_t bits = 0;
          memcpy(&bits, values + width * index, width);
          bits &= width == 2 ? 0x7FFF : 0x7FFFFFFF;
          if (bits > most) most = bits;
        }
        CHECK(maxima[first / block] == most, "block of %zu", block);
        if (most > whole) whole = most;
      }
      CHECK(kernels->maximum(width, values, count) == whole, "%zu values", count);
    }
    memset(columns, 0, sizeof columns);
    const size_t wide = count < 200 ? count : 200, rows = 5;
    kernels->column_maxima(width, values, width * wide, rows, wide, columns);
    for (size_t column = 0; column < wide; column++) {
      uint32_t most = 0, got = 0;
      for (size_t row = 0; row < rows; row++) {
        uint32_t bits = 0;
        memcpy(&bits, values + width * (row * wide + column), width);
        bits &= width == 2 ? 0x7FFF : 0x7FFFFFFF;
        if (bits > most) most = bits;
      }
      memcpy(&got, columns + width * column, width);
      CHECK(got == most, "column %zu of %zu", column, wide);
    }
    CHECK(columns[width * wide] == 0, "beyond the columns");
  }
}

/// Every magnitude up to a maximum, of both signs, under a factor that has a table.
static void check_tables(const bs_kernels_t *kernels) {
  static uint16_t values[1 << 16];
  static uint8_t codes[1 << 16];
  static const size_t blocks[] = {128, 32, 64, 48, 1 << 16};
  _Alignas(64) uint8_t table[128];
  int tables = 0;
  for (int round = 0; kernels->tabulate_float8 && round < 60; round++) {
    const float f = ldexpf(1 + (random_bits() >> 9) * 0x1p-23f, (int)(random_bits() % 60) - 30);
    bs_factor_t factor = {f, 0, 0, 0, NULL};
    if (round % 2) factor = (bs_factor_t){1 / f, f, 0, 0, NULL};
    if (round % 5 == 0) factor = (bs_factor_t){ldexpf(1, round), 0, 0, 0, NULL};
    const bs_rule_t rule = {
      .source = BS_BFLOAT16, .element = BS_E4M3,
      .intermediate = (uint8_t)(round % 7 == 0 ? BS_BFLOAT16 : BS_FLOAT32)};
    // About 448, from below and from above.
    const float largest = (round % 3 ? 448 : 470) / factor.multiplier;
    uint32_t bits;
    memcpy(&bits, &largest, 4);
    const uint32_t maximum = bits >> 16;
    const bs_factor_t plain = factor;
    if (!kernels->tabulate_float8(&rule, maximum, &factor, table)) continue;
    tables++;
    const size_t block = blocks[round % 5];
    // In order, so that small ones and zeros are among themselves; or far apart.
    const uint32_t step = round % 4 < 2 ? 1 : 12345;
    size_t count = 0;
    for (uint32_t index = 0; index < 1 << 15; index++) {
      const uint32_t magnitude = index * step & 0x7FFF;
      if (magnitude > maximum) continue;
      values[count++] = (uint16_t)magnitude;
      values[count++] = (uint16_t)(magnitude | 0x8000);
      // Some zeros, with and without other small values around them.
      const int is_small = magnitude < factor.least + (round % 3 == 1 ? 1000 : 0);
      if (round % 2 ? is_small : index % 8 == 0) {
        values[count - 2] &= 0x8000;
        values[count - 1] &= 0x8000;
      }
    }
    static bs_factor_t factors[1 << 12], plain_factors[1 << 12];
    static uint8_t expected[1 << 16];
    for (size_t index = 0; index * block < count; index++) {
      factors[index] = factor;
      plain_factors[index] = plain;
    }
    kernels->encode(&rule, values, count, block, factors, codes);
    kernels->encode(&rule, values, count, block, plain_factors, expected);
    for (size_t index = 0; index < count; index++) {
      CHECK(codes[index] == expected[index], "%04x by %a: %02x, not %02x", values[index], factor.multiplier,
        codes[index], expected[index]);
    }
  }
  CHECK(!kernels->tabulate_float8 || tables > 20, "%d tables", tables);
}

static void check_thresholds(const bs_kernels_t *kernels, int zero_sign) {
  static uint32_t known[1 << 15];
  static bs_e2m1_entry_t entries[1 << 15];
  static uint8_t values[CAPACITY * 2], codes[CAPACITY], scales[CAPACITY];
  for (int index = 0; index < 1 << 15; index++) {
    known[index] = ~(uint32_t)(index & 0x7F);
    for (int step = 0; step < 8; step++) {
      const uint32_t threshold = (uint32_t)(index * (step + 1) / 8);
      entries[index].thresholds[step] = threshold << 16 | threshold;
    }
  }
  // No cells are known, so that thresholds tell all codes.
  static const bs_e2m1_cells_t cells[1 << 15];
  const bs_e2m1_table_t table = {known, entries, cells};
  bs_rule_t rule = {.source = BS_BFLOAT16, .element = BS_E2M1, .zero_sign = (uint8_t)zero_sign};
  for (size_t count = 1; count < 300; count += 5) {
    const size_t block = count % 2 ? 16 : 32;
    fill(BS_BFLOAT16, values, count, (int)(count % 3));
    uint32_t maxima[CAPACITY];
    kernels->block_maxima(2, values, count, block, maxima);
    const size_t done = kernels->quantize_e2m1(
      &rule, (const uint16_t *)values, count, block, maxima, &table, codes, scales);
    CHECK(done == (count + block - 1) / block, "%zu blocks", done);
    for (size_t index = 0; index < count; index++) {
      uint32_t most = 0;
      for (size_t place = index / block * block; place < (index / block + 1) * block; place++) {
        uint16_t word;
        memcpy(&word, values + 2 * place, 2);
        if (place < count && (word & 0x7FFFu) > most) most = word & 0x7FFF;
      }
      uint16_t word;
      memcpy(&word, values + 2 * index, 2);
      int code = 0;
      for (int step = 0; step < 7; step++) {
        code += (word & 0x7FFF) > (int)(most * (uint32_t)(step + 1) / 8);
      }
      int sign = word >> 15;
      if (zero_sign == BS_ZERO_SIGN_KEPT_UNLESS_INPUT_IS_ZERO && !(word & 0x7FFF)) sign = 0;
      if (zero_sign == BS_ZERO_SIGN_POSITIVE && !code) sign = 0;
      if (zero_sign == BS_ZERO_SIGN_NEGATIVE_FOR_ZERO_INPUT && !(word & 0x7FFF)) sign = 1;
      const int got = codes[index / 2] >> (4 * (index % 2)) & 15;
      CHECK(got == (code | sign << 3), "%04x of %04x: %d", word, most, got);
      CHECK(scales[index / block] == (most & 0x7F), "scale");
    }
  }
}

static void check_decoding(const bs_kernels_t *kernels, int element, int result) {
  uint8_t codes[512], values[512 * 4];
  float scales[32];
  for (int index = 0; index < 512; index++) codes[index] = (uint8_t)index;
  for (int index = 0; index < 32; index++) scales[index] = ldexpf(1.3f, index % 9 - 4);
  for (int mode = 0; mode < 3; mode++) {
    const bs_rule_t rule = {
      .source = (uint8_t)result, .element = (uint8_t)element, .tensor_mode = (uint8_t)mode,
      .tensor_scale = 0.7f};
    const size_t count = 509;
    kernels->decode_float8(&rule, codes, count, 16, scales, values);
    for (size_t index = 0; index < count; index++) {
      float value = decoded(element, codes[index] & 0x7F) * scales[index / 16];
      if (codes[index] & 0x80) value = -value;
      if (mode == BS_TENSOR_MULTIPLIER) value *= 0.7f;
      if (mode == BS_TENSOR_DIVISOR) value /= 0.7f;
      if (result == BS_FLOAT16) value = (float)(_Float16)value;
      if (result == BS_BFLOAT16) {
        const uint32_t bits = bits_of(value);
        value = float_of((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000);
      }
      const float got = value_at(result, values, index);
      CHECK(
        bits_of(got) == bits_of(value) || (isnan(got) && isnan(value)), "code %02x: %a, not %a",
        codes[index], got, value);
    }
  }
}

static void check_scales(const bs_kernels_t *kernels) {
  uint8_t powers[256];
  uint32_t floats[256];
  float values[257];
  for (int index = 0; index < 256; index++) {
    powers[index] = (uint8_t)(index * 7);
    floats[index] = (uint32_t)index << 24 | (uint32_t)index << (index % 20);
  }
  // NaN of both signs and several payloads, infinities and zeros.
  const uint32_t corners[] = {0x7FC00000, 0xFFC00001, 0x7F800001, 0xFF812345, 0x7F800000,
                              0xFF800000, 0,          0x80000000, 1,          0x807FFFFF};
  for (size_t index = 0; index < 250; index += 5) {
    floats[index] = corners[index / 5 % (sizeof corners / sizeof *corners)];
  }
  for (size_t count = 0; count <= 256; count += count < 40 ? 1 : 24) {
    for (int format = BS_FLOAT32_SCALES; format <= BS_E4M3_SCALES; format++) {
      values[count] = 7;
      kernels->load_scales(
        format, format == BS_FLOAT32_SCALES ? (const void *)floats : (const void *)powers, count, values);
      for (size_t index = 0; index < count; index++) {
        float value = float_of(floats[index]);
        const int code = powers[index];
        if (format == BS_E8M0_SCALES) value = code == 255 ? NAN : ldexpf(1, code - 127);
        if (format == BS_E4M3_SCALES) {
          value = copysignf(decoded(BS_E4M3, code & 0x7F), code >> 7 ? -1 : 1);
        }
        const uint32_t bits = isnan(value) ? 0x7FC00000 : bits_of(value);
        CHECK(
          bits_of(values[index]) == bits, "scale %zu of format %d: %08x, not %08x", index, format,
          bits_of(values[index]), bits);
      }
      CHECK(values[count] == 7, "more than %zu scales", count);
    }
  }
}

static void check_moves(const bs_kernels_t *kernels) {
  static uint8_t bytes[100 * 100], result[100 * 100], planes[256 * 64], values[CAPACITY * 4];
  for (size_t index = 0; index < sizeof bytes; index++) bytes[index] = random_bits() >> 24;
  for (size_t index = 0; index < sizeof planes; index++) planes[index] = random_bits() >> 24;
  for (size_t rows = 1; rows < 70; rows += 3) {
    for (size_t columns = 1; columns < 70; columns += 5) {
      kernels->transpose_bytes(bytes, 100, rows, columns, result, 99);
      for (size_t index = 0; index < rows * columns; index++) {
        const size_t row = index / columns, column = index % columns;
        CHECK(result[column * 99 + row] == bytes[row * 100 + column], "transposed");
      }
    }
  }
  for (size_t run = 16; run <= 128; run += 16) {
    const size_t length = run * 2 + run / 3;
    kernels->join_runs(bytes, run, 1000, 7, length, 0, result, 500);
    for (size_t index = 0; index < 7 * length; index++) {
      const size_t row = index / length, place = index % length;
      CHECK(
        result[row * 500 + place] == bytes[place / run * 1000 + row * run + place % run], "joined");
    }
  }
  for (size_t length = 1; length < 500; length += 7) {
    // Past the caches, from and to any place in a line of memory; what lies beside stays as it is.
    uint8_t *to = result + 64 + length % 64;
    memset(result, 0, sizeof result);
    kernels->join_runs(bytes, 500, 0, 7, length, 1, to, 510);
    for (size_t index = 0; index < 7 * 510; index++) {
      const size_t row = index / 510, place = index % 510;
      CHECK(to[index] == (place < length ? bytes[row * 500 + place] : 0), "streamed");
    }
    for (size_t index = 0; index < 64 + length % 64; index++) CHECK(result[index] == 0, "before");
  }
  for (size_t width = 2; width <= 4; width += 2) {
    for (size_t rows = 1; rows < 70; rows += 3) {
      for (size_t columns = 1; columns < 25; columns++) {
        // Also some with a tile of 32.
        const size_t across = rows % 2 ? columns : columns + 22;
        const size_t height = across > 24 || width == 4 ? rows % 50 : rows;
        kernels->transpose_values(width, bytes, 200, height, across, result, 200);
        for (size_t index = 0; index < height * across; index++) {
          const size_t row = index / across, column = index % across;
          CHECK(
            !memcmp(result + column * 200 + width * row, bytes + row * 200 + width * column, width),
            "transposed");
        }
      }
    }
    for (size_t count = 1; count < 200; count += 3) {
      kernels->decode_e2m1(width, bytes, count, 32, bytes + 500, planes, values);
      for (size_t index = 0; index < count; index++) {
        const int code = bytes[index / 2] >> (4 * (index % 2)) & 15;
        const uint8_t *plane = planes + bytes[500 + index / 32] * 16 * width;
        for (size_t byte = 0; byte < width; byte++) {
          CHECK(values[index * width + byte] == plane[16 * byte + (size_t)code], "looked up");
        }
      }
    }
  }
}

enum { STRIP_ROWS = 128, STRIP_WIDTH = 256, STRIP_CODES = STRIP_ROWS * STRIP_WIDTH };

/// Codes and what lies before and after them, which nothing may change.
typedef struct {
  _Alignas(64) uint8_t before[128];
  uint8_t codes[STRIP_CODES + 128];
} guarded_t;

static void check_codes(const guarded_t *got, size_t offset, const uint8_t *expected, int turns) {
  for (size_t index = 0; index < sizeof got->before; index++) {
    CHECK(got->before[index] == 0xA5, "before codes at offset %zu", offset);
  }
  for (size_t index = 0; index < sizeof got->codes; index++) {
    const int inside = index >= offset && index < offset + STRIP_CODES;
    size_t place = index - offset;
    if (turns && inside) place = place % STRIP_ROWS * STRIP_WIDTH + place / STRIP_ROWS;
    const uint8_t code = inside ? expected[place] : 0xA5;
    CHECK(
      got->codes[index] == code, "code %zu at offset %zu: %02x, not %02x", index - offset, offset,
      got->codes[index], code);
  }
}

/// Strips of two blocks of columns, at all places of a line; blocks of rows and columns, then square ones.
static void check_strips(const bs_kernels_t *kernels) {
  if (!kernels->encode_strip_rows) return;
  const bs_rule_t rule = {.source = BS_BFLOAT16, .element = BS_E4M3, .tensor_scale = 1};
  static uint16_t values[STRIP_CODES];
  static uint8_t expected[3][STRIP_CODES];
  static guarded_t rows, columns;
  static _Alignas(64) uint8_t groups[BS_STRIP_COLUMNS / 8 * BS_STRIP_PITCH];
  static _Alignas(64) uint8_t row_rests[STRIP_ROWS * 64], column_rests[STRIP_WIDTH * 64];
  static _Alignas(64) uint16_t maxima[BS_STRIP_COLUMNS], minima[BS_STRIP_COLUMNS];
  bs_choice_t *known = calloc(1 << 15, sizeof *known);
  uint8_t *tables = aligned_alloc(64, (size_t)128 << 15);
  for (uint32_t magnitude = 0x3000; magnitude < 0x5000; magnitude++) {
    bs_factor_t factor = {.multiplier = 448 / float_of(magnitude << 16), .least = UINT32_MAX};
    kernels->tabulate_float8(&rule, magnitude, &factor, tables + 128 * magnitude);
    known[magnitude] = (bs_choice_t){.scale = ~magnitude, .factor = factor};
  }
  for (int kind = 0; kind < 2; kind++) {
    fill(BS_BFLOAT16, (uint8_t *)values, STRIP_CODES, 0);
    for (size_t index = 0; index < STRIP_CODES; index++) {
      // Here and there, or often, zeros of both signs and values below the normal codes.
      const uint32_t dice = random_bits() % (kind ? 8 : 2048);
      if (dice < 3) values[index] = dice ? (uint16_t)(dice << 15) : (uint16_t)(0x3000 + index % 999);
    }
    uint16_t most[2][STRIP_WIDTH] = {{0}}, of_rows[STRIP_ROWS][2] = {{0}};
    for (size_t index = 0; index < STRIP_CODES; index++) {
      const size_t row = index / STRIP_WIDTH, column = index % STRIP_WIDTH, block = column / 128;
      const uint16_t magnitude = values[index] & 0x7FFF;
      if (magnitude > most[0][column]) most[0][column] = magnitude;
      if (magnitude > most[1][block]) most[1][block] = magnitude;
      if (magnitude > of_rows[row][block]) of_rows[row][block] = magnitude;
    }
    for (size_t index = 0; index < STRIP_CODES; index++) {
      const size_t row = index / STRIP_WIDTH, column = index % STRIP_WIDTH, block = column / 128;
      const uint16_t own[] = {of_rows[row][block], most[0][column], most[1][block]};
      const float value = float_of((uint32_t)values[index] << 16);
      for (int way = 0; way < 3; way++) {
        const int code = encoded(BS_E4M3, value * known[own[way]].factor.multiplier);
        expected[way][index] = (uint8_t)(code | values[index] >> 15 << 7);
      }
    }
    for (size_t offset = 0; offset < 64; offset++) {
      const bs_strip_t strip = {groups, maxima, minima, row_rests, column_rests, known, 4};
      const int edges = BS_STRIP_BEGINS | BS_STRIP_ENDS;
      uint32_t scales[STRIP_ROWS][2], column_scales[STRIP_WIDTH];
      uint32_t unknown[BS_STRIP_ROWS_AT_ONCE] = {0};
      for (int are_squares = 0; are_squares < 2; are_squares++) {
        memset(&rows, 0xA5, sizeof rows);
        memset(&columns, 0xA5, sizeof columns);
        bs_factor_t factors[2] = {known[most[1][0]].factor, known[most[1][1]].factor};
        for (size_t row = 0; row < STRIP_ROWS; row += BS_STRIP_ROWS_AT_ONCE) {
          const uint16_t *from = values + row * STRIP_WIDTH;
          uint8_t *to = rows.codes + offset + row * STRIP_WIDTH;
          if (are_squares) {
            kernels->encode_strip_squares(
              &rule, &strip, from, 2 * STRIP_WIDTH, row, STRIP_WIDTH, factors, to, STRIP_WIDTH,
              edges);
          } else {
            const size_t done = kernels->encode_strip_rows(
              &rule, &strip, from, 2 * STRIP_WIDTH, row, STRIP_WIDTH, 0, 0,
              (uint8_t *)scales[row], sizeof *scales, to, STRIP_WIDTH, edges, unknown);
            CHECK(done == STRIP_WIDTH / STRIP_ROWS, "%zu blocks, then %u", done, unknown[0]);
          }
        }
        uint8_t *to = columns.codes + offset;
        if (are_squares) {
          kernels->turn_strip_squares(&strip, STRIP_WIDTH, to, STRIP_ROWS, 1);
        } else {
          const size_t done = kernels->encode_strip_columns(
            &rule, &strip, STRIP_WIDTH, 0, 0, (uint8_t *)column_scales, to, STRIP_ROWS, 1);
          CHECK(done == STRIP_WIDTH, "%zu columns", done);
        }
        kernels->finish_strip_columns(&strip, STRIP_WIDTH, to + STRIP_ROWS, STRIP_ROWS);
        check_codes(&rows, offset, expected[are_squares ? 2 : 0], 0);
        check_codes(&columns, offset, expected[are_squares ? 2 : 1], 1);
      }
      for (size_t row = 0; row < STRIP_ROWS; row++) {
        CHECK(scales[row][0] == of_rows[row][0] && scales[row][1] == of_rows[row][1], "scales");
      }
      for (size_t column = 0; column < STRIP_WIDTH; column++) {
        CHECK(column_scales[column] == most[0][column], "scale of column %zu", column);
      }
    }
  }
  free(known);
  free(tables);
}

int main(void) {
  const bs_kernels_t *tiers[] = {bs_kernels_neon(), bs_kernels_avx2(), bs_kernels_avx512()};
  const char *names[] = {"neon", "avx2", "avx512"};
  for (int tier = 0; tier < 3; tier++) {
    const bs_kernels_t *kernels = tiers[tier];
    if (!kernels) continue;
    checks = 0;
    for (int round = 0; round < 50; round++) {
      for (int source = 0; source < 3; source++) {
        for (int element = 0; element < 3; element++) {
          for (int kind = 0; kind < 4; kind++) {
            check_encoding(kernels, source, element, kind);
            check_errors(kernels, source, element, kind);
          }
        }
      }
    }
    check_maxima(kernels, 2);
    check_maxima(kernels, 4);
    for (int zero_sign = 0; zero_sign < 4; zero_sign++) check_thresholds(kernels, zero_sign);
    for (int result = 0; result < 3; result++) {
      check_decoding(kernels, BS_E4M3, result);
      check_decoding(kernels, BS_E5M2, result);
    }
    check_scales(kernels);
    check_moves(kernels);
    check_strips(kernels);
    check_tables(kernels);
    printf("%s: %ld comparisons, %d failures\n", names[tier], checks, failures);
  }
  return failures ? 1 : 0;
}
