// SPDX-License-Identifier: Apache-2.0
// What the AVX-512 kernels of the multiply share: dot products of words, and the end of a segment.
#ifndef QB_MATMUL_AVX512_H
#define QB_MATMUL_AVX512_H

#include "ahead.h"
#include "kernels.h"

#include "../base/target.h"

#include <string.h>

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX512)

// A line: a unit of 16 rows, one register.
enum { LINE = 4 * QB_LANES, MAX_WORDS = 12 };

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

// What the sum of a word starts from, where zero points are all the same.
QB_INLINE sums32 start_of(const struct qb_panel *w, const int32_t *sum)
{
    return to_sums(w->z ? _mm512_setzero_si512() : broadcast(sum));
}

// A parameter of segment s: from floats, or where `halves` is set from those.
QB_INLINE __m512 lanes_of(const struct qb_panel *w, const float *floats, const uint8_t *halves, size_t s)
{
    if (halves) return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(halves + s * w->half_step)));
    return _mm512_loadu_ps(floats + s * QB_LANES);
}

// Adds what segment s gives to the sums of `width` columns, the first of which has the parameters number `at`.
// halves: parameters may be binary16.
QB_INLINE void end_segment(const int planes, const size_t width, const int halves, const struct qb_panel *w,
                           const struct qb_activations *x, size_t s, size_t at, const sums32 *total, __m512 *out)
{
    const uint8_t *const half_d = halves ? w->half_d : NULL, *const half_m = halves ? w->half_m : NULL;
    const __m512 d = lanes_of(w, w->d, half_d, s);
    __m512i a[MAX_WORDS];
    QB_UNROLL for (size_t j = 0; j < (size_t)planes * width; j++) a[j] = from_sums(total[j]);
    if (w->z) { // 16 bits hold both z and a sum of 256 digits
        const __m512i z = _mm512_loadu_si512(w->z + s * QB_LANES);
        QB_UNROLL for (size_t j = 0; j < (size_t)planes * width; j++)
            a[j] = _mm512_sub_epi32(a[j], _mm512_madd_epi16(z, _mm512_set1_epi32(x->sums[at * (size_t)planes + j])));
    }
    QB_UNROLL for (size_t c = 0; c < width; c++) {
        const __m512 t = join_planes(planes, a + (size_t)planes * c);
        out[c] = _mm512_fmadd_ps(_mm512_mul_ps(d, _mm512_set1_ps(x->dx[at + c])), t, out[c]);
    }
    if (!w->m && !half_m) return;
    const __m512 m = lanes_of(w, w->m, half_m, s);
    QB_UNROLL for (size_t c = 0; c < width; c++) out[c] = _mm512_fmadd_ps(m, _mm512_set1_ps(x->dxsum[at + c]), out[c]);
}

QB_TARGET_END
#endif
#endif
