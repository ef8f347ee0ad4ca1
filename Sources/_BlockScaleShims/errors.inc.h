// SPDX-License-Identifier: Apache-2.0

// Error sums in the order of `BlockErrors`, whose numbers they equal on every tier: lane `i` adds up
// the values whose place in their run of sixteen is `i`.

typedef struct {
  f64x8 signal[2], error[2];
  i32x16 maximum, saturated, underflowed, non_finite;
  int64_t count;
} errors_t;

BS_INLINE f64x8 low_half(f32x16 lanes) {
  return __builtin_convertvector(
    __builtin_shufflevector(lanes, lanes, 0, 1, 2, 3, 4, 5, 6, 7), f64x8);
}

BS_INLINE f64x8 high_half(f32x16 lanes) {
  return __builtin_convertvector(
    __builtin_shufflevector(lanes, lanes, 8, 9, 10, 11, 12, 13, 14, 15), f64x8);
}

BS_INLINE errors_t load_errors(const bs_errors_t *errors) {
  _Static_assert(sizeof(errors_t) >= sizeof(bs_errors_t), "The same fields in the same order");
  errors_t result;
  __builtin_memcpy(&result, errors, sizeof *errors);
  return result;
}

BS_INLINE void store_errors(bs_errors_t *errors, const errors_t *sums) {
  __builtin_memcpy(errors, sums, sizeof *errors);
}

/// Adds squares. Those of floats are exact in Double, so a fused operation rounds as two would.
BS_INLINE void add_squares(f64x8 *sums, f32x16 values) {
  const f64x8 low = low_half(values), high = high_half(values);
  sums[0] = __builtin_elementwise_fma(low, low, sums[0]);
  sums[1] = __builtin_elementwise_fma(high, high, sums[1]);
}

/// Adds what all values have in common: `x` and `y` are finite.
BS_INLINE void add_finite(errors_t *sums, f32x16 x, f32x16 y) {
  const f32x16 difference = y - x;
  // In Double, since squares of floats overflow and underflow.
  add_squares(sums->signal, x);
  add_squares(sums->error, difference);
  sums->maximum = __builtin_elementwise_max(sums->maximum, (i32x16)difference & 0x7FFFFFFF);
}

BS_INLINE void add_errors(
  errors_t *sums, f32x16 reference, f32x16 candidate, i32x16 clipped, size_t count
) {
  if (count < 16) {
    // Lanes beyond the last value hold zero, which a NaN scale decodes to NaN.
    const i32x16 lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    candidate = (f32x16)((i32x16)candidate & (lanes < (int32_t)count));
  }
  // A NaN or an infinity minus itself is NaN.
  const f32x16 probe = (reference - reference) + (candidate - candidate);
  const i32x16 non_finite = probe != probe;
  const f32x16 x = (f32x16)((i32x16)reference & ~non_finite);
  const f32x16 y = (f32x16)((i32x16)candidate & ~non_finite);
  add_finite(sums, x, y);
  sums->saturated += clipped & ~non_finite;
  sums->underflowed += (y == 0) & ~(x == 0);
  sums->non_finite += non_finite;
  sums->count += (int64_t)count;
}
