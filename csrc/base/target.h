// SPDX-License-Identifier: Apache-2.0
// Target regions: everything between QB_TARGET_BEGIN_<isa> and QB_TARGET_END is compiled for that
// tier, while the rest of the library keeps the baseline flags. Include every header *before* the
// region, and never test __AVX2__ and the like inside it (gcc defines them there, clang does not).
#ifndef QB_TARGET_H
#define QB_TARGET_H

#if defined(__x86_64__) || defined(_M_X64)
#define QB_X86 1
#include <immintrin.h>
#else
#define QB_X86 0
#endif

#define QB_PRAGMA(text) _Pragma(#text)

#if defined(__clang__)
#define QB_TARGET_BEGIN(features) \
    QB_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define QB_TARGET_END QB_PRAGMA(clang attribute pop)
#elif defined(__GNUC__)
#define QB_TARGET_BEGIN(features) QB_PRAGMA(GCC push_options) QB_PRAGMA(GCC target(features))
#define QB_TARGET_END QB_PRAGMA(GCC pop_options)
#else // MSVC emits any intrinsic without a switch
#define QB_TARGET_BEGIN(features)
#define QB_TARGET_END
#endif

#define QB_TARGET_AVX2 "avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt"
// The tier avxvnni is the VEX form of vpdpbusd in 8 lanes. With QB_EVEX_TWIN it is compiled to the EVEX form of
// the same instruction, so that it can be tested where only that runs.
#if defined(QB_EVEX_TWIN)
#define QB_TARGET_AVXVNNI QB_TARGET_AVX2 ",avx512f,avx512vl,avx512vnni"
#define QB_DPBUSD(sums, codes, digits) _mm256_dpbusd_epi32(sums, codes, digits)
#else
#define QB_TARGET_AVXVNNI QB_TARGET_AVX2 ",avxvnni"
#define QB_DPBUSD(sums, codes, digits) _mm256_dpbusd_avx_epi32(sums, codes, digits)
#endif
#define QB_TARGET_AVX512                                                                      \
    "avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi"

// QB_UNROLL goes before a loop of constant length over an array of registers: unrolled this early, gcc
// neither makes a memset of it nor keeps the array in memory. QB_PIN(accumulator) after each of its
// steps keeps gcc from gathering the steps of all accumulators, which takes more registers than exist.
// QB_NO_UNROLL goes before a short loop that is to become vectors, which gcc unrolls completely otherwise.
#if defined(_MSC_VER) && !defined(__clang__)
#define QB_INLINE static __forceinline
#define QB_NOINLINE __declspec(noinline)
#define QB_UNROLL
#define QB_NO_UNROLL
#define QB_PIN(vector)
#define QB_PREFETCH(address) ((void)(address))
#else
#define QB_INLINE static inline __attribute__((always_inline))
#define QB_NOINLINE __attribute__((noinline))
#define QB_UNROLL QB_PRAGMA(GCC unroll 16)
#define QB_NO_UNROLL QB_PRAGMA(GCC unroll 1)
#define QB_PIN(vector) __asm__ volatile("" : "+x"(vector))
// Into the second-level cache; any address will do.
#define QB_PREFETCH(address) __builtin_prefetch((address), 0, 2)
#endif

#endif
