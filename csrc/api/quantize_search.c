// SPDX-License-Identifier: Apache-2.0
// Lays the groups of a tile, and their importances, side by side for the search.
#include "../base/checked.h"
#include "quantize.h"

#include <string.h>

struct staged {
    const float *x, *w;
    size_t n;
};

static size_t only_piece(void *self, size_t i, const float **x, const float **w)
{
    const struct staged *const s = self;
    (void)i;
    *x = s->x;
    *w = s->w;
    return s->n;
}

// Lane k of out = n values of `from`, times scale; those from n to length are zero.
static void fill_lane(float *out, size_t k, const float *from, size_t n, size_t length, float scale)
{
    for (size_t i = 0; i < n; i++) out[i * QB_LANES + k] = from[i] * scale;
    for (size_t i = n; i < length; i++) out[i * QB_LANES + k] = 0;
}

static void stage_weights(struct qb_job *j, size_t row, size_t col, size_t n, size_t group, size_t groups)
{
    float *const w16 = j->work->w16;
    const float *const w = j->importance ? j->importance + row * j->importance_stride + col : NULL;
    for (size_t k = 0; k < QB_LANES; k++) {
        const size_t from = qb_min(k * group, n), count = k < groups ? qb_min(group, n - from) : group;
        const float scale = w && k < groups ? qb_weight_scale(qb_greatest_weight(w + from, count)) : 0;
        if (scale != 0) {
            fill_lane(w16, k, w + from, count, group, scale);
        } else {
            for (size_t i = 0; i < group; i++) w16[i * QB_LANES + k] = i < count ? 1.0f : 0.0f;
        }
    }
}

void qb_job_search(struct qb_job *j, size_t row, size_t col, const float *x, size_t n, size_t group)
{
    float *const x16 = j->work->x16;
    for (size_t at = 0, g = 0; at < n; at += QB_LANES * group, g += QB_LANES) {
        const size_t count = qb_min(n - at, QB_LANES * group), groups = qb_ceil_div(count, group);
        const int ragged = count < QB_LANES * group;
        if (!ragged) { // an element's four bytes are one unit
            j->k->interleave((const uint8_t *)(x + at), group * sizeof *x, group * sizeof *x, (uint8_t *)x16);
        } else {
            for (size_t k = 0; k < QB_LANES; k++) {
                const size_t from = qb_min(k * group, count);
                fill_lane(x16, k, x + at + from, qb_min(group, count - from), group, 1.0f);
            }
        }
        const int weighted = ragged || j->importance;
        if (weighted) stage_weights(j, row, col + at, count, group, groups);
        struct staged staged = {x16, weighted ? j->work->w16 : NULL, group};
        struct qb_samples s = {j->k, &staged, only_piece, 1, 0, {0}, {0}};
        qb_samples_sum(&s);
        const struct qb_params p = {j->params.d + g, j->params.m + g, j->params.z + g, j->params.inv + g};
        qb_affine_search(&s, &j->out.format, j->search, &p);
    }
}
