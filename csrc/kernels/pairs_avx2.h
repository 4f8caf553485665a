// SPDX-License-Identifier: Apache-2.0
// Pairs of products in 16 bits (vpmaddubsw), for the AVX2 kernels of the multiply.
#ifndef QB_PAIRS_AVX2_H
#define QB_PAIRS_AVX2_H

#include "matmul_ymm.h"

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX2)

// 16 sums of 16 bits. gcc copies a variable of type __m256i at every step of a loop that uses it
// so.
#if defined(_MSC_VER) && !defined(__clang__)
typedef __m256i sums16;
QB_INLINE sums16 to_sums(__m256i x) { return x; }
QB_INLINE __m256i from_sums(sums16 x) { return x; }
#else
typedef int16_t sums16 __attribute__((vector_size(32)));
QB_INLINE sums16 to_sums(__m256i x) { return (sums16)x; }
QB_INLINE __m256i from_sums(sums16 x) { return (__m256i)x; }
#endif

QB_INLINE sums16 add_pairs(sums16 sums, __m256i codes, __m256i digits)
{
    return to_sums(_mm256_add_epi16(from_sums(sums), _mm256_maddubs_epi16(codes, digits)));
}

QB_INLINE __m256i widen_sums(sums16 sums)
{
    return _mm256_madd_epi16(from_sums(sums), _mm256_set1_epi16(1));
}

QB_TARGET_END
#endif
#endif
