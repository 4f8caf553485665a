// SPDX-License-Identifier: Apache-2.0
// Defines the steps of a search over segments side by side: measuring them, proposals, and integers in place of
// what was proposed.
#include "kernels.h"

#include "../base/target.h"

#include <math.h>

void qb_measure_scalar(const float *x, const float *w, size_t n, struct qb_segments *s)
{
    for (size_t k = 0; k < QB_LANES; k++) {
        s->lo[k] = 0;
        s->hi[k] = x[k];
        float weight = 0, sum = 0;
        for (size_t i = k; i < n * QB_LANES; i += QB_LANES) {
            s->lo[k] = x[i] < s->lo[k] ? x[i] : s->lo[k];
            s->hi[k] = x[i] > s->hi[k] ? x[i] : s->hi[k];
            weight += w ? w[i] : 1.0f;
            sum += w ? w[i] * x[i] : x[i];
        }
        s->weight[k] = (double)weight;
        s->inverse[k] = 1 / (double)weight;
        s->sum[k] = (double)sum;
        s->gain[k] = s->d[k] = s->m[k] = 0;
    }
}

// What levels with moments l, ll, lx take off sum w*x*x if values are d*level + m.
QB_INLINE double gain_of(double d, double m, double l, double ll, double lx, double sum, double weight)
{
    return 2 * (d * lx + m * sum) - (d * (d * ll + 2 * (m * l)) + m * (m * weight));
}

void qb_propose_scalar(const float *x, const float *w, size_t n, const struct qb_lanes *ask, int has_min,
                       struct qb_segments *s)
{
    struct qb_moments got;
    qb_fit_scalar(x, w, n, ask, &got);
    for (size_t k = 0; k < QB_LANES; k++) {
        const double l = got.l[k], ll = got.ll[k], lx = got.lv[k] + (double)ask->off[k] * l;
        const double weight = s->weight[k], sum = has_min ? s->sum[k] : 0;
        const double all = weight * ll, spread = all - l * l, least = sum * ll - l * lx;
        const int below = has_min && least < 0 && spread > QB_SPREAD * all;
        const double inv = 1 / (below ? spread : ll);
        double d = (below ? weight * lx - l * sum : lx) * inv, m = below ? least * inv : 0;
        if (has_min && ll == 0) d = 0, m = (sum < 0 ? sum : 0) * s->inverse[k]; // all at the minimum
        const double gain = gain_of(d, m, l, ll, lx, sum, weight);
        if (!(gain > QB_BETTER * s->gain[k])) continue;
        s->gain[k] = gain;
        s->d[k] = d;
        s->m[k] = m;
    }
}

void qb_beside_scalar(const float *x, const float *w, size_t n, const struct qb_lanes *ask, const struct qb_units *u,
                      int has_min, struct qb_segments *s)
{
    struct qb_moments got;
    qb_fit_scalar(x, w, n, ask, &got);
    for (size_t k = 0; k < QB_LANES; k++) {
        const double l = got.l[k], lx = got.lv[k] + (double)ask->off[k] * l, d = (double)ask->d[k];
        const double sum = has_min ? s->sum[k] : 0;
        float min = 0;
        if (has_min) {
            float steps = (float)((d * l - sum) * s->inverse[k]) * u->inv_m[k];
            steps = steps > 0 ? steps : 0; // a NaN becomes 0
            steps = steps < u->top ? steps : u->top;
            min = (steps + 0x1.8p23f) - 0x1.8p23f; // to nearest
        }
        const double m = (double)-(u->m[k] * min);
        const double gain = gain_of(d, m, l, got.ll[k], lx, sum, s->weight[k]);
        if (!(gain > s->gain[k])) continue;
        s->gain[k] = gain;
        s->scale[k] = u->scale[k];
        s->min[k] = min;
    }
}

QB_INLINE int level_of(const struct qb_book *book, float v)
{
    float t = rintf(v);
    t = t < 127.0f ? t : 127.0f;
    t = t > -128.0f ? t : -128.0f;
    const int range = ((int)t + 128) / 16;
    return book->levels[book->top[range] - (t < (float)book->first[range]) - (t < (float)book->second[range])];
}

void qb_book_scalar(const float *x, const float *w, size_t n, const float *inv, const struct qb_book *book, float *a,
                    float *b)
{
    for (size_t k = 0; k < QB_LANES; k++) {
        a[k] = b[k] = 0;
        for (size_t i = k; i < n * QB_LANES; i += QB_LANES) {
            const float level = (float)level_of(book, x[i] * inv[k]), weighted = w ? w[i] * level : level;
            a[k] += weighted * x[i];
            b[k] += weighted * level;
        }
    }
}

void qb_book_codes_scalar(const float *x, size_t n, float inv, const float *middles, uint8_t *codes)
{
    for (size_t i = 0; i < n; i++) {
        const float v = x[i] * inv;
        int code = 0;
        for (int j = 0; j < 15; j++) code += v >= middles[j];
        codes[i] = (uint8_t)code;
    }
}
