// SPDX-License-Identifier: Apache-2.0

// Values and factors to codes.

/// What differs between the two 8-bit formats: the significand bits of a float that are dropped, the
/// exponent field of the smallest normal value, and the largest value.
enum { E4M3_DROPPED = 20, E4M3_LEAST_FIELD = 127 - 6 };
enum { E5M2_DROPPED = 21, E5M2_LEAST_FIELD = 127 - 14 };
enum { E4M3_GREATEST = 0x43E00000, E5M2_GREATEST = 0x47600000 };

/// Codes without sign; of NaN, those of the largest value.
BS_INLINE i32x16 float8_magnitudes(int element, f32x16 scaled) {
  const int dropped = element == BS_E4M3 ? E4M3_DROPPED : E5M2_DROPPED;
  const int least = element == BS_E4M3 ? E4M3_LEAST_FIELD : E5M2_LEAST_FIELD;
  const i32x16 greatest = splat_int(element == BS_E4M3 ? E4M3_GREATEST : E5M2_GREATEST);
  const i32x16 bits =
    __builtin_elementwise_min((i32x16)scaled & 0x7FFFFFFF, greatest);
  // A power of two whose last place is worth the last place of a code of this exponent: adding it
  // rounds half to even. Below the smallest normal value all codes are of the same exponent.
  const i32x16 exponent =
    __builtin_elementwise_max(bits & 0x7F800000, splat_int(least << 23));
  const i32x16 aligner = exponent + (dropped << 23);
  const i32x16 sum = (i32x16)((f32x16)bits + (f32x16)aligner);
  // The significand, 8 to 16 or 4 to 8 for normal values, carries into the exponent by itself.
  return sum - aligner + (exponent >> dropped) - ((int32_t)((uint32_t)least << 23) >> dropped);
}

BS_INLINE i32x16 float8_nan(f32x16 scaled, i32x16 magnitudes) {
  return select16(scaled != scaled, splat_int(0x7F), magnitudes);
}

/// Gives codes the signs of their values.
BS_INLINE i32x16 with_signs(int zero_sign, i32x16 magnitudes, f32x16 values, int32_t sign_bit) {
  i32x16 signs = (i32x16)values >> 31 & sign_bit;
  const i32x16 is_zero = values == 0;
  if (zero_sign == BS_ZERO_SIGN_KEPT_UNLESS_INPUT_IS_ZERO) signs &= ~is_zero;
  if (zero_sign == BS_ZERO_SIGN_POSITIVE) signs &= ~(magnitudes == 0);
  if (zero_sign == BS_ZERO_SIGN_NEGATIVE_FOR_ZERO_INPUT) signs |= is_zero & sign_bit;
  return magnitudes | signs;
}

/// How a factor is applied; see `bs_factor_t`.
enum { MULTIPLY, DIVIDE, REFINE };

BS_INLINE int mode_of(bs_factor_t factor) {
  return factor.divisor == 0 ? MULTIPLY : factor.multiplier == 0 ? DIVIDE : REFINE;
}

BS_INLINE f32x16 scaled_by(int mode, f32x16 values, f32x16 multiplier, f32x16 divisor) {
  if (mode == MULTIPLY) return values * multiplier;
  if (mode == DIVIDE) return values / divisor;
  // Markstein's division. The first quotient is within two units of the last place, the second within
  // one, and then a last correction by the exact remainder rounds correctly, if the reciprocal does.
  const f32x16 first = values * multiplier;
  const f32x16 remainder = __builtin_elementwise_fma(-first, divisor, values);
  const f32x16 second = __builtin_elementwise_fma(remainder, multiplier, first);
  const f32x16 last = __builtin_elementwise_fma(-second, divisor, values);
  return __builtin_elementwise_fma(last, multiplier, second);
}

/// Sixteen codes.
BS_INLINE i32x16 encode16(
  int element, int zero_sign, const bs_rule_t *rule, f32x16 scaled, f32x16 values
) {
  if (element == BS_E2M1) {
    const f32x16 magnitude = (f32x16)((i32x16)scaled & 0x7FFFFFFF);
    i32x16 steps = {0};
    for (int index = 0; index < 7; index++) steps -= magnitude > rule->thresholds[index];
    return with_signs(zero_sign, steps, values, 0x8);
  }
  const i32x16 magnitudes = float8_magnitudes(element, scaled);
  return with_signs(zero_sign, float8_nan(scaled, magnitudes), values, 0x80);
}

/// Writes the first `count` of sixteen codes, the first of them at the beginning of a byte.
BS_INLINE void store_codes(int element, uint8_t *address, i32x16 codes, size_t count) {
  u8x16 bytes;
  if (element == BS_E2M1) {
    if (count < 16) {
      const i32x16 lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
      codes &= lanes < (int32_t)count;
    }
    // Odd lanes move beside even ones.
    const u32x16 pairs =
      (u32x16)codes | (u32x16)__builtin_shufflevector(
                        codes, codes, 1, 1, 3, 3, 5, 5, 7, 7, 9, 9, 11, 11, 13, 13, 15, 15) << 4;
    const u8x16 all = __builtin_convertvector(pairs, u8x16);
    const u8x8 even = __builtin_shufflevector(all, all, 0, 2, 4, 6, 8, 10, 12, 14);
    if (count >= 16) {
      STORE(address, even);
    } else {
      copy_few(address, &even, (count + 1) / 2);
    }
    return;
  }
  bytes = low_bytes(codes);
  if (count >= 16) {
    STORE(address, bytes);
  } else {
    copy_few(address, &bytes, count);
  }
}

BS_INLINE size_t code_bytes(int element, size_t count) {
  return element == BS_E2M1 ? count / 2 : count;
}

/// One block. All arguments but the last six are constants where this is used on a quick path.
BS_INLINE void encode_block(
  int source, int element, int zero_sign, int intermediate, int mode, const bs_rule_t *rule,
  const uint8_t *values, size_t count, bs_factor_t factor, uint8_t *codes
) {
  const f32x16 multiplier = splat(factor.multiplier), divisor = splat(factor.divisor);
  const size_t width = width_of(source);
  size_t index = 0;
  const uint32_t ahead = rule->ahead;
  if (element != BS_E2M1) {
    for (; index + 64 <= count; index += 64) {
      if (ahead) {
        const uint8_t *next = values + width * index + ahead;
        for (size_t line = 0; line < 64 * width; line += 64) __builtin_prefetch(next + line);
      }
      i32x16 parts[4];
      for (int part = 0; part < 4; part++) {
        const f32x16 x = load_values(source, values + width * (index + 16 * part));
        const f32x16 scaled =
          rounded(intermediate, scaled_by(mode, x, multiplier, divisor));
        parts[part] = encode16(element, zero_sign, rule, scaled, x);
      }
      store64(codes + index, parts[0], parts[1], parts[2], parts[3]);
    }
  }
  for (; index < count; index += 16) {
    const f32x16 x = load_some(source, values + width * index, count - index);
    const f32x16 scaled = rounded(intermediate, scaled_by(mode, x, multiplier, divisor));
    store_codes(
      element, codes + code_bytes(element, index),
      encode16(element, zero_sign, rule, scaled, x), count - index);
  }
}

/// One block whose factor says how it is applied.
BS_INLINE void encode_any(
  int source, int element, int zero_sign, int intermediate, const bs_rule_t *rule,
  const uint8_t *values, size_t count, bs_factor_t factor, uint8_t *codes
) {
  switch (mode_of(factor)) {
  case MULTIPLY:
    encode_block(
      source, element, zero_sign, intermediate, MULTIPLY, rule, values, count, factor, codes);
    break;
  case REFINE:
    encode_block(
      source, element, zero_sign, intermediate, REFINE, rule, values, count, factor, codes);
    break;
  default:
    encode_block(
      source, element, zero_sign, intermediate, DIVIDE, rule, values, count, factor, codes);
  }
}

#include "tables.inc.h"

BS_INLINE void encode_run(
  int source, int element, int zero_sign, int intermediate, const bs_rule_t *rule,
  const uint8_t *values, size_t count, size_t block, const bs_factor_t *factors, uint8_t *codes
) {
  for (size_t first = 0; first < count; first += block) {
    const size_t length = count - first < block ? count - first : block;
    const uint8_t *from = values + width_of(source) * first;
    uint8_t *to = codes + code_bytes(element, first);
    const bs_factor_t *factor = factors++;
#if defined(BS_AVX512)
    if (source == BS_BFLOAT16 && element == BS_E4M3 && factor->table) {
      encode_block_by_table(rule, from, length, factor, to);
      continue;
    }
#endif
    encode_any(source, element, zero_sign, intermediate, rule, from, length, *factor, to);
  }
}

static void BS_NAME(bs_encode)(
  const bs_rule_t *rule, const void *values, size_t count, size_t block,
  const bs_factor_t *factors, uint8_t *codes
) {
#define CASE(source, element)                                                                     \
  case source * 4 + element:                                                                      \
    if (is_plain) {                                                                               \
      encode_run(                                                                                 \
        source, element, BS_ZERO_SIGN_KEPT, BS_FLOAT32, rule, values, count, block, factors,      \
        codes);                                                                                   \
    } else {                                                                                      \
      encode_run(                                                                                 \
        source, element, rule->zero_sign, rule->intermediate, rule, values, count, block,         \
        factors, codes);                                                                          \
    }                                                                                             \
    break;
  const int is_plain =
    rule->zero_sign == BS_ZERO_SIGN_KEPT && rule->intermediate == BS_FLOAT32;
  switch (rule->source * 4 + rule->element) {
    CASE(BS_FLOAT32, BS_E4M3)
    CASE(BS_FLOAT32, BS_E5M2)
    CASE(BS_FLOAT32, BS_E2M1)
    CASE(BS_BFLOAT16, BS_E4M3)
    CASE(BS_BFLOAT16, BS_E5M2)
    CASE(BS_BFLOAT16, BS_E2M1)
    CASE(BS_FLOAT16, BS_E4M3)
    CASE(BS_FLOAT16, BS_E5M2)
    CASE(BS_FLOAT16, BS_E2M1)
  }
#undef CASE
}
