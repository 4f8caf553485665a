// SPDX-License-Identifier: Apache-2.0
// qb_products: every row of one quantized matrix times every row of another, with the results of
// qb_vecdot. A block of rows of a stays unpacked while each row of b is unpacked once and meets them all.
#include "../base/atomic.h"
#include "../base/checked.h"
#include "../base/dispatch.h"
#include "../base/fpenv.h"
#include "../base/threads.h"
#include "../formats/segments.h"
#include "../formats/stored.h"
#include "vecdot.h"

#include <stdlib.h>

enum { BLOCK = 16 }; // rows of a

// Whole rows, unpacked, and the parameters of each segment.
struct rows {
    const qb_matrix *q;
    uint8_t *codes;
    float *d, *z, *m; // [rows][segments]
};

struct job {
    const struct qb_kernels *k;
    struct rows a; // BLOCK of them
    size_t first, count;
    const qb_matrix *b;
    struct qb_cut cut;
    size_t seg, segments;
    int with_min;
    float *out;
    ptrdiff_t out_a, out_b;
    qb_atomic_int failed;
};

static size_t segments_of(const struct qb_cut *cut)
{
    size_t n = 0;
    for (size_t k = 0; k < cut->cols; k = qb_segment_end(cut, k)) n++;
    return n ? n : 1;
}

static int new_rows(struct rows *r, const qb_matrix *q, size_t rows, size_t segments)
{
    float *const room = calloc(3 * rows * segments, sizeof *room);
    r->q = q;
    r->codes = malloc(rows * q->cols + 1);
    r->d = room;
    r->z = room + rows * segments;
    r->m = room + 2 * rows * segments;
    return room && r->codes;
}

static void free_rows(struct rows *r)
{
    free(r->codes);
    free(r->d);
}

static void load_row(const struct job *job, const struct rows *r, size_t at, size_t row)
{
    const size_t s = at * job->segments;
    if (job->cut.cols == 0) return;
    qb_stored_codes(job->k, r->q, row, 0, job->cut.cols, r->codes + at * job->cut.cols);
    if (job->cut.group <= QB_BLOCK_MAX) {
        qb_stored_params(job->k, r->q, row, 0, job->segments, r->d + s, r->z + s, r->m + s);
        return;
    }
    for (size_t k = 0, i = s; k < job->cut.cols; k = qb_segment_end(&job->cut, k), i++)
        qb_stored_params(job->k, r->q, row, k / job->cut.group, 1, r->d + i, r->z + i, r->m + i);
}

// Runs of whole segments that one call of the kernel takes: all, or where groups do not consist of
// segments of one length, a group at a time.
static void sum_row(const struct job *job, const uint8_t *a, const uint8_t *b, int32_t *sums)
{
    const size_t step = job->cut.group > QB_BLOCK_MAX ? job->cut.group : job->cut.cols;
    for (size_t k = 0; k < job->cut.cols; k += step) {
        const size_t n = qb_min(step, job->cut.cols - k);
        job->k->dot(a + k, b + k, n, job->seg, sums);
        sums += 3 * qb_ceil_div(n, job->seg);
    }
}

static void multiply_part(void *context, size_t part, size_t parts)
{
    struct job *const job = context;
    const size_t end = qb_part_start(job->b->rows, 1, part + 1, parts);
    struct rows b;
    int32_t *const sums = malloc(3 * job->segments * sizeof *sums);
    if (!new_rows(&b, job->b, 1, job->segments) || !sums) qb_atomic_store(&job->failed, 1);
    const int good = !qb_atomic_load(&job->failed);
    for (size_t row = qb_part_start(job->b->rows, 1, part, parts); good && row < end; row++) {
        load_row(job, &b, 0, row);
        for (size_t i = 0; i < job->count; i++) {
            const size_t s = i * job->segments;
            const struct qb_side left = {job->a.d + s, job->a.z + s, job->a.m + s}, right = {b.d, b.z, b.m};
            sum_row(job, job->a.codes + i * job->cut.cols, b.codes, sums);
            double total = 0;
            for (size_t k = 0, j = 0, next; k < job->cut.cols; k = next, j++) {
                // Groups that are segments need no division to find their ends.
                next = job->cut.group > QB_BLOCK_MAX ? qb_segment_end(&job->cut, k)
                                                     : qb_min(k + job->seg, job->cut.cols);
                total = qb_add_segment(total, &left, &right, j, next - k, sums + 3 * j, job->with_min);
            }
            job->out[(ptrdiff_t)(job->first + i) * job->out_a + (ptrdiff_t)row * job->out_b] = qb_dot_result(total);
        }
    }
    free(sums);
    free_rows(&b);
}

int qb_products(const qb_matrix *a, const qb_matrix *b, float *out, ptrdiff_t out_a, ptrdiff_t out_b)
{
    const int status_a = qb_matrix_check(a), status_b = qb_matrix_check(b);
    if (status_a || status_b) return status_a ? status_a : status_b;
    struct job job = {.k = qb_kernels_now(), .b = b, .out = out, .out_a = out_a, .out_b = out_b};
    job.cut = (struct qb_cut){a->cols, qb_matrix_group(a)};
    if (b->cols != a->cols || qb_matrix_group(b) != job.cut.group) return QB_ERR_ARGUMENT;
    if (a->rows == 0 || b->rows == 0) return QB_OK;
    job.seg = qb_min(job.cut.group, QB_BLOCK_MAX);
    job.segments = segments_of(&job.cut);
    job.with_min = a->format.zero == QB_ZERO_MIN || b->format.zero == QB_ZERO_MIN;
    if (!new_rows(&job.a, a, BLOCK, job.segments)) {
        free_rows(&job.a);
        return QB_ERR_MEMORY;
    }
    const qb_fpenv env = qb_fpenv_enter();
    for (; job.first < a->rows; job.first += BLOCK) {
        job.count = qb_min(BLOCK, a->rows - job.first);
        for (size_t i = 0; i < job.count; i++) load_row(&job, &job.a, i, job.first + i);
        qb_parallel(qb_parts(b->rows * job.cut.cols * job.count, b->rows), multiply_part, &job);
    }
    qb_fpenv_leave(env);
    free_rows(&job.a);
    return qb_atomic_load(&job.failed) ? QB_ERR_MEMORY : QB_OK;
}
