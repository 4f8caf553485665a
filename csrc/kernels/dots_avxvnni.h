// SPDX-License-Identifier: Apache-2.0
// Dot products of words (vpdpbusd) in 8 lanes, for the AVX-VNNI kernels of the multiply.
#ifndef QB_DOTS_AVXVNNI_H
#define QB_DOTS_AVXVNNI_H

#include "matmul_ymm.h"

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVXVNNI)

// 8 sums of 32 bits. gcc copies a variable of type __m256i at every step of a loop that uses it so.
#if defined(_MSC_VER) && !defined(__clang__)
typedef __m256i sums32;
QB_INLINE sums32 to_sums(__m256i x) { return x; }
QB_INLINE __m256i from_sums(sums32 x) { return x; }
#else
typedef int32_t sums32 __attribute__((vector_size(32)));
QB_INLINE sums32 to_sums(__m256i x) { return (sums32)x; }
QB_INLINE __m256i from_sums(sums32 x) { return (__m256i)x; }
#endif

QB_INLINE sums32 add_dots(sums32 sums, __m256i codes, __m256i digits)
{
    return to_sums(QB_DPBUSD(from_sums(sums), codes, digits));
}

QB_TARGET_END
#endif
#endif
