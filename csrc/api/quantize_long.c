// SPDX-License-Identifier: Apache-2.0
// Groups too long for a tile, one at a time, in pieces: once for their parameters, once for the codes
// (and once for each candidate of a search). A tensor with one scale is such a group of many rows.
#include "quantize.h"

#include "../base/checked.h"

#include <math.h>
#include <string.h>

// One group: columns [col, col + length) of `rows` rows from row `row` on; a piece is a tile of a row.
struct long_group {
    struct qb_job *job;
    size_t row, rows, col, length, pieces_a_row;
    int replaced;       // something not finite was taken as zero: look for it in every pass
    float weight_scale; // 0: no importances, or all zero
};

static size_t locate(const struct long_group *g, size_t i, size_t *row, size_t *col)
{
    *row = g->row + i / g->pieces_a_row;
    const size_t at = i % g->pieces_a_row * QB_TILE;
    *col = g->col + at;
    return qb_min(QB_TILE, g->length - at);
}

static const float *load(const struct long_group *g, size_t row, size_t col, size_t n)
{
    int status; // whatever is refused was refused in the first pass
    struct qb_job *const j = g->job;
    return g->replaced ? qb_job_floats(j, row, col, n, &status)
                       : qb_load_floats(j->k, &j->x, row, col, n, j->work->tile);
}

static const float *weights(const struct long_group *g, size_t row, size_t col)
{
    return g->job->importance + row * g->job->importance_stride + col;
}

// Deals a piece to the lanes: element i to lane i % QB_LANES, which is how it lies. A tail shorter
// than the lanes is filled up with values of weight zero.
static size_t lane_piece(void *self, size_t i, const float **x, const float **w)
{
    const struct long_group *const g = self;
    struct qb_work *const work = g->job->work;
    size_t row, col;
    const size_t n = locate(g, i, &row, &col), length = qb_ceil_div(n, QB_LANES), all = length * QB_LANES;
    *x = load(g, row, col, n);
    *w = NULL;
    if (n < all) {
        memcpy(work->x16, *x, n * sizeof **x);
        memset(work->x16 + n, 0, (all - n) * sizeof **x);
        *x = work->x16;
    }
    if (n < all || g->weight_scale != 0) {
        const float *const given = g->weight_scale != 0 ? weights(g, row, col) : NULL;
        for (size_t k = 0; k < n; k++) work->w16[k] = given ? given[k] * g->weight_scale : 1.0f;
        memset(work->w16 + n, 0, (all - n) * sizeof **w);
        *w = work->w16;
    }
    return length;
}

// Those of all pieces, from those of each.
static int find_ends(struct long_group *g, float *lo, float *hi)
{
    struct qb_job *const j = g->job;
    const qb_format *const f = &j->out.format;
    for (size_t i = 0; i < g->rows * g->pieces_a_row; i++) {
        size_t row, col;
        const size_t n = locate(g, i, &row, &col);
        const float *x = qb_load_floats(j->k, &j->x, row, col, n, j->work->tile);
        float least = 0, greatest;
        if (qb_affine_ends(j->k, f, x, n, n, &least, &greatest)) {
            int status;
            x = qb_job_floats(j, row, col, n, &status);
            if (status) return status;
            g->replaced = 1;
            qb_affine_ends(j->k, f, x, n, n, &least, &greatest);
        }
        const int greater = f->zero == QB_ZERO_NONE ? fabsf(greatest) > fabsf(*hi) : greatest > *hi;
        *lo = i == 0 || least < *lo ? least : *lo;
        *hi = i == 0 || greater ? greatest : *hi;
    }
    return QB_OK;
}

static void find_means(const struct long_group *g, float lo, float hi)
{
    struct qb_job *const j = g->job;
    const qb_format *const f = &j->out.format;
    struct qb_means s = {0};
    const int passes = f->zero == QB_ZERO_MIN ? 2 : 1;
    for (int pass = 1; pass <= passes; pass++) {
        for (size_t i = 0; i < g->rows * g->pieces_a_row; i++) {
            size_t row, col;
            const size_t n = locate(g, i, &row, &col);
            const float *const x = load(g, row, col, n);
            if (pass == 1) qb_means_first(f, &s, x, n);
            if (pass == 2) qb_means_second(&s, x, n);
        }
        if (pass == 1) qb_means_split(&s);
    }
    qb_affine_from_means(f, &s, lo, hi, j->params.d, j->params.m);
}

static void search(struct long_group *g)
{
    struct qb_job *const j = g->job;
    const size_t pieces = g->rows * g->pieces_a_row;
    g->weight_scale = 0;
    if (j->importance) {
        float most = 0;
        for (size_t i = 0; i < pieces; i++) {
            size_t row, col;
            const size_t n = locate(g, i, &row, &col);
            most = fmaxf(most, qb_greatest_weight(weights(g, row, col), n));
        }
        g->weight_scale = qb_weight_scale(most);
    }
    struct qb_samples s = {j->k, g, lane_piece, pieces, 1, {0}, {0}};
    qb_samples_sum(&s);
    qb_affine_search(&s, &j->out.format, j->search, &j->params);
}

static int quantize_group(struct long_group *g, size_t at)
{
    struct qb_job *const j = g->job;
    const qb_format *const f = &j->out.format;
    float lo = 0, hi = 0;
    const int status = find_ends(g, &lo, &hi);
    if (status) return status;
    if (qb_affine_takes_means(f)) find_means(g, lo, hi);
    else qb_affine_from_ends(f, &lo, &hi, 1, &j->params);
    if (qb_affine_settle(j->k, f, &lo, 1, &j->params) == 0)
        return qb_job_refuse(j, QB_ERR_SCALE_RANGE, g->row, g->col, (double)qb_affine_farthest(f, lo, hi));
    if (j->search != QB_SEARCH_RTN) search(g);
    for (size_t i = 0; i < g->rows * g->pieces_a_row; i++) {
        size_t row, col;
        const size_t n = locate(g, i, &row, &col);
        qb_job_encode(j, load(g, row, col, n), n, n, 0);
        if (col + n == j->x.cols) qb_job_end_codes(j);
    }
    qb_job_store(j, at, 1);
    return QB_OK;
}

int qb_quantize_long(struct qb_job *j, size_t row, size_t end)
{
    const size_t cols = j->x.cols, group = qb_matrix_group(&j->out), groups = qb_matrix_groups(&j->out);
    const int whole = j->out.format.per_tensor;
    for (; row < end; row++) {
        qb_job_start(j, row, 0);
        for (size_t i = 0; i < groups; i++) {
            const size_t length = qb_min(group, cols - i * group);
            struct long_group g = {j, row, whole ? j->x.rows : 1, i * group, length, qb_ceil_div(length, QB_TILE), 0, 0};
            const int status = quantize_group(&g, row * groups + i);
            if (status) return status;
        }
        qb_job_end(j);
    }
    return QB_OK;
}
