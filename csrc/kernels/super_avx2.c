// SPDX-License-Identifier: Apache-2.0
// The steps of a search over segments side by side, four lanes of doubles at a time; the moments are those of
// the tier's own fit kernel.
#include "kernels.h"

#include "../base/target.h"

#if QB_X86
QB_TARGET_BEGIN(QB_TARGET_AVX2)

QB_INLINE __m256d widened(const float *p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
QB_INLINE __m256d load(const double *p) { return _mm256_loadu_pd(p); }
QB_INLINE __m256d mul(__m256d a, __m256d b) { return _mm256_mul_pd(a, b); }
QB_INLINE __m256d add(__m256d a, __m256d b) { return _mm256_add_pd(a, b); }
QB_INLINE __m256d sub(__m256d a, __m256d b) { return _mm256_sub_pd(a, b); }
QB_INLINE __m256d twice(__m256d a) { return _mm256_add_pd(a, a); }

void qb_measure_avx2(const float *x, const float *w, size_t n, struct qb_segments *s)
{
    for (size_t k = 0; k < QB_LANES; k += 8) {
        __m256 lo = _mm256_setzero_ps(), hi = _mm256_loadu_ps(x + k);
        __m256d sums[2] = {_mm256_setzero_pd(), _mm256_setzero_pd()}, weights[2] = {sums[0], sums[0]};
        for (size_t i = k; i < n * QB_LANES; i += QB_LANES) {
            const __m256 v = _mm256_loadu_ps(x + i);
            lo = _mm256_min_ps(v, lo);
            hi = _mm256_max_ps(v, hi);
            QB_UNROLL
            for (size_t h = 0; h < 2; h++) {
                const __m256d weight = w ? widened(w + i + 4 * h) : _mm256_set1_pd(1.0), half = widened(x + i + 4 * h);
                weights[h] = add(weights[h], weight);
                sums[h] = add(sums[h], w ? mul(weight, half) : half);
            }
        }
        _mm256_storeu_ps(s->lo + k, lo);
        _mm256_storeu_ps(s->hi + k, hi);
        for (size_t h = 0; h < 2; h++) {
            _mm256_storeu_pd(s->weight + k + 4 * h, weights[h]);
            _mm256_storeu_pd(s->sum + k + 4 * h, sums[h]);
        }
    }
}

QB_INLINE __m256d gain_of(__m256d d, __m256d m, __m256d l, __m256d ll, __m256d lx, __m256d sum, __m256d weight)
{
    const __m256d cross = twice(add(mul(d, lx), mul(m, sum)));
    return sub(cross, add(mul(d, add(mul(d, ll), twice(mul(m, l)))), mul(m, mul(m, weight))));
}

// *best = value where the mask is set.
QB_INLINE void keep(double *best, __m256d value, __m256d mask)
{
    _mm256_storeu_pd(best, _mm256_blendv_pd(load(best), value, mask));
}

void qb_propose_avx2(const float *x, const float *w, size_t n, const struct qb_lanes *ask, int has_min,
                     struct qb_segments *s)
{
    struct qb_moments got;
    qb_fit_avx2(x, w, n, ask, &got);
    for (size_t k = 0; k < QB_LANES; k += 4) {
        const __m256d l = load(got.l + k), ll = load(got.ll + k), weight = load(s->weight + k), sum = load(s->sum + k);
        const __m256d lx = add(load(got.lv + k), mul(widened(ask->off + k), l));
        __m256d d = _mm256_div_pd(lx, ll), m = _mm256_setzero_pd();
        if (has_min) {
            const __m256d everything = mul(weight, ll), spread = sub(everything, mul(l, l));
            const __m256d both = _mm256_div_pd(sub(mul(weight, lx), mul(l, sum)), spread);
            const __m256d least = _mm256_div_pd(sub(sum, mul(both, l)), weight);
            const __m256d spreads = _mm256_cmp_pd(spread, mul(_mm256_set1_pd(QB_SPREAD), everything), _CMP_GT_OQ);
            const __m256d below = _mm256_and_pd(_mm256_cmp_pd(least, m, _CMP_LT_OQ), spreads);
            const __m256d no_level = _mm256_cmp_pd(ll, m, _CMP_EQ_OQ);
            const __m256d mean = _mm256_div_pd(_mm256_min_pd(sum, m), weight);
            d = _mm256_andnot_pd(no_level, _mm256_blendv_pd(d, both, below));
            m = _mm256_blendv_pd(_mm256_and_pd(least, below), mean, no_level);
        }
        const __m256d gain = gain_of(d, m, l, ll, lx, sum, weight);
        const __m256d better = _mm256_cmp_pd(gain, load(s->gain + k), _CMP_GT_OQ);
        keep(s->gain + k, gain, better);
        keep(s->d + k, d, better);
        keep(s->m + k, m, better);
    }
}

void qb_beside_avx2(const float *x, const float *w, size_t n, const struct qb_lanes *ask, const struct qb_units *u,
                    int has_min, struct qb_segments *s)
{
    struct qb_moments got;
    qb_fit_avx2(x, w, n, ask, &got);
    for (size_t k = 0; k < QB_LANES; k += 4) {
        const __m256d l = load(got.l + k), weight = load(s->weight + k), sum = load(s->sum + k);
        const __m256d lx = add(load(got.lv + k), mul(widened(ask->off + k), l)), d = widened(ask->d + k);
        __m128 min = _mm_setzero_ps();
        if (has_min) {
            const __m256d wanted = _mm256_div_pd(sub(mul(d, l), sum), weight);
            const __m128 steps = _mm_mul_ps(_mm256_cvtpd_ps(wanted), _mm_loadu_ps(u->inv_m + k));
            const __m128 legal = _mm_min_ps(_mm_max_ps(steps, min), _mm_set1_ps(u->top)); // a NaN becomes 0
            min = _mm_sub_ps(_mm_add_ps(legal, _mm_set1_ps(0x1.8p23f)), _mm_set1_ps(0x1.8p23f));
        }
        const __m128 m = _mm_xor_ps(_mm_mul_ps(_mm_loadu_ps(u->m + k), min), _mm_set1_ps(-0.0f));
        const __m256d gain = gain_of(d, _mm256_cvtps_pd(m), l, load(got.ll + k), lx, sum, weight);
        const __m256d better = _mm256_cmp_pd(gain, load(s->gain + k), _CMP_GT_OQ);
        keep(s->gain + k, gain, better);
        // The mask of doubles, its even words, as one of floats.
        const __m256 words = _mm256_castpd_ps(better);
        const __m128 mask = _mm_shuffle_ps(_mm256_castps256_ps128(words), _mm256_extractf128_ps(words, 1), 0x88);
        _mm_storeu_ps(s->scale + k, _mm_blendv_ps(_mm_loadu_ps(s->scale + k), _mm_loadu_ps(u->scale + k), mask));
        _mm_storeu_ps(s->min + k, _mm_blendv_ps(_mm_loadu_ps(s->min + k), min, mask));
    }
}

void qb_book_avx2(const float *x, const float *w, size_t n, const float *inv, const float *levels, float *a, float *b)
{
    float middle[15];
    for (int j = 0; j < 15; j++) middle[j] = 0.5f * (levels[j] + levels[j + 1]);
    __m256 sum_a[2], sum_b[2];
    for (int h = 0; h < 2; h++) sum_a[h] = sum_b[h] = _mm256_setzero_ps();
    for (size_t i = 0; i < n * QB_LANES; i += QB_LANES) {
        __m256 v[2], level[2];
        QB_UNROLL
        for (int h = 0; h < 2; h++) {
            v[h] = _mm256_mul_ps(_mm256_loadu_ps(x + i + 8 * h), _mm256_loadu_ps(inv + 8 * h));
            level[h] = _mm256_broadcast_ss(levels);
        }
        for (int j = 0; j < 15; j++) {
            const __m256 from = _mm256_broadcast_ss(middle + j), next = _mm256_broadcast_ss(levels + j + 1);
            QB_UNROLL
            for (int h = 0; h < 2; h++)
                level[h] = _mm256_blendv_ps(level[h], next, _mm256_cmp_ps(v[h], from, _CMP_GE_OQ));
        }
        QB_UNROLL
        for (int h = 0; h < 2; h++) {
            const __m256 weighted = _mm256_mul_ps(_mm256_loadu_ps(w + i + 8 * h), level[h]);
            sum_a[h] = _mm256_add_ps(sum_a[h], _mm256_mul_ps(weighted, _mm256_loadu_ps(x + i + 8 * h)));
            sum_b[h] = _mm256_add_ps(sum_b[h], _mm256_mul_ps(weighted, level[h]));
        }
    }
    for (int h = 0; h < 2; h++) {
        _mm256_storeu_ps(a + 8 * h, sum_a[h]);
        _mm256_storeu_ps(b + 8 * h, sum_b[h]);
    }
}

QB_TARGET_END
#endif
