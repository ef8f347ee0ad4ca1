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
  const f32x16 difference = y - x;
  const f64x8 x_low = low_half(x), x_high = high_half(x);
  const f64x8 d_low = low_half(difference), d_high = high_half(difference);
  // In Double, since squares of floats overflow and underflow.
  sums->signal[0] += x_low * x_low;
  sums->signal[1] += x_high * x_high;
  sums->error[0] += d_low * d_low;
  sums->error[1] += d_high * d_high;
  sums->maximum = __builtin_elementwise_max(sums->maximum, (i32x16)difference & 0x7FFFFFFF);
  sums->saturated += clipped & ~non_finite;
  sums->underflowed += (y == 0) & ~(x == 0);
  sums->non_finite += non_finite;
  sums->count += (int64_t)count;
}
