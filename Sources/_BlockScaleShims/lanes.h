// SPDX-License-Identifier: Apache-2.0

// Sixteen lanes in clang's vector types, which it splits into registers of any width; what the
// kernels of quantizers and of products have in common. A file that enables instructions of a tier
// includes this with them enabled.

#ifndef BLOCKSCALE_LANES_H
#define BLOCKSCALE_LANES_H

#include <stddef.h>
#include <stdint.h>

// Wide vectors are only passed to functions that are inlined, so how they would be passed is no matter.
#pragma clang diagnostic ignored "-Wpsabi"

#define BS_INLINE static inline __attribute__((always_inline))

typedef float f32x16 __attribute__((vector_size(64)));
typedef int32_t i32x16 __attribute__((vector_size(64)));
typedef uint32_t u32x16 __attribute__((vector_size(64)));
typedef int16_t i16x16 __attribute__((vector_size(32)));
typedef uint16_t u16x16 __attribute__((vector_size(32)));
typedef uint16_t u16x32 __attribute__((vector_size(64)));
typedef uint16_t u16x8 __attribute__((vector_size(16)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));
typedef uint8_t u8x8 __attribute__((vector_size(8)));
typedef uint32_t u32x8 __attribute__((vector_size(32)));
typedef double f64x8 __attribute__((vector_size(64)));
typedef _Float16 f16x16 __attribute__((vector_size(32)));

#define LOAD(type, address)                                                                       \
  ({                                                                                              \
    type loaded_;                                                                                 \
    __builtin_memcpy(&loaded_, (address), sizeof loaded_);                                        \
    loaded_;                                                                                      \
  })
#define STORE(address, value)                                                                     \
  do {                                                                                            \
    __typeof__(value) stored_ = (value);                                                          \
    __builtin_memcpy((address), &stored_, sizeof stored_);                                        \
  } while (0)

// Comparisons give lanes of ones and zeros, which select bit by bit; compilers make blends of it.
BS_INLINE i32x16 select16(i32x16 lanes, i32x16 yes, i32x16 no) {
  return (yes & lanes) | (no & ~lanes);
}

BS_INLINE f32x16 splat(float value) {
  return (f32x16){value, value, value, value, value, value, value, value,
                  value, value, value, value, value, value, value, value};
}

BS_INLINE i32x16 splat_int(int32_t value) { return value - (i32x16){0}; }

/// Rounds half to even to the upper half of each lane. A NaN must have a payload that does not carry.
BS_INLINE u32x16 rounded_to_upper_half(f32x16 values) {
  const u32x16 bits = (u32x16)values;
  return bits + 0x7FFF + (bits >> 16 & 1);
}

#endif
