// SPDX-License-Identifier: Apache-2.0

// How far codes lie from the values that they stand for.
//
// The numbers are those of `BlockErrors` on every tier: lane `i` adds up the values whose place in their run
// of sixteen is `i`. Squares are summed in FP32 over at most `MEASURED_RUN` values and in Double from run to
// run; a run whose sums come near the ends of FP32's range is summed in Double instead.

enum { MEASURED_RUN = 128 };

typedef struct {
  f64x8 signal[2], error[2];
  i32x16 maximum, saturated, underflowed, non_finite;
  int64_t count;
} errors_t;

BS_INLINE errors_t load_errors(const bs_errors_t *errors) {
  _Static_assert(sizeof(errors_t) >= sizeof(bs_errors_t), "The same fields in the same order");
  errors_t result;
  __builtin_memcpy(&result, errors, sizeof *errors);
  return result;
}

BS_INLINE void store_errors(bs_errors_t *errors, const errors_t *sums) {
  __builtin_memcpy(errors, sums, sizeof *errors);
}

BS_INLINE f64x8 low_half(f32x16 lanes) {
  return __builtin_convertvector(
    __builtin_shufflevector(lanes, lanes, 0, 1, 2, 3, 4, 5, 6, 7), f64x8);
}

BS_INLINE f64x8 high_half(f32x16 lanes) {
  return __builtin_convertvector(
    __builtin_shufflevector(lanes, lanes, 8, 9, 10, 11, 12, 13, 14, 15), f64x8);
}

/// The sums of squares of a run.
typedef struct {
  f32x16 signal, error;
} squares_t;

BS_INLINE void add_squares(squares_t *sums, f32x16 x, f32x16 difference) {
  sums->signal += x * x;
  sums->error += difference * difference;
}

/// Whether no sum has overflown, and the values are so large that squares that have underflown do not count.
BS_INLINE int are_in_range(const squares_t *sums) {
  const i32x16 most = (sums->signal <= 0x1p100f) & (sums->error <= 0x1p100f);
  const i32x16 least = sums->signal >= 0x1p-60f;
  return __builtin_reduce_and(most) != 0 && __builtin_reduce_or(least) != 0;
}

BS_INLINE void add_run(errors_t *sums, const squares_t *run) {
  sums->signal[0] += low_half(run->signal);
  sums->signal[1] += high_half(run->signal);
  sums->error[0] += low_half(run->error);
  sums->error[1] += high_half(run->error);
}

BS_INLINE f32x16 with_tensor_scale(const bs_rule_t *rule, f32x16 values) {
  if (rule->tensor_mode == BS_TENSOR_MULTIPLIER) return values * rule->tensor_scale;
  if (rule->tensor_mode == BS_TENSOR_DIVISOR) return values / rule->tensor_scale;
  return values;
}

/// Counts downwards where a value exceeds what its block has codes for.
BS_INLINE i32x16 count_clipped(i32x16 count, f32x16 x, float greatest) {
  const f32x16 magnitude = (f32x16)((i32x16)x & 0x7FFFFFFF);
#if defined(BS_AVX512)
  const __mmask16 lanes =
    _mm512_cmp_ps_mask((__m512)magnitude, _mm512_set1_ps(greatest), _CMP_GT_OQ);
  return (i32x16)_mm512_mask_add_epi32(
    (__m512i)count, lanes, (__m512i)count, _mm512_set1_epi32(-1));
#else
  return count + (magnitude > greatest);
#endif
}

/// Counts downwards where a value that is not zero becomes zero.
BS_INLINE i32x16 count_lost(i32x16 count, f32x16 x, f32x16 y) {
#if defined(BS_AVX512)
  const __m512 zero = _mm512_setzero_ps();
  const __mmask16 lanes = _mm512_mask_cmp_ps_mask(
    _mm512_cmp_ps_mask((__m512)y, zero, _CMP_EQ_OQ), (__m512)x, zero, _CMP_NEQ_UQ);
  return (i32x16)_mm512_mask_add_epi32(
    (__m512i)count, lanes, (__m512i)count, _mm512_set1_epi32(-1));
#else
  return count + ((y == 0) & ~(x == 0));
#endif
}

/// The largest values that blocks of these scales have codes for, and a millionth more, by which a value may
/// exceed them because the scale was rounded to FP32.
BS_INLINE f32x16 greatest_decoded(int element, const bs_rule_t *rule, f32x16 scales) {
  const float greatest = element == BS_E2M1 ? 6 : element == BS_E4M3 ? 448 : 57344;
  return with_tensor_scale(rule, scales * greatest) * 0x1.00001p0f;
}

/// The nibbles of eight bytes; above their four bits there is no meaning.
BS_INLINE u32x16 nibbles(const uint8_t *codes) {
  uint32_t words[2];
  __builtin_memcpy(words, codes, 8);
#if defined(BS_AVX512)
  const u32x16 both = (u32x16)_mm512_mask_set1_epi32(
    _mm512_set1_epi32((int)words[0]), 0xFF00, (int)words[1]);
#else
  const u32x16 both = {words[0], words[0], words[0], words[0], words[0], words[0], words[0], words[0],
                       words[1], words[1], words[1], words[1], words[1], words[1], words[1], words[1]};
#endif
  const u32x16 places = {0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28};
  return both >> places;
}

static const float unit_values[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};

/// Values of E2M1 codes by a table of eight.
BS_INLINE f32x16 e2m1_values(const float *table, u32x16 codes) {
  const f32x16 magnitudes = lookup8(table, (i32x16)(codes & 7));
  return (f32x16)((u32x16)magnitudes | (codes & 8) << 28);
}

/// The codes of up to sixteen values, those beyond zero.
BS_INLINE const uint8_t *some_codes(
  int element, const uint8_t *codes, size_t count, uint8_t *room
) {
  if (count >= 16) return codes;
  copy_few(room, codes, element == BS_E2M1 ? (count + 1) / 2 : count);
  return room;
}

/// Values of 8-bit codes of which none is NaN; of E4M3, 2^-8 times as large.
BS_INLINE f32x16 finite_float8(int element, u8x16 codes) {
  const u16x16 upper = __builtin_convertvector(codes, u16x16) << 8;
  if (element == BS_E5M2) return __builtin_convertvector((f16x16)upper, f32x16);
  // Moved below the sign, which the shift has doubled.
  const u16x16 halves = (u16x16)((i16x16)upper >> 1) & 0xBFFF;
  return __builtin_convertvector((f16x16)halves, f32x16);
}

/// Measures a run of any values.
static __attribute__((noinline)) void BS_NAME(bs_measure_exactly)(
  const bs_rule_t *rule, const uint8_t *values, size_t count, size_t block, const float *scales,
  const uint8_t *codes, errors_t *sums
) {
  const int element = rule->element;
  squares_t run = {{0}, {0}};
  f64x8 signal[2] = {{0}, {0}}, error[2] = {{0}, {0}};
  for (size_t first = 0; first < count; first += block) {
    const size_t length = count - first < block ? count - first : block;
    const float scale = *scales++;
    const float greatest = greatest_decoded(element, rule, splat(scale))[0];
    for (size_t index = 0; index < length; index += 16) {
      const size_t left = length - index < 16 ? length - index : 16;
      const f32x16 reference =
        load_some(rule->source, values + width_of(rule->source) * (first + index), left);
      uint8_t room[16] = {0};
      const uint8_t *from = some_codes(
        element, codes + (element == BS_E2M1 ? (first + index) / 2 : first + index), left, room);
      f32x16 candidate =
        element == BS_E2M1
        ? e2m1_values(unit_values, nibbles(from))
        : float8_as_float(element == BS_E4M3 ? BS_E4M3 : BS_E5M2, LOAD(u8x16, from));
      candidate = with_tensor_scale(rule, candidate * scale);
      // Lanes beyond the last value hold zero, which a NaN scale decodes to NaN.
      const i32x16 lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
      candidate = (f32x16)((i32x16)candidate & (lanes < (int32_t)left));
      // A NaN or an infinity minus itself is NaN.
      const f32x16 probe = (reference - reference) + (candidate - candidate);
      const i32x16 non_finite = probe != probe;
      const f32x16 x = (f32x16)((i32x16)reference & ~non_finite);
      const f32x16 y = (f32x16)((i32x16)candidate & ~non_finite);
      const f32x16 difference = y - x;
      add_squares(&run, x, difference);
      const f64x8 halves[4] = {low_half(x), high_half(x), low_half(difference), high_half(difference)};
      for (int half = 0; half < 2; half++) {
        signal[half] += halves[half] * halves[half];
        error[half] += halves[2 + half] * halves[2 + half];
      }
      sums->maximum = __builtin_elementwise_max(sums->maximum, (i32x16)difference & 0x7FFFFFFF);
      // With a scale of zero nothing is clipped.
      if (greatest > 0) sums->saturated = count_clipped(sums->saturated, x, greatest);
      sums->underflowed = count_lost(sums->underflowed, x, y);
      sums->non_finite += non_finite;
    }
  }
  if (are_in_range(&run)) {
    add_run(sums, &run);
    return;
  }
  for (int half = 0; half < 2; half++) {
    sums->signal[half] += signal[half];
    sums->error[half] += error[half];
  }
}

/// Measures a run of usual values, of which none has the code of NaN; returns whether it was one, and otherwise leaves the sums as they are.
BS_INLINE int measure_usual(
  int source, int element, const bs_rule_t *rule, const uint8_t *values, size_t count,
  size_t block, const float *scales, const uint8_t *codes, errors_t *sums
) {
  // At most eight, of sixteen values each.
  const size_t blocks = (count + block - 1) / block;
  f32x16 all_scales = splat(scales[0]);
  for (size_t index = 1; index < blocks; index++) all_scales[index] = scales[index];
  const f32x16 greatest = greatest_decoded(element, rule, all_scales);
  // Nothing that is decoded comes near the ends of FP32's range.
  const i32x16 are_usual = (greatest > 0x1p-90f) & (greatest < 0x1p100f) & (all_scales > 0x1p-90f)
    & (all_scales < 0x1p100f);
  if (__builtin_expect(__builtin_reduce_and(are_usual) == 0, 0)) return 0;
  float limits[16];
  STORE(limits, greatest);
  squares_t run = {{0}, {0}};
  i32x16 maximum = sums->maximum, saturated = sums->saturated, underflowed = sums->underflowed;
  for (size_t first = 0, number = 0; first < count; first += block, number++) {
    const size_t length = count - first < block ? count - first : block;
    const float scale = scales[number];
#if defined(BS_AVX512)
    const f32x16 signed_units = {
      0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
    const f32x16 table = with_tensor_scale(rule, signed_units * scale);
#else
    const f32x16 units = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    const f32x16 all = with_tensor_scale(rule, units * scale);
    float table[8];
    __builtin_memcpy(table, &all, sizeof table);
#endif
    for (size_t index = 0; index < length; index += 16) {
      const size_t left = length - index;
      const f32x16 x = load_some(source, values + width_of(source) * (first + index), left);
      uint8_t room[16] = {0};
      const uint8_t *from = some_codes(
        element, codes + (element == BS_E2M1 ? (first + index) / 2 : first + index), left, room);
      f32x16 y;
      if (element == BS_E2M1) {
#if defined(BS_AVX512)
        y = (f32x16)_mm512_permutexvar_ps((__m512i)nibbles(from), (__m512)table);
#else
        y = e2m1_values(table, nibbles(from));
#endif
      } else {
        y = with_tensor_scale(
          rule,
          finite_float8(element, LOAD(u8x16, from)) * (element == BS_E4M3 ? scale * 0x1p8f : scale));
      }
      const f32x16 difference = y - x;
      add_squares(&run, x, difference);
      maximum = __builtin_elementwise_max(maximum, (i32x16)difference & 0x7FFFFFFF);
      saturated = count_clipped(saturated, x, limits[number]);
      underflowed = count_lost(underflowed, x, y);
    }
  }
  if (__builtin_expect(!are_in_range(&run), 0)) return 0;
  add_run(sums, &run);
  sums->maximum = maximum;
  sums->saturated = saturated;
  sums->underflowed = underflowed;
  return 1;
}

BS_INLINE void measure_row(
  int source, int element, const bs_rule_t *rule, const uint8_t *values, size_t count,
  size_t block, const float *scales, const uint8_t *codes, errors_t *sums
) {
  // Whole blocks, or parts of one.
  const int is_narrow = block < MEASURED_RUN;
  const size_t run = is_narrow ? MEASURED_RUN / block * block : MEASURED_RUN;
  const size_t unit = is_narrow ? run : block;
  for (size_t first = 0; first < count; first += unit) {
    const size_t end = count - first < unit ? count : first + unit;
    for (size_t at = first; at < end; at += run) {
      const size_t length = end - at < run ? end - at : run;
      const size_t part = is_narrow ? block : run;
      const uint8_t *from = values + width_of(source) * at;
      const uint8_t *to = codes + (element == BS_E2M1 ? at / 2 : at);
      const float *scale = scales + at / block;
      // A constant where the block is one, too.
      const int is_usual =
        length == run
        ? measure_usual(source, element, rule, from, run, part, scale, to, sums)
        : measure_usual(source, element, rule, from, length, part, scale, to, sums);
      if (!is_usual) BS_NAME(bs_measure_exactly)(rule, from, length, part, scale, to, sums);
    }
  }
}

BS_INLINE void measure(
  int source, int element, const bs_rule_t *rule, const uint8_t *values, size_t stride,
  size_t rows, size_t count, size_t block, const float *scales, const uint8_t *codes,
  size_t code_stride, bs_errors_t *errors
) {
  // Copies, which stores cannot change.
  const bs_rule_t constant = *rule;
  errors_t sums = load_errors(errors);
  for (size_t row = 0; row < rows; row++) {
    measure_row(
      source, element, &constant, values + stride * row, count, block, scales,
      codes + code_stride * row, &sums);
  }
  sums.count += (int64_t)(rows * count);
  store_errors(errors, &sums);
}

static void BS_NAME(bs_measure)(
  const bs_rule_t *rule, const void *values, size_t stride, size_t rows, size_t count,
  size_t block, const float *scales, const uint8_t *codes, size_t code_stride, bs_errors_t *errors
) {
#define RUN(source, element, block)                                                               \
  measure(                                                                                        \
    source, element, rule, values, stride, rows, count, block, scales, codes, code_stride, errors)
#define CASE(source, element)                                                                     \
  case source * 4 + element: RUN(source, element, block); break;
  switch (rule->source * 4 + rule->element) {
  case BS_BFLOAT16 * 4 + BS_E2M1:
    switch (block) {
    case 16: RUN(BS_BFLOAT16, BS_E2M1, 16); break;
    case 32: RUN(BS_BFLOAT16, BS_E2M1, 32); break;
    default: RUN(BS_BFLOAT16, BS_E2M1, block);
    }
    break;
  case BS_BFLOAT16 * 4 + BS_E4M3:
    switch (block) {
    case 32: RUN(BS_BFLOAT16, BS_E4M3, 32); break;
    case 128: RUN(BS_BFLOAT16, BS_E4M3, 128); break;
    default: RUN(BS_BFLOAT16, BS_E4M3, block);
    }
    break;
    CASE(BS_FLOAT32, BS_E4M3)
    CASE(BS_FLOAT32, BS_E5M2)
    CASE(BS_FLOAT32, BS_E2M1)
    CASE(BS_BFLOAT16, BS_E5M2)
    CASE(BS_FLOAT16, BS_E4M3)
    CASE(BS_FLOAT16, BS_E5M2)
    CASE(BS_FLOAT16, BS_E2M1)
  }
#undef CASE
#undef RUN
}
