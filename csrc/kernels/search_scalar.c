// SPDX-License-Identifier: Apache-2.0
// Defines the sums a search compares: each lane adds in index order, one rounding per operation, so
// that the lanes may be vectorised and the order may not.
#include "kernels.h"

#include "../base/target.h"

#include <math.h>

QB_INLINE float level_of(float v, const struct qb_lanes *p, size_t k)
{
    float t = rintf(v * p->inv[k]);
    t = t > p->lo[k] ? t : p->lo[k];
    return t < p->hi[k] ? t : p->hi[k];
}

void qb_fit_scalar(const float *x, const float *w, size_t n, const struct qb_lanes *p,
                   struct qb_moments *out)
{
    for (size_t k = 0; k < QB_LANES; k++) {
        out->l[k] = out->ll[k] = out->lv[k] = 0;
        for (size_t i = 0; i < n;) {
            const size_t end = n - i < QB_BLOCK_MAX ? n : i + QB_BLOCK_MAX;
            float sl = 0, sll = 0, slv = 0;
            for (; i < end; i++) {
                const float v = x[i * QB_LANES + k] - p->off[k];
                const float l = level_of(v, p, k);
                const float wl = w ? w[i * QB_LANES + k] * l : l;
                sl += wl;
                sll += wl * l;
                slv += wl * v;
            }
            out->l[k] += (double)sl;
            out->ll[k] += (double)sll;
            out->lv[k] += (double)slv;
        }
    }
}

void qb_trial_scalar(const float *x, const float *w, size_t n, const struct qb_lanes *p, double *err)
{
    for (size_t k = 0; k < QB_LANES; k++) {
        err[k] = 0;
        for (size_t i = 0; i < n; i++) {
            const float v = x[i * QB_LANES + k];
            const float y = p->d[k] * level_of(v - p->off[k], p, k) + p->m[k];
            const double e = (double)v - (double)y;
            err[k] += w ? e * e * (double)w[i * QB_LANES + k] : e * e;
        }
    }
}

double qb_error_scalar(const float *x, const float *y, size_t n, struct qb_error_sums *sums)
{
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        const double v = x[i], e = v - (double)y[i], size = fabs(e);
        sums->xx[i % QB_LANES] += v * v;
        sums->ee[i % QB_LANES] += e * e;
        if (size > most) most = size;
    }
    for (size_t k = 0; k < QB_LANES; k++)
        if (isnan(sums->ee[k])) most = (double)INFINITY;
    return most;
}
