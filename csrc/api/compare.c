// SPDX-License-Identifier: Apache-2.0
// qb_compare: the error of a quantized matrix, in one pass over it and the floats it stands for.
#include "dequantize.h"

#include "../base/checked.h"
#include "../base/dispatch.h"
#include "../base/fpenv.h"
#include "../formats/stored.h"
#include "floats.h"

#include <math.h>
#include <stdlib.h>

struct state {
    struct qb_values values;
    float x[QB_VALUES_TILE], y[QB_VALUES_TILE];
};

// Element i of the array adds to lane i % QB_LANES, wherever its tile starts.
static void add(const struct qb_error_sums *tile, size_t at, struct qb_error_sums *sums)
{
    for (size_t k = 0; k < QB_LANES; k++) {
        sums->xx[(at + k) % QB_LANES] = tile->xx[k];
        sums->ee[(at + k) % QB_LANES] = tile->ee[k];
    }
}

static void turn(const struct qb_error_sums *sums, size_t at, struct qb_error_sums *tile)
{
    for (size_t k = 0; k < QB_LANES; k++) {
        tile->xx[k] = sums->xx[(at + k) % QB_LANES];
        tile->ee[k] = sums->ee[(at + k) % QB_LANES];
    }
}

static size_t first_with(const float *x, const float *y, size_t n, double most)
{
    for (size_t i = 0; i < n; i++) {
        const double size = fabs((double)x[i] - (double)y[i]);
        if (size == most || (isnan(size) && isinf(most))) return i;
    }
    return 0;
}

int qb_compare(const qb_floats *x, const qb_matrix *q, qb_error_report *report)
{
    const int status = qb_matrix_check(q);
    if (status) return status;
    if (!qb_float_bytes(x->dtype) || x->rows != q->rows || x->cols != q->cols) return QB_ERR_ARGUMENT;
    struct state *const s = malloc(sizeof *s);
    if (!s) return QB_ERR_MEMORY;
    const qb_fpenv env = qb_fpenv_enter();
    const struct qb_kernels *const k = qb_kernels_now();
    struct qb_error_sums sums = {{0}, {0}}, part;
    s->values.k = k;
    s->values.q = q;
    *report = (qb_error_report){0, 0, 0, 0};
    for (size_t r = 0; r < q->rows; r++) {
        for (size_t col = 0; col < q->cols; col += QB_VALUES_TILE) {
            const size_t n = qb_min(QB_VALUES_TILE, q->cols - col), at = r * q->cols + col;
            const float *const from = qb_load_floats(k, x, r, col, n, s->x);
            qb_row_values(&s->values, r, col, n, s->y);
            turn(&sums, at, &part);
            const double most = k->error(from, s->y, n, &part);
            add(&part, at, &sums);
            if (most > report->max_abs) {
                report->max_abs = most;
                report->max_index = at + first_with(from, s->y, n, most);
            }
        }
    }
    for (size_t i = 0; i < QB_LANES; i++) {
        report->sum_xx += sums.xx[i];
        report->sum_ee += sums.ee[i];
    }
    qb_fpenv_leave(env);
    free(s);
    return QB_OK;
}
