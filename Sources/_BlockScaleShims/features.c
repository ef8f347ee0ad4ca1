// SPDX-License-Identifier: Apache-2.0

#if defined(__linux__)
#define _GNU_SOURCE
#endif

#include "bs_features.h"

#if defined(__linux__)
#include <sched.h>

int bs_processor_count(void) {
  // The kernel refuses a set that is too small for it.
  static const size_t most = 1 << 16;
  for (size_t count = 1024; count <= most; count *= 4) {
    cpu_set_t *set = CPU_ALLOC(count);
    if (!set) return 0;
    const size_t size = CPU_ALLOC_SIZE(count);
    const int found = sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : 0;
    CPU_FREE(set);
    if (found > 0) return found;
  }
  return 0;
}
#else
int bs_processor_count(void) { return 0; }
#endif

#if defined(__x86_64__)

#include <cpuid.h>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

// Bits of CPUID leaves, from Intel's Software Developer's Manual, volume 2A.
enum {
  LEAF1_ECX_FMA = 1u << 12,
  LEAF1_ECX_OSXSAVE = 1u << 27,
  LEAF1_ECX_F16C = 1u << 29,
  LEAF7_EBX_AVX2 = 1u << 5,
  LEAF7_EBX_AVX512F = 1u << 16,
  LEAF7_EBX_AVX512DQ = 1u << 17,
  LEAF7_EBX_AVX512BW = 1u << 30,
  LEAF7_ECX_AVX512VBMI = 1u << 1,
  LEAF7_ECX_AVX512VNNI = 1u << 11,
  LEAF7_1_EAX_AVX512_BF16 = 1u << 5,
  LEAF7_EDX_AMX_BF16 = 1u << 22,
  LEAF7_EDX_AMX_TILE = 1u << 24,
};
static const unsigned LEAF7_EBX_AVX512VL = 1u << 31;

// What leaf 0 answers in EBX: "Auth" of "AuthenticAMD".
static const unsigned LEAF0_EBX_AMD = 0x68747541;

// Register files that the operating system saves (XCR0).
enum {
  XCR0_AVX = 0x6,       // XMM and YMM
  XCR0_AVX512 = 0xE6,   // and the mask registers, ZMM
  XCR0_AMX = 0x60000,   // tile configuration and tile data
};

static uint64_t saved_registers(void) {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}

static bool has(uint64_t set, uint64_t all) { return (set & all) == all; }

static bool amx_is_granted(void) {
#if defined(__linux__)
  // Documentation/arch/x86/xstate.rst of Linux: ARCH_REQ_XCOMP_PERM for XTILEDATA.
  const long arch_req_xcomp_perm = 0x1023;
  const long xtiledata = 18;
  return syscall(SYS_arch_prctl, arch_req_xcomp_perm, xtiledata) == 0;
#else
  return false;
#endif
}

bs_cpu_features_t bs_cpu_features(void) {
  bs_cpu_features_t result = {0};
  unsigned a, b, c, d, vendor, unused;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & LEAF1_ECX_OSXSAVE)) return result;
  const unsigned leaf1 = c;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return result;
  const unsigned subleaves = a;
  const uint64_t xcr0 = saved_registers();
  result.avx2 = has(xcr0, XCR0_AVX) && has(b, LEAF7_EBX_AVX2)
    && has(leaf1, LEAF1_ECX_FMA | LEAF1_ECX_F16C);
  result.avx512 = result.avx2 && has(xcr0, XCR0_AVX512)
    && has(b, (uint64_t)LEAF7_EBX_AVX512F | LEAF7_EBX_AVX512DQ | LEAF7_EBX_AVX512BW
                | LEAF7_EBX_AVX512VL)
    && has(c, LEAF7_ECX_AVX512VBMI | LEAF7_ECX_AVX512VNNI);
  // How many subleaves there are, subleaf 0 says.
  unsigned subleaf1 = 0;
  if (subleaves >= 1) __get_cpuid_count(7, 1, &subleaf1, &b, &c, &unused);
  result.avx512_bf16 = result.avx512 && has(subleaf1, LEAF7_1_EAX_AVX512_BF16);
  result.avx512_bf16_is_quick = result.avx512_bf16 && __get_cpuid(0, &a, &vendor, &c, &unused)
    && vendor == LEAF0_EBX_AMD;
  result.amx_bf16 = result.avx512 && has(xcr0, XCR0_AMX)
    && has(d, LEAF7_EDX_AMX_BF16 | LEAF7_EDX_AMX_TILE) && amx_is_granted();
  return result;
}

#elif defined(__aarch64__)

bs_cpu_features_t bs_cpu_features(void) {
  // Advanced SIMD is part of every 64-bit Arm application processor.
  return (bs_cpu_features_t){.neon = true};
}

#else

bs_cpu_features_t bs_cpu_features(void) {
  return (bs_cpu_features_t){0};
}

#endif
