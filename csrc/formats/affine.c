// SPDX-License-Identifier: Apache-2.0
#include "affine.h"

#include "stored.h"

#include <float.h>
#include <math.h>

float qb_lowest_level(const qb_format *format)
{
    return format->zero == QB_ZERO_NONE ? -(float)(1 << (format->bits - 1)) : 0.0f;
}

float qb_highest_level(const qb_format *format)
{
    return (float)((1 << (format->zero == QB_ZERO_NONE ? format->bits - 1 : format->bits)) - 1);
}

int qb_affine_takes_means(const qb_format *format)
{
    return format->bits == 1 && format->zero != QB_ZERO_POINT;
}

void qb_means_first(const qb_format *format, struct qb_means *s, const float *x, size_t n)
{
    double sum = s->sum;
    if (format->zero == QB_ZERO_NONE) {
        for (size_t i = 0; i < n; i++) sum += (double)fabsf(x[i]);
    } else {
        for (size_t i = 0; i < n; i++) sum += (double)x[i];
    }
    s->sum = sum;
    s->n += n;
}

void qb_means_split(struct qb_means *s) { s->split = (float)(s->sum / (double)s->n); }

void qb_means_second(struct qb_means *s, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (x[i] < s->split) {
            s->below += (double)x[i];
            s->n_below++;
        } else {
            s->above += (double)x[i];
        }
    }
}

void qb_affine_from_means(const qb_format *format, const struct qb_means *s, float lo, float hi, float *d,
                          float *m)
{
    if (format->zero == QB_ZERO_NONE) {
        *d = (float)(s->sum / (double)s->n);
    } else if (s->n_below == 0) { // all the same, or so close that their mean rounds to the least
        *m = lo;
        *d = hi;
    } else {
        *m = (float)(s->below / (double)s->n_below);
        *d = (float)(s->above / (double)(s->n - s->n_below)); // m is taken off once it is rounded
    }
}

static float below_zero(float x) { return x < 0.0f ? x : 0.0f; }
static float above_zero(float x) { return x > 0.0f ? x : 0.0f; }

int qb_affine_ends(const struct qb_kernels *k, const qb_format *format, const float *x, size_t n,
                   size_t group, float *lo, float *hi)
{
    return format->zero == QB_ZERO_NONE ? k->extremes(x, n, group, hi) : k->range(x, n, group, lo, hi);
}

float qb_affine_farthest(const qb_format *format, float lo, float hi)
{
    return format->zero == QB_ZERO_NONE || hi > -lo ? hi : lo;
}

void qb_affine_from_ends(const qb_format *format, const float *lo, const float *hi, size_t n,
                         const struct qb_params *p)
{
    const float top = (float)((1 << format->bits) - 1);
    const float step = (float)(1 << (QB_MAX_BITS - format->bits)) * -0x1p-7f; // -1/h: as exact as dividing
    switch (format->zero) {
    case QB_ZERO_NONE:
        for (size_t g = 0; g < n; g++) p->d[g] = hi[g] * step;
        break;
    case QB_ZERO_MIN: // the rest in qb_affine_settle, from the rounded minimum
        for (size_t g = 0; g < n; g++) p->m[g] = lo[g];
        for (size_t g = 0; g < n; g++) p->d[g] = hi[g];
        break;
    default:
        for (size_t g = 0; g < n; g++) p->d[g] = (above_zero(hi[g]) - below_zero(lo[g])) / top;
    }
}

size_t qb_affine_settle(const struct qb_kernels *k, const qb_format *format, const float *lo, size_t n,
                        const struct qb_params *p)
{
    const float top = (float)((1 << format->bits) - 1);
    float *const restrict d = p->d, *const restrict m = p->m, *const restrict inv = p->inv;
    // The code farthest from the one that stands for m: its value must be finite, which d and m then are.
    const float far = format->zero == QB_ZERO_NONE ? (float)(1 << (format->bits - 1)) : top;
    int bad = 0;
    if (format->zero == QB_ZERO_MIN) {
        qb_round_scales(k, format->scale, m, n);
        // Here d still is the upper end: hi, or at one bit (top is 1) the upper mean.
        for (size_t g = 0; g < n; g++) d[g] = (d[g] - m[g]) / top;
    }
    if (format->scale == QB_F16) { // if m is infinite d is, and the value of two finite halves is finite
        bad = k->scales_f16(d, n, inv);
    } else {
        qb_round_scales(k, format->scale, d, n);
        for (size_t g = 0; g < n; g++) bad |= !(fabsf(d[g] * far + m[g]) <= FLT_MAX);
        for (size_t g = 0; g < n; g++) {
            const float inverse = 1.0f / d[g];
            const int usable = fabsf(inverse) <= FLT_MAX;
            inv[g] = usable ? inverse : 0.0f;
            d[g] = usable ? d[g] : 0.0f;
        }
    }
    for (size_t g = 0; bad && g < n; g++)
        if (!(fabsf(d[g] * far + m[g]) <= FLT_MAX)) return g;
    if (format->zero == QB_ZERO_POINT) {
        // Small enough for its fraction to round off against 1.5 * 2^23, as rintf would but in line.
        float *const restrict z = p->z;
        for (size_t g = 0; g < n; g++) {
            const float exact = -below_zero(lo[g]) * inv[g], most = exact < top ? exact : top;
            z[g] = (most + 0x1.8p23f) - 0x1.8p23f;
        }
    }
    return n;
}
