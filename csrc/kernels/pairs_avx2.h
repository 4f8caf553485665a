// SPDX-License-Identifier: Apache-2.0
// Pairs of products in 16 bits (vpmaddubsw) and in 32 (vpmaddwd), for the AVX2 kernels of the multiply.
#ifndef QB_PAIRS_AVX2_H
#define QB_PAIRS_AVX2_H

#include "matmul_ymm.h"

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX2)

QB_INLINE sums16 add_pairs(sums16 sums, __m256i codes, __m256i digits)
{
    return SUMS_AS(sums16, _mm256_add_epi16(SUMS_AS(__m256i, sums), _mm256_maddubs_epi16(codes, digits)));
}

QB_INLINE __m256i widen_sums(sums16 sums)
{
    return _mm256_madd_epi16(SUMS_AS(__m256i, sums), _mm256_set1_epi16(1));
}

// Products of a line in sums of 32 bits; those of a pair of bytes of 7 bits fit in 16.
QB_INLINE sums32 add_singles(sums32 sums, __m256i codes, __m256i digits)
{
    const __m256i pairs = _mm256_madd_epi16(_mm256_maddubs_epi16(codes, digits), _mm256_set1_epi16(1));
    return SUMS_AS(sums32, _mm256_add_epi32(SUMS_AS(__m256i, sums), pairs));
}

QB_INLINE sums32 add_wide(sums32 sums, __m256i codes, __m256i digits)
{
    return SUMS_AS(sums32, _mm256_add_epi32(SUMS_AS(__m256i, sums), _mm256_madd_epi16(codes, digits)));
}

QB_TARGET_END
#endif
#endif
