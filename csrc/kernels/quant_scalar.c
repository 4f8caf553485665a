// SPDX-License-Identifier: Apache-2.0
// Defines how floats become codes and codes floats: one rounding per written operation, ties to even.
#include "kernels.h"

#include "../base/float16.h"
#include "../base/target.h"

#include <math.h>

void qb_widen_f16_scalar(const uint16_t *x, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) out[i] = qb_f16_to_f32(x[i]);
}

void qb_narrow_f16_scalar(const float *x, size_t n, uint16_t *out)
{
    for (size_t i = 0; i < n; i++) out[i] = qb_f32_to_f16(x[i]);
}

int qb_range_scalar(const float *x, size_t n, size_t group, float *lo, float *hi)
{
    int bad = 0;
    for (size_t i = 0; i < n; lo++, hi++) {
        const size_t end = n - i < group ? n : i + group;
        float least = x[i], greatest = x[i];
        for (; i < end; i++) {
            bad |= !isfinite(x[i]);
            if (x[i] < least) least = x[i];
            if (x[i] > greatest) greatest = x[i];
        }
        *lo = least + 0.0f; // -0 becomes +0
        *hi = greatest + 0.0f;
    }
    return bad;
}

QB_INLINE float level_of(float v, float inv, float z, float lo, float hi)
{
    float t = rintf(v * inv) + z;
    t = t > lo ? t : lo;
    return t < hi ? t : hi;
}

void qb_encode_scalar(const float *x, size_t n, size_t group, const float *off, const float *inv,
                      const float *z, float lo, float hi, uint8_t *codes)
{
    for (size_t i = 0; i < n; off++, inv++, z++) {
        const size_t end = n - i < group ? n : i + group;
        for (; i < end; i++) codes[i] = (uint8_t)(int)level_of(x[i] - *off, *inv, *z, lo, hi);
    }
}

void qb_decode_scalar(const uint8_t *codes, size_t n, size_t group, const float *d, const float *z,
                      const float *m, float *out)
{
    for (size_t i = 0, g = 0; i < n; g++) {
        const size_t end = n - i < group ? n : i + group;
        for (; i < end; i++) {
            const float value = d[g] * ((float)codes[i] - z[g]);
            out[i] = m ? value + m[g] : value;
        }
    }
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
                const float l = level_of(v, p->inv[k], 0, p->lo[k], p->hi[k]);
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
            const float y = p->d[k] * level_of(v - p->off[k], p->inv[k], 0, p->lo[k], p->hi[k]) + p->m[k];
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
        if (!(size <= most)) most = isnan(size) ? (double)INFINITY : size;
    }
    return most;
}
