// SPDX-License-Identifier: Apache-2.0
// What the AVX-512 kernels of the multiply share: dot products of words, and what sums become.
#ifndef QB_MATMUL_AVX512_H
#define QB_MATMUL_AVX512_H

#include "kernels.h"

#include "../base/target.h"

#include <string.h>

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX512)

// A line: a unit of 16 rows, one register.
enum { LINE = 4 * QB_LANES };

// 16 sums of 32 bits. gcc copies a variable of type __m512i at every step of a loop that uses it
// so.
#if defined(_MSC_VER) && !defined(__clang__)
typedef __m512i sums32;
QB_INLINE sums32 to_sums(__m512i x) { return x; }
QB_INLINE __m512i from_sums(sums32 x) { return x; }
#else
typedef int32_t sums32 __attribute__((vector_size(64)));
QB_INLINE sums32 to_sums(__m512i x) { return (sums32)x; }
QB_INLINE __m512i from_sums(sums32 x) { return (__m512i)x; }
#endif

QB_INLINE sums32 add_dots(sums32 sums, __m512i codes, __m512i digits)
{
    return to_sums(_mm512_dpbusd_epi32(from_sums(sums), codes, digits));
}

// t from the sums of the planes.
QB_INLINE __m512 join_planes(const int planes, const __m512i *a)
{
    if (planes == 1) return _mm512_cvtepi32_ps(a[0]);
    const __m512i upper = _mm512_add_epi32(_mm512_slli_epi32(a[planes - 1], 8), a[planes - 2]);
    if (planes == 2) return _mm512_cvtepi32_ps(upper);
    const __m512 high = _mm512_cvtepi32_ps(upper), low = _mm512_cvtepi32_ps(a[0]);
    return _mm512_fmadd_ps(_mm512_set1_ps(256.0f), high, low);
}

QB_INLINE __m512i broadcast(const void *word)
{
    int32_t value;
    memcpy(&value, word, 4);
    return _mm512_set1_epi32(value);
}

// Takes zero points off the sum of a word; 16 bits hold both z and a sum of 256 digits.
QB_INLINE __m512i without_zero(__m512i total, __m512i z, const int32_t *sum)
{
    return _mm512_sub_epi32(total, _mm512_madd_epi16(z, _mm512_set1_epi32(*sum)));
}

QB_TARGET_END
#endif
#endif
