// SPDX-License-Identifier: Apache-2.0

// The FP32 kernels of one tier. The including file defines
//   BS_TIER            the suffix of names,
//   BS_TILE_ROWS       rows of a tile of sums,
//   BS_TILE_VECTORS    sixteens of outputs of a tile,
// so that the sums, one vector of `b` for each sixteen and a repeated value of `a` fit the registers.

#define BS_JOIN_(name, tier) name##_##tier
#define BS_JOIN(name, tier) BS_JOIN_(name, tier)
#define BS_NAMED(name) BS_JOIN(name, BS_TIER)

#include "bs_gemm_kernels.h"
#include "gemm_rows.h"

enum { TILE_COLUMNS = 16 * BS_TILE_VECTORS };

// MARK: packing

static void BS_NAMED(pack_words)(
  const void *rows, ptrdiff_t row_bytes, ptrdiff_t row_count, ptrdiff_t word_count, uint32_t *words
) {
  const uint8_t *bytes = rows;
  ptrdiff_t word = 0;
  for (; word + 16 <= word_count; word += 16) {
    u32x16 a[16], b[16];
    for (int row = 0; row < 16; row++) {
      a[row] = row < row_count ? LOAD(u32x16, bytes + row * row_bytes + word * 4) : (u32x16){0};
    }
    // Four rounds of interleaving rows that lie eight, four, two and one apart.
#pragma clang loop unroll(full)
    for (int round = 0; round < 4; round++) {
#pragma clang loop unroll(full)
      for (int i = 0; i < 8; i++) {
        b[2 * i] = __builtin_shufflevector(
          a[i], a[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        b[2 * i + 1] = __builtin_shufflevector(
          a[i], a[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
      }
#pragma clang loop unroll(full)
      for (int i = 0; i < 16; i++) a[i] = b[i];
    }
    memcpy(words + word * 16, a, sizeof a);
  }
  for (; word < word_count; word++) {
    for (ptrdiff_t row = 0; row < 16; row++) {
      uint32_t value = 0;
      if (row < row_count) memcpy(&value, bytes + row * row_bytes + word * 4, sizeof value);
      words[word * 16 + row] = value;
    }
  }
}

// MARK: decoding

#ifndef BS_HAS_DECODE_WORD
BS_INLINE void decode_word(bs_codes_t format, u32x16 words, f32x16 values[8]) {
  decode_positions(format, words, values);
}
#endif

/// `format` and `place` are constants where this is inlined, so that nothing is decided in the loop.
BS_INLINE void decode_as(
  bs_codes_t format, bs_scales_t place, const bs_columns_t *columns, ptrdiff_t k0, ptrdiff_t depth,
  float *panel, ptrdiff_t panel_stride
) {
  const ptrdiff_t per_word = codes_per_word(format);
  const uint32_t *words = (const uint32_t *)columns->codes + k0 / per_word * 16;
  for (ptrdiff_t k = 0; k < depth; k += 16) {
    f32x16 by_output = splat(1);
    float by_k[16];
    if (place == BS_SCALES_BY_OUTPUT) {
      by_output = decode_scales(columns, columns->scales + (k0 + k) / columns->scale_block * 16);
    } else if (place == BS_SCALES_BY_K) {
      STORE(by_k, decode_scales(columns, columns->scales + k0 + k));
    }
    for (ptrdiff_t word = 0; word < 16 / per_word; word++, words += 16) {
      f32x16 values[8];
      decode_word(format, LOAD(u32x16, words), values);
#pragma clang loop unroll(full)
      for (int position = 0; position < per_word; position++) {
        f32x16 value = values[position];
        if (place == BS_SCALES_BY_OUTPUT) value *= by_output;
        if (place == BS_SCALES_BY_K) value *= splat(by_k[word * per_word + position]);
        STORE(panel + (k + word * per_word + position) * panel_stride, value);
      }
    }
  }
}

static void BS_NAMED(decode)(
  const bs_columns_t *columns, ptrdiff_t k0, ptrdiff_t depth, float *panel, ptrdiff_t panel_stride
) {
#define BS_CASE(format, place)                                                                     \
  case format * 4 + place:                                                                         \
    decode_as(format, place, columns, k0, depth, panel, panel_stride);                             \
    return;
  switch (columns->code_format * 4 + columns->scale_place) {
    BS_CASE(BS_CODES_BF16, BS_SCALES_NONE)
    BS_CASE(BS_CODES_E4M3, BS_SCALES_NONE)
    BS_CASE(BS_CODES_E4M3, BS_SCALES_BY_OUTPUT)
    BS_CASE(BS_CODES_E4M3, BS_SCALES_BY_K)
    BS_CASE(BS_CODES_E5M2, BS_SCALES_NONE)
    BS_CASE(BS_CODES_E5M2, BS_SCALES_BY_OUTPUT)
    BS_CASE(BS_CODES_E5M2, BS_SCALES_BY_K)
    BS_CASE(BS_CODES_E2M1, BS_SCALES_NONE)
    BS_CASE(BS_CODES_E2M1, BS_SCALES_BY_OUTPUT)
    BS_CASE(BS_CODES_E2M1, BS_SCALES_BY_K)
  }
#undef BS_CASE
}

// MARK: rows

BS_INLINE void pack_rows_as(
  bs_codes_t format, const bs_rows_t *source, ptrdiff_t row, ptrdiff_t rows,
  ptrdiff_t padded_depth, float *a
) {
  for (ptrdiff_t k = 0; k < padded_depth; k += 16) {
    for (ptrdiff_t r = 0; r < BS_TILE_ROWS; r++) {
      float values[16] = {0};
      if (r < rows && k < source->depth) {
        STORE(values, row_sixteen(format, source, row + r, k));
      }
#pragma clang loop unroll(full)
      for (int index = 0; index < 16; index++) a[(k + index) * BS_TILE_ROWS + r] = values[index];
    }
  }
}

static void BS_NAMED(pack_rows)(
  const bs_rows_t *source, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t padded_depth, float *a
) {
#define BS_CASE(format)                                                                            \
  case format:                                                                                     \
    pack_rows_as(format, source, row, rows, padded_depth, a);                                      \
    return;
  BS_FOR_ROW_FORMAT(source, BS_CASE)
#undef BS_CASE
}

static void BS_NAMED(decode_rows)(
  const bs_rows_t *source, ptrdiff_t row, ptrdiff_t rows, float *x, ptrdiff_t x_stride
) {
#define BS_CASE(format)                                                                            \
  case format:                                                                                     \
    for (ptrdiff_t r = 0; r < rows; r++) {                                                         \
      for (ptrdiff_t k = 0; k < source->depth; k += 16) {                                          \
        STORE(x + r * x_stride + k, row_sixteen(format, source, row + r, k));               \
      }                                                                                            \
    }                                                                                              \
    return;
  BS_FOR_ROW_FORMAT(source, BS_CASE)
#undef BS_CASE
}

// MARK: tiles

/// `to` + `sums` with the scales of one partial sum, for one row.
BS_INLINE f32x16 promoted(
  f32x16 to, f32x16 sums, const bs_promotion_t *promotion, ptrdiff_t part, ptrdiff_t row,
  ptrdiff_t column_block
) {
  f32x16 scale = splat(1);
  if (promotion->columns) {
    scale = LOAD(f32x16, 
      promotion->columns + part * promotion->column_stride
      + column_block * promotion->column_block_stride);
  }
  if (promotion->rows) {
    scale *= splat(promotion->rows[part * promotion->row_stride + row]);
  }
  return multiply_add(sums, scale, to);
}

static void BS_NAMED(multiply)(
  const float *a, const float *b, ptrdiff_t depth, const bs_promotion_t *promotion, float *c,
  ptrdiff_t c_stride, bool accumulate
) {
  const ptrdiff_t part_depth = promotion->depth ? promotion->depth : depth;
  ptrdiff_t part = 0;
  for (ptrdiff_t first = 0; first < depth; first += part_depth, part++) {
    const ptrdiff_t end = first + part_depth < depth ? first + part_depth : depth;
    f32x16 sums[BS_TILE_ROWS][BS_TILE_VECTORS];
#pragma clang loop unroll(full)
    for (int row = 0; row < BS_TILE_ROWS; row++) {
#pragma clang loop unroll(full)
      for (int vector = 0; vector < BS_TILE_VECTORS; vector++) sums[row][vector] = splat(0);
    }
    for (ptrdiff_t k = first; k < end; k++) {
      f32x16 outputs[BS_TILE_VECTORS];
#pragma clang loop unroll(full)
      for (int vector = 0; vector < BS_TILE_VECTORS; vector++) {
        outputs[vector] = LOAD(f32x16, b + k * TILE_COLUMNS + 16 * vector);
      }
#pragma clang loop unroll(full)
      for (int row = 0; row < BS_TILE_ROWS; row++) {
        const f32x16 value = splat(a[k * BS_TILE_ROWS + row]);
#pragma clang loop unroll(full)
        for (int vector = 0; vector < BS_TILE_VECTORS; vector++) {
          sums[row][vector] = multiply_add(value, outputs[vector], sums[row][vector]);
        }
      }
    }
#pragma clang loop unroll(full)
    for (int row = 0; row < BS_TILE_ROWS; row++) {
#pragma clang loop unroll(full)
      for (int vector = 0; vector < BS_TILE_VECTORS; vector++) {
        float *place = c + row * c_stride + 16 * vector;
        const f32x16 old = accumulate || part > 0 ? LOAD(f32x16, place) : splat(0);
        STORE(
          place, promotion->depth ? promoted(old, sums[row][vector], promotion, part, row, vector)
                                  : old + sums[row][vector]);
      }
    }
  }
}

// MARK: a few rows

/// The sums of up to four rows over `depth` k whose codes begin at `words`. `format` and `rows` are
/// constants where this is inlined.
BS_INLINE void sum_rows(
  bs_codes_t format, int rows, const float *x, ptrdiff_t x_stride, const uint32_t *words,
  ptrdiff_t depth, f32x16 sums[4]
) {
  const ptrdiff_t per_word = codes_per_word(format);
#pragma clang loop unroll(full)
  for (int row = 0; row < rows; row++) sums[row] = splat(0);
  // One row alone would wait for each addition: its even and odd k have sums of their own.
  f32x16 odd = splat(0);
  for (ptrdiff_t k = 0; k < depth; k += per_word, words += 16) {
    f32x16 values[8];
    decode_word(format, LOAD(u32x16, words), values);
    prefetch_codes(words);
#pragma clang loop unroll(full)
    for (int position = 0; position < per_word; position++) {
      const f32x16 value = values[position];
#pragma clang loop unroll(full)
      for (int row = 0; row < rows; row++) {
        f32x16 *sum = rows == 1 && position % 2 == 1 ? &odd : sums + row;
        *sum = multiply_add(value, splat(x[row * x_stride + k + position]), *sum);
      }
    }
  }
  if (rows == 1) sums[0] += odd;
}

/// The sums of `rows` rows, a constant where this is inlined, over codes that share block scales.
BS_INLINE void multiply_rows_as(
  bs_codes_t format, bool scaled, int rows, const float *x, ptrdiff_t x_stride,
  const bs_columns_t *columns, ptrdiff_t depth, const bs_promotion_t *promotion, float *c,
  ptrdiff_t c_stride
) {
  const ptrdiff_t per_word = codes_per_word(format);
  const uint32_t *words = columns->codes;
  f32x16 sums[4], partial[4];
#pragma clang loop unroll(full)
  for (int row = 0; row < rows; row++) sums[row] = splat(0);
  if (scaled) {
    const ptrdiff_t block = columns->scale_block;
    const ptrdiff_t blocks = depth / block;
    for (ptrdiff_t first = 0; first < blocks; first += 4) {
      const ptrdiff_t count = first + 4 <= blocks ? 4 : blocks - first;
      f32x16 scales[4];
      if (count == 4) {
        decode_four_scales(columns, columns->scales + first * 16, scales);
      } else {
        for (ptrdiff_t index = 0; index < count; index++) {
          scales[index] = decode_scales(columns, columns->scales + (first + index) * 16);
        }
      }
      for (ptrdiff_t index = 0; index < count; index++) {
        const ptrdiff_t k = (first + index) * block;
        sum_rows(format, rows, x + k, x_stride, words + k / per_word * 16, block, partial);
#pragma clang loop unroll(full)
        for (int row = 0; row < rows; row++) {
          sums[row] = multiply_add(partial[row], scales[index], sums[row]);
        }
      }
    }
  } else {
    // The k whose sum takes a scale as a whole.
    const ptrdiff_t block = promotion->depth ? promotion->depth : depth;
    ptrdiff_t part = 0;
    for (ptrdiff_t first = 0; first < depth; first += block, part++) {
      const ptrdiff_t count = first + block < depth ? block : depth - first;
      sum_rows(format, rows, x + first, x_stride, words + first / per_word * 16, count, partial);
#pragma clang loop unroll(full)
      for (int row = 0; row < rows; row++) {
        sums[row] = promotion->depth ? promoted(sums[row], partial[row], promotion, part, row, 0)
                                     : sums[row] + partial[row];
      }
    }
  }
#pragma clang loop unroll(full)
  for (int row = 0; row < rows; row++) STORE(c + row * c_stride, sums[row]);
}

BS_INLINE void multiply_rows_of(
  bs_codes_t format, bool scaled, const bs_few_rows_t *few, const bs_columns_t *columns,
  ptrdiff_t depth, const bs_promotion_t *promotion, float *c, ptrdiff_t c_stride
) {
#define BS_CASE(rows)                                                                              \
  case rows:                                                                                       \
    multiply_rows_as(                                                                              \
      format, scaled, rows, few->x, few->x_stride, columns, depth, promotion, c, c_stride);        \
    return;
  switch (few->rows) { BS_CASE(1) BS_CASE(2) BS_CASE(3) BS_CASE(4) }
#undef BS_CASE
}

static void BS_NAMED(multiply_rows)(
  const bs_few_rows_t *few, const bs_columns_t *columns, ptrdiff_t depth,
  const bs_promotion_t *promotion, float *c, ptrdiff_t c_stride
) {
#define BS_CASE(format, scaled)                                                                    \
  case format * 2 + scaled:                                                                        \
    multiply_rows_of(format, scaled, few, columns, depth, promotion, c, c_stride);                 \
    return;
  switch (columns->code_format * 2 + (columns->scale_place == BS_SCALES_BY_OUTPUT)) {
    BS_CASE(BS_CODES_BF16, 0)
    BS_CASE(BS_CODES_E4M3, 0)
    BS_CASE(BS_CODES_E4M3, 1)
    BS_CASE(BS_CODES_E5M2, 0)
    BS_CASE(BS_CODES_E5M2, 1)
    BS_CASE(BS_CODES_E2M1, 0)
    BS_CASE(BS_CODES_E2M1, 1)
  }
#undef BS_CASE
}

// MARK: output

BS_INLINE u16x16 rounded_to_bf16(f32x16 values) {
  const u32x16 quiet = (u32x16)values | 0x400000;
  const i32x16 upper = select16(
    values != values, (i32x16)quiet, (i32x16)rounded_to_upper_half(values));
  return __builtin_convertvector((u32x16)upper >> 16, u16x16);
}

BS_INLINE uint16_t one_rounded_to_bf16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return (uint16_t)(value != value ? bits >> 16 | 0x40 : (bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/// The output of one sum; whole vectors repeat the same operations in the same order.
BS_INLINE void store_one(
  float sum, float row_scale, const bs_output_t *output, ptrdiff_t column, ptrdiff_t place
) {
  float value = sum * row_scale;
  if (output->column_scales) value *= output->column_scales[column];
  if (output->bias) value += output->bias[column];
  switch (output->format) {
  case BS_VALUES_FP32: {
    float *to = (float *)output->values + place;
    *to = output->accumulate ? *to + value : value;
    return;
  }
  case BS_VALUES_BF16: {
    uint16_t *to = (uint16_t *)output->values + place;
    if (output->accumulate) {
      const uint32_t bits = (uint32_t)*to << 16;
      float old;
      memcpy(&old, &bits, sizeof old);
      value += old;
    }
    *to = one_rounded_to_bf16(value);
    return;
  }
  case BS_VALUES_FP16: {
    _Float16 *to = (_Float16 *)output->values + place;
    if (output->accumulate) value += (float)*to;
    *to = (_Float16)value;
    return;
  }
  }
}

/// Sixteen outputs as they are stored or added.
BS_INLINE f32x16 finished(
  const float *sums, float row_scale, const bs_output_t *output, ptrdiff_t column
) {
  f32x16 values = LOAD(f32x16, sums) * row_scale;
  if (output->column_scales) values *= LOAD(f32x16, output->column_scales + column);
  if (output->bias) values += LOAD(f32x16, output->bias + column);
  return values;
}

static void BS_NAMED(store)(
  const float *c, ptrdiff_t c_stride, ptrdiff_t rows, ptrdiff_t columns, const bs_output_t *output,
  ptrdiff_t row, ptrdiff_t column
) {
  const ptrdiff_t width = output->format == BS_VALUES_FP32 ? 4 : 2;
  for (ptrdiff_t r = 0; r < rows; r++) {
    // Rows lie far apart, where no hardware foresees them; eight are stored at a time.
    const char *ahead =
      (const char *)output->values + ((row + r + 8) * output->stride + column) * width;
    for (ptrdiff_t byte = 0; byte < columns * width; byte += 64) {
      __builtin_prefetch(ahead + byte, 1);
    }
    const float row_scale =
      output->row_scales ? output->scale * output->row_scales[row + r] : output->scale;
    const ptrdiff_t place = (row + r) * output->stride + column;
    ptrdiff_t n = 0;
    // A whole line at once, where nothing is added to it.
    const bool lines = output->format == BS_VALUES_BF16 && !output->accumulate;
    for (; lines && n + 32 <= columns; n += 32) {
      const float *sums = c + r * c_stride + n;
      const u16x16 low = rounded_to_bf16(finished(sums, row_scale, output, column + n));
      const u16x16 high = rounded_to_bf16(finished(sums + 16, row_scale, output, column + n + 16));
      const u16x32 line = __builtin_shufflevector(
        low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22,
        23, 24, 25, 26, 27, 28, 29, 30, 31);
      STORE((uint16_t *)output->values + place + n, line);
    }
    for (; n + 16 <= columns; n += 16) {
      f32x16 values = finished(c + r * c_stride + n, row_scale, output, column + n);
      switch (output->format) {
      case BS_VALUES_FP32: {
        float *to = (float *)output->values + place + n;
        STORE(to, output->accumulate ? LOAD(f32x16, to) + values : values);
        break;
      }
      case BS_VALUES_BF16: {
        uint16_t *to = (uint16_t *)output->values + place + n;
        if (output->accumulate) {
          const u32x16 old = __builtin_convertvector(LOAD(u16x16, to), u32x16) << 16;
          values += (f32x16)old;
        }
        STORE(to, rounded_to_bf16(values));
        break;
      }
      case BS_VALUES_FP16: {
        _Float16 *to = (_Float16 *)output->values + place + n;
        if (output->accumulate) values += __builtin_convertvector(LOAD(f16x16, to), f32x16);
        STORE(to, __builtin_convertvector(values, f16x16));
        break;
      }
      }
    }
    for (; n < columns; n++) {
      store_one(c[r * c_stride + n], row_scale, output, column + n, place + n);
    }
  }
}

// MARK: table

static const bs_gemm_t BS_NAMED(table) = {
  .tile_rows = BS_TILE_ROWS,
  .tile_columns = TILE_COLUMNS,
  .pack_words = BS_NAMED(pack_words),
  .decode = BS_NAMED(decode),
  .multiply = BS_NAMED(multiply),
  .multiply_rows = BS_NAMED(multiply_rows),
#if defined(BS_HAS_DIGITS)
  .split_row = split_row,
  .multiply_digits = multiply_digits,
#endif
  .pack_rows = BS_NAMED(pack_rows),
  .decode_rows = BS_NAMED(decode_rows),
  .store = BS_NAMED(store),
};
