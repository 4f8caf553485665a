// SPDX-License-Identifier: Apache-2.0
// qb_compare: the error of a quantized matrix, in one pass over it and the floats it stands for. Rows are summed in
// runs that depend on the matrix alone, whoever takes them.
#include "dequantize.h"

#include "../base/atomic.h"
#include "../base/checked.h"
#include "../base/dispatch.h"
#include "../base/fpenv.h"
#include "../base/threads.h"
#include "../formats/stored.h"
#include "floats.h"

#include <math.h>
#include <stdlib.h>

enum { RUNS = 64 }; // at most

struct state {
    struct qb_values values;
    float x[QB_VALUES_TILE], y[QB_VALUES_TILE];
};

// Element i of a run adds to lane i % QB_LANES, wherever its tile starts.
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

struct comparison {
    const struct qb_kernels *k;
    const qb_floats *x;
    const qb_matrix *q;
    size_t run;                 // rows of one
    qb_error_report runs[RUNS]; // max_index: where the tile starts
    qb_atomic_int failed; // a part without memory
};

static struct state *new_state(const struct comparison *job)
{
    struct state *const s = malloc(sizeof *s);
    if (!s) return NULL;
    s->values.k = job->k;
    s->values.q = job->q;
    return s;
}

// A tile: its floats, which are returned, and in s->y its values.
static const float *load_tile(const struct comparison *job, struct state *s, size_t row, size_t col, size_t n)
{
    qb_row_values(&s->values, row, col, n, s->y);
    return qb_load_floats(job->k, job->x, row, col, n, s->x);
}

static void compare_run(const struct comparison *job, struct state *s, size_t first, size_t end, qb_error_report *run)
{
    struct qb_error_sums sums = {{0}, {0}}, part;
    const size_t cols = job->q->cols;
    *run = (qb_error_report){0, 0, 0, first * cols};
    for (size_t r = first; r < end; r++) {
        for (size_t col = 0; col < cols; col += QB_VALUES_TILE) {
            const size_t n = qb_min(QB_VALUES_TILE, cols - col), at = (r - first) * cols + col;
            const float *const x = load_tile(job, s, r, col, n);
            turn(&sums, at, &part);
            const double most = job->k->error(x, s->y, n, &part);
            add(&part, at, &sums);
            if (most > run->max_abs) {
                run->max_abs = most;
                run->max_index = r * cols + col;
            }
        }
    }
    for (size_t i = 0; i < QB_LANES; i++) {
        run->sum_xx += sums.xx[i];
        run->sum_ee += sums.ee[i];
    }
}

static void compare_part(void *context, size_t part, size_t parts)
{
    struct comparison *const job = context;
    const size_t rows = job->q->rows, end = qb_part_start(rows, job->run, part + 1, parts);
    struct state *const s = new_state(job);
    if (!s) {
        qb_atomic_store(&job->failed, 1);
        return;
    }
    for (size_t r = qb_part_start(rows, job->run, part, parts); r < end; r += job->run)
        compare_run(job, s, r, qb_min(r + job->run, rows), &job->runs[r / job->run]);
    free(s);
}

// From the tile with the largest error to the element.
static int find_largest(const struct comparison *job, qb_error_report *report)
{
    const size_t cols = job->q->cols, row = report->max_index / cols, col = report->max_index % cols;
    const size_t n = qb_min(QB_VALUES_TILE, cols - col);
    struct state *const s = new_state(job);
    if (!s) return QB_ERR_MEMORY;
    const float *const x = load_tile(job, s, row, col, n);
    for (size_t i = 0; i < n; i++) {
        const double size = fabs((double)x[i] - (double)s->y[i]);
        if (size != report->max_abs && !(isnan(size) && isinf(report->max_abs))) continue;
        report->max_index += i;
        break;
    }
    free(s);
    return QB_OK;
}

int qb_compare(const qb_floats *x, const qb_matrix *q, qb_error_report *report)
{
    const int status = qb_matrix_check(q);
    if (status) return status;
    if (!qb_float_bytes(x->dtype) || x->rows != q->rows || x->cols != q->cols) return QB_ERR_ARGUMENT;
    *report = (qb_error_report){0, 0, 0, 0};
    if (q->rows == 0 || q->cols == 0) return QB_OK;
    struct comparison job = {.k = qb_kernels_now(), .x = x, .q = q, .run = qb_ceil_div(q->rows, RUNS)};
    const size_t runs = qb_ceil_div(q->rows, job.run);
    const qb_fpenv env = qb_fpenv_enter();
    qb_parallel(qb_parts(q->rows * q->cols * sizeof(float), runs), compare_part, &job);
    for (size_t i = 0; i < runs; i++) {
        const qb_error_report *const run = &job.runs[i];
        report->sum_xx += run->sum_xx;
        report->sum_ee += run->sum_ee;
        if (!(run->max_abs > report->max_abs)) continue;
        report->max_abs = run->max_abs;
        report->max_index = run->max_index;
    }
    const int found = qb_atomic_load(&job.failed) ? QB_ERR_MEMORY : find_largest(&job, report);
    qb_fpenv_leave(env);
    return found;
}
