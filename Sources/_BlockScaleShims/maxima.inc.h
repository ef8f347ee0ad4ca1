// SPDX-License-Identifier: Apache-2.0

// The largest magnitudes of runs, blocks and columns. Bits without sign order like magnitudes, with
// infinity and NaN above all finite values, so integers are compared.

/// How many bytes ahead memory is fetched in long runs.
enum { MAXIMUM_AHEAD = 4096 };

BS_INLINE uint32_t maximum16(const uint8_t *values, size_t count) {
  u16x32 most = {0}, more = {0};
  size_t index = 0;
  for (; index + 64 <= count; index += 64) {
    if (count > MAXIMUM_AHEAD) {
      // Memory on its way, also beyond the end of one page.
      __builtin_prefetch(values + 2 * index + MAXIMUM_AHEAD);
      __builtin_prefetch(values + 2 * index + MAXIMUM_AHEAD + 64);
    }
    most = __builtin_elementwise_max(most, LOAD(u16x32, values + 2 * index) & 0x7FFF);
    more = __builtin_elementwise_max(more, LOAD(u16x32, values + 2 * index + 64) & 0x7FFF);
  }
  most = __builtin_elementwise_max(most, more);
  for (; index + 32 <= count; index += 32) {
    most = __builtin_elementwise_max(most, LOAD(u16x32, values + 2 * index) & 0x7FFF);
  }
  if (index < count) {
    u16x32 rest = {0};
    copy_few(&rest, values + 2 * index, 2 * (count - index));
    most = __builtin_elementwise_max(most, rest & 0x7FFF);
  }
  return __builtin_reduce_max(most);
}

BS_INLINE uint32_t maximum_of_sixteen(const uint8_t *values) {
  return __builtin_reduce_max(LOAD(u16x16, values) & 0x7FFF);
}

/// The maxima of sixteen adjacent blocks of sixteen values.
BS_INLINE void maxima_of_sixteens(const uint8_t *values, uint32_t *maxima) {
  // Quarters of a register are halves of a block: first the halves of four blocks are compared, then
  // pairs of registers are interleaved, so that each step has half as many words of twice as many
  // blocks.
  u16x32 folded[4];
#pragma clang loop unroll(full)
  for (int four = 0; four < 4; four++) {
    const u16x32 a = LOAD(u16x32, values + 128 * four) & 0x7FFF;
    const u16x32 b = LOAD(u16x32, values + 128 * four + 64) & 0x7FFF;
    folded[four] = __builtin_elementwise_max(
      __builtin_shufflevector(
        a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23, 32, 33, 34, 35, 36, 37, 38, 39,
        48, 49, 50, 51, 52, 53, 54, 55),
      __builtin_shufflevector(
        a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31, 40, 41, 42, 43, 44, 45,
        46, 47, 56, 57, 58, 59, 60, 61, 62, 63));
  }
  u16x32 pairs[2];
#pragma clang loop unroll(full)
  for (int pair = 0; pair < 2; pair++) {
    const u16x32 a = folded[2 * pair], b = folded[2 * pair + 1];
    pairs[pair] = __builtin_elementwise_max(
      __builtin_shufflevector(
        a, b, 0, 32, 1, 33, 2, 34, 3, 35, 8, 40, 9, 41, 10, 42, 11, 43, 16, 48, 17, 49, 18, 50, 19,
        51, 24, 56, 25, 57, 26, 58, 27, 59),
      __builtin_shufflevector(
        a, b, 4, 36, 5, 37, 6, 38, 7, 39, 12, 44, 13, 45, 14, 46, 15, 47, 20, 52, 21, 53, 22, 54, 23,
        55, 28, 60, 29, 61, 30, 62, 31, 63));
  }
  const u32x16 a = (u32x16)pairs[0], b = (u32x16)pairs[1];
  const u16x32 quarters = __builtin_elementwise_max(
    (u16x32)__builtin_shufflevector(
      a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29),
    (u16x32)__builtin_shufflevector(
      a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31));
  const u16x32 all = __builtin_elementwise_max(
    quarters,
    __builtin_shufflevector(
      quarters, quarters, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11, 20, 21, 22, 23, 16,
      17, 18, 19, 28, 29, 30, 31, 24, 25, 26, 27));
  // Quarter j of the register holds in its words 0 to 3 the maxima of blocks j, 4 + j, 8 + j and 12 + j.
  const u16x16 ordered = __builtin_shufflevector(
    all, all, 0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27);
  STORE(maxima, __builtin_convertvector(ordered, u32x16));
}

BS_INLINE uint32_t maximum_of_32(const uint8_t *values) {
  return __builtin_reduce_max(__builtin_elementwise_max(
    LOAD(u16x16, values) & 0x7FFF, LOAD(u16x16, values + 32) & 0x7FFF));
}

BS_INLINE uint32_t maximum32(const uint8_t *values, size_t count) {
  u32x16 most = {0}, more = {0};
  size_t index = 0;
  for (; index + 32 <= count; index += 32) {
    most = __builtin_elementwise_max(most, LOAD(u32x16, values + 4 * index) & 0x7FFFFFFF);
    more = __builtin_elementwise_max(more, LOAD(u32x16, values + 4 * index + 64) & 0x7FFFFFFF);
  }
  most = __builtin_elementwise_max(most, more);
  for (; index < count; index += 16) {
    u32x16 rest = {0};
    const size_t left = count - index;
    if (left >= 16) {
      rest = LOAD(u32x16, values + 4 * index);
    } else {
      copy_few(&rest, values + 4 * index, 4 * left);
    }
    most = __builtin_elementwise_max(most, rest & 0x7FFFFFFF);
  }
  return __builtin_reduce_max(most);
}

static uint32_t BS_NAME(bs_maximum)(size_t width, const void *values, size_t count) {
  return width == 2 ? maximum16(values, count) : maximum32(values, count);
}

static void BS_NAME(bs_block_maxima)(
  size_t width, const void *values, size_t count, size_t block, uint32_t *maxima
) {
  const uint8_t *bytes = values;
  size_t index = 0;
  if (width == 2 && block == 16) {
    for (; index + 256 <= count; index += 256, maxima += 16) {
      maxima_of_sixteens(bytes + 2 * index, maxima);
    }
    for (; index + 16 <= count; index += 16) *maxima++ = maximum_of_sixteen(bytes + 2 * index);
  } else if (width == 2 && block == 32) {
    for (; index + 32 <= count; index += 32) *maxima++ = maximum_of_32(bytes + 2 * index);
  } else if (width == 2 && block == 128) {
    for (; index + 128 <= count; index += 128) *maxima++ = maximum16(bytes + 2 * index, 128);
  } else if (width == 4 && block == 16) {
    for (; index + 16 <= count; index += 16) *maxima++ = maximum32(bytes + 4 * index, 16);
  }
  for (; index < count; index += block) {
    const size_t length = count - index < block ? count - index : block;
    *maxima++ = BS_NAME(bs_maximum)(width, bytes + width * index, length);
  }
}

static void BS_NAME(bs_column_maxima)(
  size_t width, const void *values, size_t stride, size_t rows, size_t columns, void *maxima
) {
  const uint8_t *bytes = values;
  uint8_t *most = maxima;
  const size_t size = width * columns;
  const u16x32 mask16 = (u16x32){0} + 0x7FFF;
  const u32x16 mask32 = (u32x16){0} + 0x7FFFFFFF;
  size_t row = 0;
  // Two rows at a time, so that the maxima are read and written half as often.
  for (; row < rows; row += 2) {
    const uint8_t *first = bytes + row * stride;
    const uint8_t *second = row + 1 < rows ? first + stride : first;
    size_t offset = 0;
    if (row + 3 < rows) {
      // Rows lie on pages of their own, which no hardware foresees.
      for (size_t line = 0; line < size; line += 64) {
        __builtin_prefetch(first + 2 * stride + line);
        __builtin_prefetch(first + 3 * stride + line);
      }
    }
    if (width == 2) {
      for (; offset + 64 <= size; offset += 64) {
        const u16x32 larger = __builtin_elementwise_max(
          LOAD(u16x32, first + offset) & mask16, LOAD(u16x32, second + offset) & mask16);
        STORE(most + offset, __builtin_elementwise_max(LOAD(u16x32, most + offset), larger));
      }
      for (; offset < size; offset += 2) {
        uint16_t a = LOAD(uint16_t, first + offset) & 0x7FFF;
        uint16_t b = LOAD(uint16_t, second + offset) & 0x7FFF;
        uint16_t c = LOAD(uint16_t, most + offset);
        if (b > a) a = b;
        if (c > a) a = c;
        STORE(most + offset, a);
      }
    } else {
      for (; offset + 64 <= size; offset += 64) {
        const u32x16 larger = __builtin_elementwise_max(
          LOAD(u32x16, first + offset) & mask32, LOAD(u32x16, second + offset) & mask32);
        STORE(most + offset, __builtin_elementwise_max(LOAD(u32x16, most + offset), larger));
      }
      for (; offset < size; offset += 4) {
        uint32_t a = LOAD(uint32_t, first + offset) & 0x7FFFFFFF;
        uint32_t b = LOAD(uint32_t, second + offset) & 0x7FFFFFFF;
        uint32_t c = LOAD(uint32_t, most + offset);
        if (b > a) a = b;
        if (c > a) a = c;
        STORE(most + offset, a);
      }
    }
  }
}
