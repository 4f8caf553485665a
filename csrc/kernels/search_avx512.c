// SPDX-License-Identifier: Apache-2.0
// The sums of a search, all sixteen lanes in one register. fma only where the product is exact
// (products of levels, squares of floats in double): there it rounds as separate operations do.
#include "kernels.h"

#include "../base/target.h"

#if QB_X86

#include <math.h>

QB_TARGET_BEGIN(QB_TARGET_AVX512)

struct lanes {
    __m512 off, inv, lo, hi;
};

QB_INLINE struct lanes lanes_of(const struct qb_lanes *p)
{
    return (struct lanes){_mm512_loadu_ps(p->off), _mm512_loadu_ps(p->inv), _mm512_loadu_ps(p->lo),
                          _mm512_loadu_ps(p->hi)};
}

// Levels of v = x - off. The order of operands makes a NaN the lower bound.
QB_INLINE __m512 level_of(__m512 v, const struct lanes *p)
{
    const __m512 level = _mm512_roundscale_ps(_mm512_mul_ps(v, p->inv),
                                              _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return _mm512_min_ps(_mm512_max_ps(level, p->lo), p->hi);
}

// ---- fit --------------------------------------------------------------------------------------------

// Adds to the totals; the first block sets them.
QB_INLINE void add_widened(double *total, __m512 sum, int first)
{
    const __m512d parts[2] = {_mm512_cvtps_pd(_mm512_castps512_ps256(sum)),
                              _mm512_cvtps_pd(_mm512_extractf32x8_ps(sum, 1))};
    for (int j = 0; j < 2; j++) {
        const __m512d so_far = first ? _mm512_setzero_pd() : _mm512_loadu_pd(total + 8 * j);
        _mm512_storeu_pd(total + 8 * j, _mm512_add_pd(so_far, parts[j]));
    }
}

QB_INLINE void fit(const float *x, const float *w, size_t n, const struct qb_lanes *params,
                   struct qb_moments *out, const int weighted)
{
    const struct lanes p = lanes_of(params);
    size_t i = 0;
    do {
        const int first = i == 0;
        const size_t end = n - i < QB_BLOCK_MAX ? n : i + QB_BLOCK_MAX;
        __m512 sl = _mm512_setzero_ps(), sll = sl, slv = sl;
        for (; i < end; i++) {
            const __m512 v = _mm512_sub_ps(_mm512_loadu_ps(x + i * QB_LANES), p.off);
            const __m512 l = level_of(v, &p);
            const __m512 wl = weighted ? _mm512_mul_ps(_mm512_loadu_ps(w + i * QB_LANES), l) : l;
            sl = _mm512_add_ps(sl, wl);
            // Levels are below 2^8 and a block has 2^8: without weights all of this is exact.
            sll = weighted ? _mm512_add_ps(sll, _mm512_mul_ps(wl, l)) : _mm512_fmadd_ps(l, l, sll);
            slv = _mm512_add_ps(slv, _mm512_mul_ps(wl, v));
        }
        add_widened(out->l, sl, first);
        add_widened(out->ll, sll, first);
        add_widened(out->lv, slv, first);
    } while (i < n);
}

void qb_fit_avx512(const float *x, const float *w, size_t n, const struct qb_lanes *p,
                   struct qb_moments *out)
{
    if (w) fit(x, w, n, p, out, 1);
    else fit(x, w, n, p, out, 0);
}

// ---- trial ------------------------------------------------------------------------------------------

QB_INLINE __m512d squared(__m512d sum, __m256 x, __m256 y, const float *w)
{
    const __m512d e = _mm512_sub_pd(_mm512_cvtps_pd(x), _mm512_cvtps_pd(y));
    __m512d ee = _mm512_mul_pd(e, e);
    if (w) ee = _mm512_mul_pd(ee, _mm512_cvtps_pd(_mm256_loadu_ps(w)));
    return _mm512_add_pd(sum, ee);
}

QB_INLINE void trial(const float *x, const float *w, size_t n, const struct qb_lanes *params,
                     double *err, const int weighted)
{
    const struct lanes p = lanes_of(params);
    const __m512 d = _mm512_loadu_ps(params->d), m = _mm512_loadu_ps(params->m);
    __m512d low = _mm512_setzero_pd(), high = low;
    for (size_t i = 0; i < n * QB_LANES; i += QB_LANES) {
        const __m512 v = _mm512_loadu_ps(x + i);
        const __m512 level = level_of(_mm512_sub_ps(v, p.off), &p);
        const __m512 y = _mm512_add_ps(_mm512_mul_ps(d, level), m);
        low = squared(low, _mm256_loadu_ps(x + i), _mm512_castps512_ps256(y),
                      weighted ? w + i : NULL);
        high = squared(high, _mm256_loadu_ps(x + i + 8), _mm512_extractf32x8_ps(y, 1),
                       weighted ? w + i + 8 : NULL);
    }
    _mm512_storeu_pd(err, low);
    _mm512_storeu_pd(err + 8, high);
}

void qb_trial_avx512(const float *x, const float *w, size_t n, const struct qb_lanes *p,
                     double *err)
{
    if (w) trial(x, w, n, p, err, 1);
    else trial(x, w, n, p, err, 0);
}

// ---- error ------------------------------------------------------------------------------------------

struct errors {
    __m512d xx, ee, most;
};

// Of eight lanes, those in `some`.
QB_INLINE void add_errors(struct errors *s, __m256 x, __m256 y, __mmask8 some)
{
    const __m512d v = _mm512_cvtps_pd(x), e = _mm512_sub_pd(v, _mm512_cvtps_pd(y));
    s->xx = _mm512_mask3_fmadd_pd(v, v, s->xx, some); // exact: 48 bits
    s->ee = _mm512_mask_add_pd(s->ee, some, s->ee, _mm512_mul_pd(e, e));
    s->most = _mm512_max_pd(_mm512_abs_pd(e), s->most); // passes a NaN over
}

double qb_error_avx512(const float *x, const float *y, size_t n, struct qb_error_sums *sums)
{
    struct errors s[2];
    for (int j = 0; j < 2; j++)
        s[j] = (struct errors){_mm512_loadu_pd(sums->xx + 8 * j), _mm512_loadu_pd(sums->ee + 8 * j),
                               _mm512_setzero_pd()};
    for (; n >= QB_LANES; n -= QB_LANES, x += QB_LANES, y += QB_LANES)
        for (int j = 0; j < 2; j++)
            add_errors(&s[j], _mm256_loadu_ps(x + 8 * j), _mm256_loadu_ps(y + 8 * j), 0xFF);
    for (int j = 0; j < 2; j++) {
        const size_t first = 8 * (size_t)j, left = n < first ? 0 : n - first;
        const __mmask8 some = (__mmask8)((1u << (left < 8 ? left : 8)) - 1);
        if (some)
            add_errors(&s[j], _mm256_maskz_loadu_ps(some, x + first),
                       _mm256_maskz_loadu_ps(some, y + first), some);
        _mm512_storeu_pd(sums->xx + first, s[j].xx);
        _mm512_storeu_pd(sums->ee + first, s[j].ee);
    }
    const __m512d both = _mm512_add_pd(s[0].ee, s[1].ee); // squares: NaN only from one that is
    if (_mm512_cmp_pd_mask(both, both, _CMP_UNORD_Q)) return (double)INFINITY;
    return _mm512_reduce_max_pd(_mm512_max_pd(s[0].most, s[1].most));
}

QB_TARGET_END

#endif
