// SPDX-License-Identifier: Apache-2.0
// Levels of eight lanes, and their sums over a run of at most QB_BLOCK_MAX elements: the body of kernel fit for
// tiers with ymm registers. To be included within a target region.
#ifndef QB_FIT_YMM_H
#define QB_FIT_YMM_H

#include "kernels.h"

#include "../base/target.h"

// Eight lanes' parameters. They were often written just before, four at a time: eight read at once would wait
// for those stores to be through.
QB_INLINE __m256 qb_eight_ymm(const float *p)
{
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + 4), 1);
}

// Eight lanes' levels of v = x - off. The order of operands makes a NaN the lower bound.
QB_INLINE __m256 qb_level_ymm(__m256 v, const struct qb_lanes *p, size_t k)
{
    const __m256 t = _mm256_mul_ps(v, qb_eight_ymm(p->inv + k));
    const __m256 level = _mm256_round_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return _mm256_min_ps(_mm256_max_ps(level, qb_eight_ymm(p->lo + k)), qb_eight_ymm(p->hi + k));
}

QB_INLINE __m256 qb_shifted_ymm(__m256 x, const struct qb_lanes *p, size_t k, const int shifted)
{
    return shifted ? _mm256_sub_ps(x, qb_eight_ymm(p->off + k)) : x;
}

struct qb_sums_ymm {
    __m256 l, ll, lv; // of eight lanes
};

// The sum l is left at zero unless `means`.
QB_INLINE void qb_fit_step_ymm(struct qb_sums_ymm *s, const float *x, const float *w, const struct qb_lanes *p,
                               size_t k, const int shifted, const int weighted, const int means)
{
    const __m256 v = qb_shifted_ymm(_mm256_loadu_ps(x + k), p, k, shifted);
    const __m256 l = qb_level_ymm(v, p, k);
    const __m256 wl = weighted ? _mm256_mul_ps(_mm256_loadu_ps(w + k), l) : l;
    if (means) s->l = _mm256_add_ps(s->l, wl);
    // Levels are below 2^8 and a run has 2^8: without weights all of this is exact.
    s->ll = weighted ? _mm256_add_ps(s->ll, _mm256_mul_ps(wl, l)) : _mm256_fmadd_ps(l, l, s->ll);
    s->lv = _mm256_add_ps(s->lv, _mm256_mul_ps(wl, v));
}

// Both halves of the lanes together, so that the chains of additions hide each other's latency.
QB_INLINE void qb_fit_run_ymm(struct qb_sums_ymm s[2], const float *x, const float *w, size_t n,
                              const struct qb_lanes *p, const int shifted, const int weighted, const int means)
{
    const __m256 zero = _mm256_setzero_ps();
    struct qb_sums_ymm a = {zero, zero, zero}, b = a;
    for (size_t i = 0; i < n * QB_LANES; i += QB_LANES) {
        const float *const weights = weighted ? w + i : NULL;
        qb_fit_step_ymm(&a, x + i, weights, p, 0, shifted, weighted, means);
        qb_fit_step_ymm(&b, x + i, weights, p, 8, shifted, weighted, means);
    }
    s[0] = a;
    s[1] = b;
}

#endif
