// SPDX-License-Identifier: Apache-2.0
// Nearest points of a grid. An entry is two halves, and the scores of all halves are few: they are sums of the
// scores of pairs, a register at a time. Upper halves whose score cannot reach the best so far, whatever goes
// with them, are passed over; of the others the points are looked at one by one. A good guess to begin with is
// what makes them few.
#include "kernels.h"

#include "../base/target.h"

#if QB_X86

#include <math.h>

QB_TARGET_BEGIN(QB_TARGET_AVX2)

QB_INLINE float greatest(__m256 v)
{
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

QB_INLINE __m256 terms(__m256 w, __m256 levels, __m256 t)
{
    return _mm256_mul_ps(_mm256_mul_ps(w, levels), _mm256_sub_ps(_mm256_add_ps(t, t), levels));
}

// ---- halves: scores by the bits of half an entry -------------------------------------------------------

enum { HALVES = 176 }; // of 8 bits, where no field is 3; of 6 bits: 64

// Four fields of 2 bits: w and t of four values, in both halves of the registers. Returns the greatest score.
QB_INLINE float halves_of_4(__m256 w, __m256 t, __m256 levels, float *half)
{
    const __m256i first = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1), second = _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3);
    const __m256i low = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1), high = _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3);
    const __m256 none = _mm256_set1_ps(-INFINITY);
    const __m256 f01 = terms(_mm256_permutevar8x32_ps(w, first), levels, _mm256_permutevar8x32_ps(t, first));
    const __m256 f23 = terms(_mm256_permutevar8x32_ps(w, second), levels, _mm256_permutevar8x32_ps(t, second));
    const __m256 f0 = _mm256_permute2f128_ps(f01, f01, 0x00), f1 = _mm256_permute2f128_ps(f01, f01, 0x11);
    const __m256 f2 = _mm256_permute2f128_ps(f23, f23, 0x00), f3 = _mm256_permute2f128_ps(f23, f23, 0x11);
    // Sums by two fields: 4 of the first field for each of the second.
    const __m256 p0 = _mm256_blend_ps(_mm256_add_ps(f0, _mm256_permutevar8x32_ps(f1, low)), none, 0x88);
    const __m256 p1 = _mm256_blend_ps(_mm256_add_ps(f0, _mm256_permutevar8x32_ps(f1, high)), none, 0xF8);
    float q[16];
    _mm256_storeu_ps(q, _mm256_add_ps(f2, _mm256_permutevar8x32_ps(f3, low)));
    _mm256_storeu_ps(q + 8, _mm256_add_ps(f2, _mm256_permutevar8x32_ps(f3, high)));
    __m256 most = none;
    for (int i = 0; i < 11; i++) {
        const __m256 other = _mm256_broadcast_ss(i % 4 == 3 ? &(const float){-INFINITY} : q + i);
        const __m256 h0 = _mm256_add_ps(p0, other), h1 = _mm256_add_ps(p1, other);
        most = _mm256_max_ps(most, _mm256_max_ps(h0, h1));
        _mm256_storeu_ps(half + 16 * i, h0);
        _mm256_storeu_ps(half + 16 * i + 8, h1);
    }
    return greatest(most);
}

// Two fields of 3 bits.
QB_INLINE float halves_of_2(const float *w, const float *t, __m256 levels, float *half)
{
    const __m256 f0 = terms(_mm256_broadcast_ss(w), levels, _mm256_broadcast_ss(t));
    float f1[8];
    _mm256_storeu_ps(f1, terms(_mm256_broadcast_ss(w + 1), levels, _mm256_broadcast_ss(t + 1)));
    __m256 most = _mm256_set1_ps(-INFINITY);
    for (int i = 0; i < 8; i++) {
        const __m256 h = _mm256_add_ps(f0, _mm256_broadcast_ss(f1 + i));
        most = _mm256_max_ps(most, h);
        _mm256_storeu_ps(half + 8 * i, h);
    }
    return greatest(most);
}

// ---- the search -----------------------------------------------------------------------------------------

// Points in ascending order, of which the first with the greatest score counts: so what is to be exceeded is a
// little less than the score of the guess, which is then found again unless there is a better one.
QB_INLINE unsigned search(const struct qb_grid *grid, const float *low, const float *high, float most,
                          unsigned half_bits, unsigned halves, unsigned guess)
{
    const uint16_t *const points = grid->points;
    const unsigned mask = (1u << half_bits) - 1, entry = points[guess];
    const float known = low[entry & mask] + high[entry >> half_bits];
    float best = known - fabsf(known) * 0x1p-20f - 0x1p-100f;
    unsigned found = guess;
    const __m256 reach = _mm256_set1_ps(most);
    for (unsigned first = 0; first < halves; first += 16) {
        const __m256 score = _mm256_set1_ps(best);
        const __m256 h0 = _mm256_add_ps(_mm256_loadu_ps(high + first), reach);
        const __m256 h1 = _mm256_add_ps(_mm256_loadu_ps(high + first + 8), reach);
        unsigned some = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(h0, score, _CMP_GT_OQ)) |
                        (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(h1, score, _CMP_GT_OQ)) << 8;
        for (; some; some &= some - 1) {
            const unsigned upper = first + (unsigned)__builtin_ctz(some), end = grid->start[upper + 1];
            const float more = high[upper];
            for (unsigned p = grid->start[upper]; p < end; p++) {
                const float sum = low[points[p] & mask] + more;
                if (!(sum > best)) continue;
                best = sum;
                found = p;
            }
        }
    }
    return found;
}

QB_INLINE float folded(__m128 v)
{
    const __m128 two = _mm_add_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

QB_INLINE void eights(const struct qb_grid *grid, const float *x, const float *w, size_t runs, float inv,
                      uint16_t *points, float *a, float *b)
{
    const __m256 levels = _mm256_broadcast_ps((const __m128 *)grid->levels);
    const __m256i fields = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
    for (size_t r = 0; r < runs; r++) {
        const __m256 v = _mm256_loadu_ps(x + 8 * r), weight = _mm256_loadu_ps(w + 8 * r);
        const __m256 t = _mm256_mul_ps(v, _mm256_set1_ps(inv));
        float low[HALVES], high[HALVES];
        const float most = halves_of_4(weight, t, levels, low);
        halves_of_4(_mm256_permute2f128_ps(weight, weight, 0x11), _mm256_permute2f128_ps(t, t, 0x11), levels, high);
        points[r] = (uint16_t)search(grid, low, high, most, 8, HALVES, points[r]);
        const __m256i entry = _mm256_srlv_epi32(_mm256_set1_epi32(grid->points[points[r]]), fields);
        const __m256 level = _mm256_permutevar8x32_ps(levels, _mm256_and_si256(entry, _mm256_set1_epi32(3)));
        const __m256 weighted = _mm256_mul_ps(weight, level);
        const __m256 with_x = _mm256_mul_ps(weighted, v), with_level = _mm256_mul_ps(weighted, level);
        a[r] = folded(_mm_add_ps(_mm256_castps256_ps128(with_x), _mm256_extractf128_ps(with_x, 1)));
        b[r] = folded(_mm_add_ps(_mm256_castps256_ps128(with_level), _mm256_extractf128_ps(with_level, 1)));
    }
}

QB_INLINE void fours(const struct qb_grid *grid, const float *x, const float *w, size_t runs, float inv,
                     uint16_t *points, float *a, float *b)
{
    const __m256 levels = _mm256_loadu_ps(grid->levels);
    const __m128i fields = _mm_setr_epi32(0, 3, 6, 9);
    for (size_t r = 0; r < runs; r++) {
        const __m128 v = _mm_loadu_ps(x + 4 * r), weight = _mm_loadu_ps(w + 4 * r);
        float t[4], low[64], high[64];
        _mm_storeu_ps(t, _mm_mul_ps(v, _mm_set1_ps(inv)));
        const float most = halves_of_2(w + 4 * r, t, levels, low);
        halves_of_2(w + 4 * r + 2, t + 2, levels, high);
        points[r] = (uint16_t)search(grid, low, high, most, 6, 64, points[r]);
        const __m128i entry = _mm_srlv_epi32(_mm_set1_epi32(grid->points[points[r]]), fields);
        const __m256i index = _mm256_castsi128_si256(_mm_and_si128(entry, _mm_set1_epi32(7)));
        const __m128 level = _mm256_castps256_ps128(_mm256_permutevar8x32_ps(levels, index));
        const __m128 weighted = _mm_mul_ps(weight, level);
        a[r] = folded(_mm_mul_ps(weighted, v));
        b[r] = folded(_mm_mul_ps(weighted, level));
    }
}

void qb_nearest_avx2(const struct qb_grid *grid, const float *x, const float *w, size_t runs, float inv,
                     uint16_t *points, float *a, float *b)
{
    if (grid->dims == 8) eights(grid, x, w, runs, inv, points, a, b);
    else fours(grid, x, w, runs, inv, points, a, b);
}

QB_TARGET_END
#endif
