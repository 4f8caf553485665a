// SPDX-License-Identifier: Apache-2.0
// The sums of a search, eight lanes to a register. fma only where the product is exact (products of
// levels, squares of floats in double): there it rounds as the separate operations do.
#include "kernels.h"

#include "../base/target.h"

#if QB_X86

#include <math.h>

QB_TARGET_BEGIN(QB_TARGET_AVX2)

#include "fit_ymm.h"

// Taking +-0 off changes no sum: the sign of a zero never reaches one.
QB_INLINE int any_shift(const struct qb_lanes *p)
{
    const __m256 zero = _mm256_setzero_ps();
    const __m256 low = _mm256_cmp_ps(_mm256_loadu_ps(p->off), zero, _CMP_NEQ_UQ);
    const __m256 high = _mm256_cmp_ps(_mm256_loadu_ps(p->off + 8), zero, _CMP_NEQ_UQ);
    return _mm256_movemask_ps(_mm256_or_ps(low, high));
}

// ---- fit --------------------------------------------------------------------------------------------

// Adds to the totals; the first block sets them.
QB_INLINE void add_widened(double *total, __m256 sum, int first)
{
    const __m256d parts[2] = {_mm256_cvtps_pd(_mm256_castps256_ps128(sum)),
                              _mm256_cvtps_pd(_mm256_extractf128_ps(sum, 1))};
    for (int j = 0; j < 2; j++) {
        const __m256d so_far = first ? _mm256_setzero_pd() : _mm256_loadu_pd(total + 4 * j);
        _mm256_storeu_pd(total + 4 * j, _mm256_add_pd(so_far, parts[j]));
    }
}

QB_INLINE void fit(const float *x, const float *w, size_t n, const struct qb_lanes *p,
                   struct qb_moments *out, const int shifted, const int weighted)
{
    size_t i = 0;
    do {
        const int first = i == 0;
        const size_t run = n - i < QB_BLOCK_MAX ? n - i : QB_BLOCK_MAX;
        struct qb_sums_ymm sums[2];
        qb_fit_run_ymm(sums, x + i * QB_LANES, weighted ? w + i * QB_LANES : NULL, run, p, shifted, weighted, 1);
        for (int h = 0; h < 2; h++) {
            add_widened(out->l + 8 * h, sums[h].l, first);
            add_widened(out->ll + 8 * h, sums[h].ll, first);
            add_widened(out->lv + 8 * h, sums[h].lv, first);
        }
        i += run;
    } while (i < n);
}

void qb_fit_avx2(const float *x, const float *w, size_t n, const struct qb_lanes *p,
                 struct qb_moments *out)
{
    const int shifted = any_shift(p);
    if (w && shifted) fit(x, w, n, p, out, 1, 1);
    else if (w) fit(x, w, n, p, out, 0, 1);
    else if (shifted) fit(x, w, n, p, out, 1, 0);
    else fit(x, w, n, p, out, 0, 0);
}

// ---- trial ------------------------------------------------------------------------------------------

QB_INLINE __m256d squared(__m256d sum, __m128 x, __m128 y, const float *w)
{
    const __m256d e = _mm256_sub_pd(_mm256_cvtps_pd(x), _mm256_cvtps_pd(y));
    __m256d ee = _mm256_mul_pd(e, e);
    if (w) ee = _mm256_mul_pd(ee, _mm256_cvtps_pd(_mm_loadu_ps(w)));
    return _mm256_add_pd(sum, ee);
}

QB_INLINE void trial(const float *x, const float *w, size_t n, const struct qb_lanes *p,
                     double *err, const int shifted, const int weighted)
{
    __m256d sums[4];
    for (int j = 0; j < 4; j++) sums[j] = _mm256_setzero_pd();
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < QB_LANES; k += 8) {
            const float *const at = x + i * QB_LANES + k, *const weights = w + i * QB_LANES + k;
            const __m256 v = _mm256_loadu_ps(at);
            const __m256 level = qb_level_ymm(qb_shifted_ymm(v, p, k, shifted), p, k);
            const __m256 y = _mm256_add_ps(_mm256_mul_ps(_mm256_loadu_ps(p->d + k), level),
                                           _mm256_loadu_ps(p->m + k));
            sums[k / 4] = squared(sums[k / 4], _mm_loadu_ps(at), _mm256_castps256_ps128(y),
                                  weighted ? weights : NULL);
            sums[k / 4 + 1] = squared(sums[k / 4 + 1], _mm_loadu_ps(at + 4),
                                      _mm256_extractf128_ps(y, 1), weighted ? weights + 4 : NULL);
        }
    }
    for (int j = 0; j < 4; j++) _mm256_storeu_pd(err + 4 * j, sums[j]);
}

void qb_trial_avx2(const float *x, const float *w, size_t n, const struct qb_lanes *p, double *err)
{
    const int shifted = any_shift(p);
    if (w && shifted) trial(x, w, n, p, err, 1, 1);
    else if (w) trial(x, w, n, p, err, 0, 1);
    else if (shifted) trial(x, w, n, p, err, 1, 0);
    else trial(x, w, n, p, err, 0, 0);
}

// ---- error ------------------------------------------------------------------------------------------

double qb_error_avx2(const float *x, const float *y, size_t n, struct qb_error_sums *sums)
{
    const __m256d sign = _mm256_set1_pd(-0.0);
    __m256d xx[4], ee[4], most[4];
    for (int j = 0; j < 4; j++) {
        xx[j] = _mm256_loadu_pd(sums->xx + 4 * j);
        ee[j] = _mm256_loadu_pd(sums->ee + 4 * j);
        most[j] = _mm256_setzero_pd();
    }
    size_t i = 0;
    for (; n - i >= QB_LANES; i += QB_LANES) {
        QB_UNROLL for (size_t j = 0; j < 4; j++) {
            const __m256d v = _mm256_cvtps_pd(_mm_loadu_ps(x + i + 4 * j));
            const __m256d e = _mm256_sub_pd(v, _mm256_cvtps_pd(_mm_loadu_ps(y + i + 4 * j)));
            xx[j] = _mm256_fmadd_pd(v, v, xx[j]); // exact: 48 bits
            ee[j] = _mm256_add_pd(ee[j], _mm256_mul_pd(e, e));
            most[j] = _mm256_max_pd(_mm256_andnot_pd(sign, e), most[j]); // passes a NaN over
        }
    }
    double four[4], largest = 0;
    for (int j = 0; j < 4; j++) {
        _mm256_storeu_pd(sums->xx + 4 * j, xx[j]);
        _mm256_storeu_pd(sums->ee + 4 * j, ee[j]);
        most[0] = _mm256_max_pd(most[j], most[0]);
    }
    _mm256_storeu_pd(four, most[0]);
    for (int j = 0; j < 4; j++) largest = four[j] > largest ? four[j] : largest;
    for (; i < n; i++) {
        const double v = x[i], e = v - (double)y[i], size = fabs(e);
        sums->xx[i % QB_LANES] += v * v;
        sums->ee[i % QB_LANES] += e * e;
        if (size > largest) largest = size;
    }
    for (size_t k = 0; k < QB_LANES; k++)
        if (isnan(sums->ee[k])) largest = (double)INFINITY;
    return largest;
}

QB_TARGET_END

#endif
