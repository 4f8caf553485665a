// SPDX-License-Identifier: Apache-2.0
// What the AVX-512 kernels of the multiply share: dot products of words, and the end of a segment.
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
QB_INLINE __m512 join_planes(const int planes, const sums32 *total, __m512i z, const int32_t *sums)
{
    __m512i a[3];
    // 16 bits hold both z and a sum of 256 digits.
    for (int p = 0; p < planes; p++) {
        const __m512i correction = _mm512_madd_epi16(z, _mm512_set1_epi32(sums[p]));
        a[p] = _mm512_sub_epi32(from_sums(total[p]), correction);
    }
    if (planes == 1) return _mm512_cvtepi32_ps(a[0]);
    const __m512i upper = _mm512_add_epi32(_mm512_slli_epi32(a[planes - 1], 8), a[planes - 2]);
    if (planes == 2) return _mm512_cvtepi32_ps(upper);
    const __m512 high = _mm512_cvtepi32_ps(upper), low = _mm512_cvtepi32_ps(a[0]);
    return _mm512_fmadd_ps(_mm512_set1_ps(256.0f), high, low);
}

// acc + (a * b) * t, and acc + a * b.
QB_INLINE __m512 add_scaled(__m512 acc, const float *a, float b, __m512 t)
{
    return _mm512_fmadd_ps(_mm512_mul_ps(_mm512_loadu_ps(a), _mm512_set1_ps(b)), t, acc);
}
QB_INLINE __m512 add_product(__m512 acc, const float *a, float b)
{
    return _mm512_fmadd_ps(_mm512_loadu_ps(a), _mm512_set1_ps(b), acc);
}

QB_INLINE __m512i broadcast(const void *word)
{
    int32_t value;
    memcpy(&value, word, 4);
    return _mm512_set1_epi32(value);
}

// Adds what segment s gives to the sums of `width` columns, the first of which has the parameters number `at`.
QB_INLINE void end_segment(const int planes, const size_t width, const struct qb_panel *w,
                           const struct qb_activations *x, size_t s, size_t at, const sums32 *total, __m512 *out)
{
    const size_t row = s * QB_LANES;
    QB_UNROLL for (size_t c = 0; c < width; c++) {
        const __m512 t = join_planes(planes, total + (size_t)planes * c, _mm512_loadu_si512(w->z + row),
                                     x->sums + (at + c) * (size_t)planes);
        out[c] = add_scaled(out[c], w->d + row, x->dx[at + c], t);
    }
    if (!w->m) return;
    QB_UNROLL for (size_t c = 0; c < width; c++) out[c] = add_product(out[c], w->m + row, x->dxsum[at + c]);
}

QB_TARGET_END
#endif
#endif
