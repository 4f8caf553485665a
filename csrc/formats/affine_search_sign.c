// SPDX-License-Identifier: Apache-2.0
// The search of the one-bit symmetric format, whose values are -d and +d: the least-squares d is the
// weighted mean of |x|; what is stored is the best of it and its neighbours in the scale type.
#include "affine.h"

#include "stored.h"

#include <float.h>
#include <math.h>

static void fold(const struct qb_samples *s, double v[QB_LANES])
{
    if (!s->one_group) return;
    double sum = 0;
    for (size_t k = 0; k < QB_LANES; k++) sum += v[k];
    for (size_t k = 0; k < QB_LANES; k++) v[k] = sum;
}

// Per lane, the sum of w*|x|, or with d the sum of w*(|x| - d)^2.
static void sums(const struct qb_samples *s, const float *d, double out[QB_LANES])
{
    for (size_t k = 0; k < QB_LANES; k++) out[k] = 0;
    for (size_t p = 0; p < s->pieces; p++) {
        const float *x, *w;
        const size_t n = s->piece(s->self, p, &x, &w);
        for (size_t i = 0; i < n * QB_LANES; i += QB_LANES) {
            for (size_t k = 0; k < QB_LANES; k++) {
                const double size = (double)fabsf(x[i + k]), e = size - (d ? (double)d[k] : 0.0);
                out[k] += (d ? e * e : size) * (w ? (double)w[i + k] : 1.0);
            }
        }
    }
    fold(s, out);
}

void qb_affine_search_sign(const struct qb_samples *s, const qb_format *format, int search,
                           const struct qb_params *p)
{
    const float step = search != QB_SEARCH_BEST     ? 0.0f
                       : format->scale == QB_F16  ? 0x1p-11f
                       : format->scale == QB_BF16 ? 0x1p-8f
                                                  : 0.0f;
    double mean[QB_LANES], err[QB_LANES], now[QB_LANES];
    float d[QB_LANES];
    sums(s, NULL, mean);
    for (size_t k = 0; k < QB_LANES; k++) d[k] = p->d[s->one_group ? 0 : k];
    sums(s, d, err);
    for (int i = 0; i < (step > 0 ? 3 : 1); i++) {
        const float beside = i == 0 ? 1.0f : i == 1 ? 1.0f - step : 1.0f + step;
        for (size_t k = 0; k < QB_LANES; k++) d[k] = (float)(mean[k] / s->weight[k]) * beside;
        qb_round_scales(s->k, format->scale, d, QB_LANES);
        sums(s, d, now);
        for (size_t k = 0; k < (s->one_group ? 1u : QB_LANES); k++) {
            const float inv = 1.0f / d[k];
            if (!(now[k] < err[k]) || !(d[k] <= FLT_MAX) || !(inv <= FLT_MAX)) continue;
            err[k] = now[k];
            p->d[k] = d[k];
            p->inv[k] = inv;
        }
    }
}
