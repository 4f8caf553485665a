// SPDX-License-Identifier: Apache-2.0
// Nearest points of a grid. An entry is two halves, and the scores of all halves are few: they are sums of the
// scores of pairs, a register at a time. Upper halves whose score cannot reach the best so far, whatever goes
// with them, are passed over; of the others the points are looked at one by one. A good guess to begin with is
// what makes them few.
#include "kernels.h"

#include "../base/target.h"

#if QB_X86

#include <math.h>
#include <string.h>

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

// ---- among few --------------------------------------------------------------------------------------------

enum { TOGETHER = 8 }; // runs

// Levels of eight values from their bytes.
QB_INLINE __m256 levels_at(const int8_t *bytes)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)bytes)));
}

QB_INLINE __m256 terms_at(const int8_t *bytes, __m256 w, __m256 twice)
{
    const __m256 levels = levels_at(bytes);
    return _mm256_mul_ps(_mm256_mul_ps(w, levels), _mm256_sub_ps(twice, levels));
}

// Two candidates of 8 values: sums of values i and i + 4, a candidate in each half.
QB_INLINE __m256 in_halves(__m256 first, __m256 second)
{
    return _mm256_add_ps(_mm256_permute2f128_ps(first, second, 0x20), _mm256_permute2f128_ps(first, second, 0x31));
}

// The sums of eight candidates that lie in halves, pair by pair.
QB_INLINE __m256 scores_of(__m256 pair01, __m256 pair23, __m256 pair45, __m256 pair67)
{
    const __m256 low = _mm256_hadd_ps(pair01, pair23), high = _mm256_hadd_ps(pair45, pair67);
    return _mm256_permutevar8x32_ps(_mm256_hadd_ps(low, high), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

// The place of the first greatest of sixteen.
QB_INLINE unsigned first_greatest(__m256 s0, __m256 s1)
{
    const __m256 both = _mm256_max_ps(s0, s1);
    __m256 most = _mm256_max_ps(both, _mm256_permute2f128_ps(both, both, 0x01));
    most = _mm256_max_ps(most, _mm256_shuffle_ps(most, most, 0x4E));
    most = _mm256_max_ps(most, _mm256_shuffle_ps(most, most, 0xB1));
    const unsigned low = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(s0, most, _CMP_EQ_OQ));
    const unsigned high = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(s1, most, _CMP_EQ_OQ));
    return (unsigned)__builtin_ctz(low | high << 8);
}

// Where the neighbours of a run of 8 values are.
QB_INLINE const uint16_t *neighbours(const struct qb_grid *grid, __m256 t)
{
    const __m256 from_low = _mm256_sub_ps(t, _mm256_set1_ps(grid->low));
    __m256 digit = _mm256_max_ps(_mm256_mul_ps(from_low, _mm256_set1_ps(grid->per_step)), _mm256_setzero_ps());
    digit = _mm256_min_ps(digit, _mm256_set1_ps(2.0f));
    const __m256i digits = _mm256_cvtps_epi32(digit);
    __m128i sums = _mm_packs_epi32(_mm256_castsi256_si128(digits), _mm256_extracti128_si256(digits, 1));
    sums = _mm_madd_epi16(sums, _mm_setr_epi16(1, 3, 9, 27, 81, 243, 729, 2187));
    sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0x4E));
    sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0xB1));
    return grid->nearby + (size_t)(unsigned)_mm_cvtsi128_si32(sums) * QB_NEAR;
}

// In three steps: what each run's sums wait for is long, and so many runs wait together.
QB_INLINE void near_eights(const struct qb_grid *grid, const float *x, const float *w, size_t runs, float inv,
                           uint16_t *points, float *a, float *b)
{
    const __m256 by = _mm256_set1_ps(inv);
    const uint16_t *nearby[TOGETHER];
    for (size_t r = 0; r < runs; r++) nearby[r] = neighbours(grid, _mm256_mul_ps(_mm256_loadu_ps(x + 8 * r), by));
    for (size_t r = 0; r < runs; r++) {
        const __m256 t = _mm256_mul_ps(_mm256_loadu_ps(x + 8 * r), by), weight = _mm256_loadu_ps(w + 8 * r);
        const __m256 twice = _mm256_add_ps(t, t);
        __m256 pairs[8];
        QB_UNROLL
        for (int j = 0; j < 8; j++)
            pairs[j] = in_halves(terms_at(grid->values + 8 * nearby[r][2 * j], weight, twice),
                                 terms_at(grid->values + 8 * nearby[r][2 * j + 1], weight, twice));
        points[r] = nearby[r][first_greatest(scores_of(pairs[0], pairs[1], pairs[2], pairs[3]),
                                           scores_of(pairs[4], pairs[5], pairs[6], pairs[7]))];
    }
    for (size_t r = 0; r < runs; r++) {
        const __m256 level = levels_at(grid->values + 8 * points[r]);
        const __m256 weighted = _mm256_mul_ps(_mm256_loadu_ps(w + 8 * r), level);
        const __m256 with_x = _mm256_mul_ps(weighted, _mm256_loadu_ps(x + 8 * r));
        const __m256 with_level = _mm256_mul_ps(weighted, level);
        a[r] = folded(_mm_add_ps(_mm256_castps256_ps128(with_x), _mm256_extractf128_ps(with_x, 1)));
        b[r] = folded(_mm_add_ps(_mm256_castps256_ps128(with_level), _mm256_extractf128_ps(with_level, 1)));
    }
}

QB_INLINE void near_fours(const struct qb_grid *grid, const float *x, const float *w, size_t runs, float inv,
                          uint16_t *points, float *a, float *b)
{
    const __m128 by = _mm_set1_ps(inv), from = _mm_set1_ps(grid->low), per_step = _mm_set1_ps(grid->per_step);
    const __m128i powers = _mm_setr_epi16(1, 8, 64, 512, 0, 0, 0, 0);
    for (size_t r = 0; r < runs; r++) {
        const __m128 v = _mm_loadu_ps(x + 4 * r), weight = _mm_loadu_ps(w + 4 * r), t = _mm_mul_ps(v, by);
        __m128 digit = _mm_max_ps(_mm_mul_ps(_mm_sub_ps(t, from), per_step), _mm_setzero_ps());
        digit = _mm_min_ps(digit, _mm_set1_ps(7.0f));
        __m128i sums = _mm_cvtps_epi32(digit);
        sums = _mm_madd_epi16(_mm_packs_epi32(sums, sums), powers);
        sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0xB1));
        const size_t at = (size_t)(unsigned)_mm_cvtsi128_si32(sums) * QB_NEAR;
        const int8_t *const values = grid->nearby_values + 4 * at;
        const __m256 weights = _mm256_set_m128(weight, weight), one = _mm256_set_m128(t, t);
        const __m256 twice = _mm256_add_ps(one, one);
        __m256 pairs[8];
        QB_UNROLL
        for (int j = 0; j < 8; j++) pairs[j] = terms_at(values + 8 * j, weights, twice);
        const unsigned place = first_greatest(scores_of(pairs[0], pairs[1], pairs[2], pairs[3]),
                                              scores_of(pairs[4], pairs[5], pairs[6], pairs[7]));
        points[r] = grid->nearby[at + place];
        int32_t four;
        memcpy(&four, values + 4 * place, 4);
        const __m128 level = _mm_cvtepi32_ps(_mm_cvtepi8_epi32(_mm_cvtsi32_si128(four)));
        const __m128 weighted = _mm_mul_ps(weight, level);
        a[r] = folded(_mm_mul_ps(weighted, v));
        b[r] = folded(_mm_mul_ps(weighted, level));
    }
}

void qb_nearby_avx2(const struct qb_grid *grid, const float *x, const float *w, size_t runs, float inv,
                  uint16_t *points, float *a, float *b)
{
    for (size_t r = 0; r < runs; r += TOGETHER) {
        const size_t n = runs - r < TOGETHER ? runs - r : TOGETHER, at = r * grid->dims;
        if (grid->dims == 8) near_eights(grid, x + at, w + at, n, inv, points + r, a + r, b + r);
        else near_fours(grid, x + at, w + at, n, inv, points + r, a + r, b + r);
    }
}

QB_TARGET_END
#endif
