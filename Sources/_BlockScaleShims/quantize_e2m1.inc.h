// SPDX-License-Identifier: Apache-2.0

// E2M1 from 16-bit values, in one pass over each block.
//
// Sixteen-bit values have 32768 magnitudes. So the thresholds of a block, divided or multiplied by its
// factor, are themselves magnitudes, and codes come from comparing integers: no conversion, no product
// and no rounding, whatever the recipe. The thresholds depend on the block's maximum alone and are
// looked up by it.

BS_INLINE u16x16 load_words(const uint16_t *values, size_t count) {
  if (count >= 16) return LOAD(u16x16, values);
  u16x16 result = {0};
  __builtin_memcpy(&result, values, 2 * count);
  return result;
}

BS_INLINE u16x16 threshold(const bs_e2m1_entry_t *entry, int index) {
  // Broadcasts of whole words need no shuffle.
  const uint32_t pair = entry->thresholds[index];
  return (u16x16)(u32x8){pair, pair, pair, pair, pair, pair, pair, pair};
}

/// The magnitudes of sixteen codes.
BS_INLINE u16x16 e2m1_magnitudes(const bs_e2m1_entry_t *entry, u16x16 bits) {
  i16x16 count = {0};
  for (int index = 0; index < 7; index++) {
    count -= (i16x16)bits > (i16x16)threshold(entry, index);
  }
  return (u16x16)count;
}

BS_INLINE u16x16 e2m1_signs(int zero_sign, u16x16 codes, u16x16 values, u16x16 bits) {
  u16x16 signs = values >> 12 & 8;
  if (zero_sign == BS_ZERO_SIGN_KEPT_UNLESS_INPUT_IS_ZERO) signs &= (u16x16)(bits != 0);
  if (zero_sign == BS_ZERO_SIGN_POSITIVE) signs &= (u16x16)(codes != 0);
  if (zero_sign == BS_ZERO_SIGN_NEGATIVE_FOR_ZERO_INPUT) signs |= (u16x16)(bits == 0) & 8;
  return signs;
}

/// Eight bytes of sixteen codes.
BS_INLINE u8x8 packed_nibbles(u16x16 codes) {
  const u32x8 pairs = (u32x8)codes;
  return __builtin_convertvector(pairs | pairs >> 12, u8x8);
}

BS_INLINE size_t quantize_e2m1(
  int source, int zero_sign, int measures, const uint16_t *values, size_t count, size_t block,
  const bs_e2m1_table_t *table, uint8_t *codes, uint8_t *scales, bs_errors_t *errors
) {
  errors_t sums;
  if (measures) sums = load_errors(errors);
  size_t done = 0;
  for (size_t first = 0; first < count; first += block, done++) {
    const size_t length = count - first < block ? count - first : block;
    uint32_t maximum;
    if (block == 16 && length == 16) {
      maximum = maximum_of_sixteen((const uint8_t *)(values + first));
    } else {
      maximum = maximum16((const uint8_t *)(values + first), length);
    }
    const uint32_t scale = table->scales[maximum];
    if (scale == 0) break;
    scales[done] = (uint8_t)~scale;
    const bs_e2m1_entry_t *entry = &table->entries[maximum];
    for (size_t index = 0; index < length; index += 16) {
      const size_t left = length - index < 16 ? length - index : 16;
      const u16x16 x = load_words(values + first + index, left);
      const u16x16 bits = x & 0x7FFF;
      const u16x16 magnitudes = e2m1_magnitudes(entry, bits);
      u16x16 signed_codes = magnitudes | e2m1_signs(zero_sign, magnitudes, x, bits);
      uint8_t *address = codes + (first + index) / 2;
      if (left == 16) {
        STORE(address, packed_nibbles(signed_codes));
      } else {
        const i16x16 lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
        signed_codes &= (u16x16)(lanes < (int16_t)left);
        const u8x8 bytes = packed_nibbles(signed_codes);
        __builtin_memcpy(address, &bytes, (left + 1) / 2);
      }
      if (measures) {
        const f32x16 reference = load_values(source, &x);
        const f32x16 unsigned_values =
          lookup8(entry->values, __builtin_convertvector(magnitudes, i32x16));
        const i32x16 decoded =
          (i32x16)unsigned_values | ((i32x16)reference & INT32_MIN);
        const i16x16 clipped = (i16x16)bits > (i16x16)threshold(entry, 7);
        add_errors(
          &sums, reference, (f32x16)decoded, __builtin_convertvector(clipped, i32x16), left);
      }
    }
  }
  if (measures) store_errors(errors, &sums);
  return done;
}

static size_t BS_NAME(bs_quantize_e2m1)(
  const bs_rule_t *rule, const uint16_t *values, size_t count, size_t block,
  const bs_e2m1_table_t *table, uint8_t *codes, uint8_t *scales, bs_errors_t *errors
) {
#define RUN(source, zero_sign, measures)                                                          \
  quantize_e2m1(source, zero_sign, measures, values, count, block, table, codes, scales, errors)
  if (errors) {
    return rule->source == BS_FLOAT16 ? RUN(BS_FLOAT16, rule->zero_sign, 1)
                                      : RUN(BS_BFLOAT16, rule->zero_sign, 1);
  }
  // Without errors the values are only bits, whatever their format.
  if (block == 16) {
    block = 16;
    switch (rule->zero_sign) {
    case BS_ZERO_SIGN_KEPT: return RUN(BS_BFLOAT16, BS_ZERO_SIGN_KEPT, 0);
    case BS_ZERO_SIGN_KEPT_UNLESS_INPUT_IS_ZERO:
      return RUN(BS_BFLOAT16, BS_ZERO_SIGN_KEPT_UNLESS_INPUT_IS_ZERO, 0);
    }
  }
  return RUN(BS_BFLOAT16, rule->zero_sign, 0);
#undef RUN
}
