// SPDX-License-Identifier: Apache-2.0

#ifndef BLOCKSCALE_SHIMS_FEATURES_H
#define BLOCKSCALE_SHIMS_FEATURES_H

#include <stdbool.h>
#include <stdint.h>

/// What the processor and the operating system offer together.
typedef struct {
  /// AVX2, FMA and F16C.
  bool avx2;
  /// AVX-512 F, BW, DQ, VL, VBMI and VNNI.
  bool avx512;
  /// And products of pairs of BF16.
  bool avx512_bf16;
  /// Whether these take no longer than products of FP32, as on AMD's processors. On Intel's they take more
  /// than twice as long.
  bool avx512_bf16_is_quick;
  /// AMX tiles with BF16 products, whose use the operating system has allowed.
  bool amx_bf16;
  /// Advanced SIMD of a 64-bit Arm processor.
  bool neon;
} bs_cpu_features_t;

/// Asks the processor what it has and the operating system what it allows.
///
/// Linux grants AMX to a process on request; the request is made here and is harmless to repeat.
bs_cpu_features_t bs_cpu_features(void);

/// The processors that this process may run on; 0 where the operating system does not tell.
int bs_processor_count(void);

#endif
