// SPDX-License-Identifier: Apache-2.0

// Sixteen lanes in the compiler's vector types, which it splits into registers of any width.

#ifndef BLOCKSCALE_LANES_H
#define BLOCKSCALE_LANES_H

#include <stdint.h>
#include <string.h>

// Vectors are passed among functions that are always inlined, so no calling convention is involved.
#pragma clang diagnostic ignored "-Wpsabi"

#define BS_INLINE static inline __attribute__((always_inline))

typedef float f32x16 __attribute__((vector_size(64)));
typedef int32_t i32x16 __attribute__((vector_size(64)));
typedef uint32_t u32x16 __attribute__((vector_size(64)));
typedef uint16_t u16x16 __attribute__((vector_size(32)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));

#define BS_LOADER(name, type)                                                                      \
  BS_INLINE type name(const void *from) {                                                          \
    type value;                                                                                    \
    memcpy(&value, from, sizeof value);                                                            \
    return value;                                                                                  \
  }
BS_LOADER(load_f32x16, f32x16)
BS_LOADER(load_u32x16, u32x16)
BS_LOADER(load_u16x16, u16x16)
BS_LOADER(load_u8x16, u8x16)

BS_INLINE void store_f32x16(float *to, f32x16 value) { memcpy(to, &value, sizeof value); }

BS_INLINE f32x16 repeat_f32(float value) {
  return (f32x16){value, value, value, value, value, value, value, value,
                  value, value, value, value, value, value, value, value};
}

BS_INLINE f32x16 multiply_add(f32x16 a, f32x16 b, f32x16 c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(BS_HAS_FMA)
  return __builtin_elementwise_fma(a, b, c);
#else
  return a * b + c;
#endif
}

#endif
