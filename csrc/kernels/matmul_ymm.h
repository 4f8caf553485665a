// SPDX-License-Identifier: Apache-2.0
// What the kernels of the multiply in 8 lanes share: codes from planes, and what sums become.
#ifndef QB_MATMUL_YMM_H
#define QB_MATMUL_YMM_H

#include "kernels.h"

#include "../base/target.h"

#include <string.h>

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX2)

// A line: a unit of 16 rows, two registers.
enum { LINE = 4 * QB_LANES };

// Sums of 16 bits, and of 32: gcc copies a variable of type __m256i at every step of a loop that adds to it.
#if defined(_MSC_VER) && !defined(__clang__)
typedef __m256i sums16, sums32;
#define SUMS_AS(type, x) (x)
#else
typedef int16_t sums16 __attribute__((vector_size(32)));
typedef int32_t sums32 __attribute__((vector_size(32)));
#define SUMS_AS(type, x) ((type)(x))
#endif

QB_INLINE __m256i load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
QB_INLINE void store(void *p, __m256i x) { _mm256_storeu_si256((__m256i *)p, x); }

QB_INLINE __m256i broadcast(const void *word)
{
    int32_t value;
    memcpy(&value, word, 4);
    return _mm256_set1_epi32(value);
}

// Widths as the gemv kernels count them: 8 more where codes come from a table, through planes of 4 bits.
#define TABLE_WIDTHS(X) X(13) X(16)
#define PLANES(bits) ((bits) > 8 ? 4 : (bits))

// Half a unit of an octet (rows 0..7 or 8..15), from its planes.
QB_INLINE __m256i unit_of(const uint8_t *octet, const int bits, const int unit, const int half)
{
    if (bits == 8) return load(octet + unit * LINE + half * (LINE / 2));
    __m256i codes = _mm256_setzero_si256();
    const uint8_t *plane = octet + half * (LINE / 2);
    int shift = 0;
    QB_UNROLL for (int width = 4; width; width /= 2) {
        if (!(bits & width)) continue;
        const int right = unit / width * width - shift; // 16-bit shifts: what crosses bytes is masked off
        const __m256i line = load(plane + unit % width * LINE);
        const __m256i moved = right >= 0 ? _mm256_srli_epi16(line, right) : _mm256_slli_epi16(line, -right);
        const __m256i mask = _mm256_set1_epi8((char)(((1 << width) - 1) << shift));
        const __m256i part = _mm256_and_si256(moved, mask);
        codes = shift ? _mm256_or_si256(codes, part) : part;
        plane += width * LINE;
        shift += width;
    }
    return codes;
}

// Units of an octet, or of a half of it, in an order that takes those of one line of planes one after another.
#define UNIT(i, count) ((count) == 8 ? (const int[8]){0, 4, 2, 6, 1, 5, 3, 7}[i] : (const int[8]){0, 2, 1, 3}[i])

// t of 8 rows from the sums of their words, which are two registers apart. wide: words of 16-bit digits.
QB_INLINE __m256 join_words(const int planes, const int wide, const __m256i *total)
{
    if (planes == 1 || (wide && planes == 2)) return _mm256_cvtepi32_ps(total[0]);
    const int top = wide ? 1 : planes - 1;
    const __m256i upper = wide ? total[2] : _mm256_add_epi32(_mm256_slli_epi32(total[2 * top], 8), total[2 * top - 2]);
    if (planes == 2) return _mm256_cvtepi32_ps(upper);
    const __m256 high = _mm256_cvtepi32_ps(upper), low = _mm256_cvtepi32_ps(total[0]);
    return _mm256_fmadd_ps(_mm256_set1_ps(256.0f), high, low);
}

// Takes zero points off the sums of a word; 16 bits hold both z and a sum of 256 digits.
QB_INLINE void take_zero_off(__m256i z, const int32_t *sum, __m256i *total)
{
    *total = _mm256_sub_epi32(*total, _mm256_madd_epi16(z, _mm256_set1_epi32(*sum)));
}

QB_TARGET_END
#endif
#endif
