// SPDX-License-Identifier: Apache-2.0
// Integer sums of two quantized rows, 32 codes a step. Both operands are full unsigned bytes, where
// vpmaddubsw (unsigned times signed, saturating) is wrong: they are widened to 16 bits and vpmaddwd
// adds pairs of products, at most 2*255*255, exactly. vpsadbw gives the plain sums.
#include "kernels.h"

#include "../base/target.h"

#include <string.h>

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX2)

enum { STEP = 32 };

// n bytes from the index STEP - n on: the mask of the first n bytes.
static const uint8_t first_bytes[2 * STEP] = {
    0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
    0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
};

struct sums {
    __m256i ab; // 8 x int32
    __m256i a, b; // 4 x int64
};

QB_INLINE __m256i load(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }

QB_INLINE struct sums add(struct sums s, __m256i a, __m256i b)
{
    const __m256i zero = _mm256_setzero_si256();
    const __m256i a_lo = _mm256_unpacklo_epi8(a, zero), a_hi = _mm256_unpackhi_epi8(a, zero);
    const __m256i b_lo = _mm256_unpacklo_epi8(b, zero), b_hi = _mm256_unpackhi_epi8(b, zero);
    const __m256i lo = _mm256_madd_epi16(a_lo, b_lo), hi = _mm256_madd_epi16(a_hi, b_hi);
    s.ab = _mm256_add_epi32(s.ab, _mm256_add_epi32(lo, hi));
    s.a = _mm256_add_epi64(s.a, _mm256_sad_epu8(a, zero));
    s.b = _mm256_add_epi64(s.b, _mm256_sad_epu8(b, zero));
    return s;
}

// The first n < STEP bytes of p, then zeros; `room` bytes may be read.
QB_INLINE __m256i load_first(const uint8_t *p, size_t n, size_t room)
{
    if (room >= STEP) return _mm256_and_si256(load(p), load(first_bytes + STEP - n));
    uint8_t tail[STEP] = {0};
    memcpy(tail, p, n);
    return load(tail);
}

QB_INLINE void store_sums(struct sums s, int32_t *sums)
{
    // Four sums of 32 bits each: ab, ab, a, b, the upper halves of a and b being zero.
    const __m256i plain = _mm256_or_si256(s.a, _mm256_slli_epi64(s.b, 32));
    const __m256i low = _mm256_unpacklo_epi64(s.ab, plain),
                  high = _mm256_unpackhi_epi64(s.ab, plain);
    const __m256i two = _mm256_add_epi32(low, high);
    const __m128i four =
        _mm_add_epi32(_mm256_castsi256_si128(two), _mm256_extracti128_si256(two, 1));
    sums[0] = _mm_cvtsi128_si32(four) + _mm_extract_epi32(four, 1);
    sums[1] = _mm_extract_epi32(four, 2);
    sums[2] = _mm_extract_epi32(four, 3);
}

void qb_dot_avx2(const uint8_t *a, const uint8_t *b, size_t n, size_t seg, int32_t *sums)
{
    for (size_t i = 0; i < n; sums += 3) {
        const size_t end = n - i < seg ? n : i + seg;
        const __m256i zero = _mm256_setzero_si256();
        struct sums s = {zero, zero, zero};
        for (; end - i >= STEP; i += STEP) s = add(s, load(a + i), load(b + i));
        if (i < end)
            s = add(s, load_first(a + i, end - i, n - i), load_first(b + i, end - i, n - i));
        i = end;
        store_sums(s, sums);
    }
}

QB_TARGET_END
#endif
