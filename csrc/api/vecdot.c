// SPDX-License-Identifier: Apache-2.0
// qb_vecdot: rows of one quantized matrix times rows of another. Integer sums inside a segment, doubles
// across segments; csrc/README.md has the definition.
#include "../base/checked.h"
#include "../base/dispatch.h"
#include "../base/fpenv.h"
#include "../base/threads.h"
#include "../formats/segments.h"
#include "../formats/stored.h"
#include "vecdot.h"

enum { TILE = 1024, SEGMENTS = 256 }; // elements and segments taken at a time

// Part of a row: codes and parameters, one of each parameter a segment.
struct side {
    const qb_matrix *q;
    uint8_t codes[TILE + 8];
    float d[SEGMENTS], z[SEGMENTS], m[SEGMENTS];
};

// Loads columns [k, k + n) of a row, cut into `count` segments; returns where the codes are.
static const uint8_t *load_side(const struct qb_kernels *kernels, struct side *side, size_t row, size_t k,
                                size_t n, size_t group, size_t count)
{
    const size_t early = k % 8; // unpacking starts on a byte
    qb_stored_codes(kernels, side->q, row, k - early, n + early, side->codes);
    if (group <= QB_BLOCK_MAX) {
        qb_stored_params(kernels, side->q, row, k / group, count, side->d, side->z, side->m);
        return side->codes + early;
    }
    // All segments are of one group.
    qb_stored_params(kernels, side->q, row, k / group, 1, side->d, side->z, side->m);
    for (size_t s = 1; s < count; s++) {
        side->d[s] = side->d[0];
        side->z[s] = side->z[0];
        side->m[s] = side->m[0];
    }
    return side->codes + early;
}

struct dotting {
    const struct qb_kernels *kernels;
    const qb_matrix *a, *b;
    const int64_t *a_rows, *b_rows;
    size_t count;
    struct qb_cut cut;
    int with_min;
    float *out;
};

static float dot_rows(const struct dotting *job, struct side *a, size_t a_row, struct side *b, size_t b_row)
{
    int32_t sums[3 * SEGMENTS];
    const struct qb_cut *const cut = &job->cut;
    const size_t seg = qb_min(cut->group, QB_BLOCK_MAX);
    const size_t most = qb_min(TILE / seg, SEGMENTS) * seg; // whole segments
    const struct qb_side left = {a->d, a->z, a->m}, right = {b->d, b->z, b->m};
    double total = 0;
    for (size_t k = 0, n; k < cut->cols; k += n) {
        n = qb_min(most, cut->cols - k);
        if (cut->group > QB_BLOCK_MAX) n = qb_min(n, cut->group - k % cut->group);
        const size_t count = qb_ceil_div(n, seg);
        const uint8_t *const qa = load_side(job->kernels, a, a_row, k, n, cut->group, count);
        const uint8_t *const qb = load_side(job->kernels, b, b_row, k, n, cut->group, count);
        job->kernels->dot(qa, qb, n, seg, sums);
        for (size_t s = 0; s < count; s++)
            total = qb_add_segment(total, &left, &right, s, qb_min(seg, n - s * seg), sums + 3 * s, job->with_min);
    }
    return qb_dot_result(total);
}

static void dot_part(void *context, size_t part, size_t parts)
{
    const struct dotting *const job = context;
    const size_t end = qb_part_start(job->count, 1, part + 1, parts);
    // Formats without a minimum leave these zeros alone.
    struct side left = {.q = job->a}, right = {.q = job->b};
    for (size_t i = qb_part_start(job->count, 1, part, parts); i < end; i++)
        job->out[i] = dot_rows(job, &left, (size_t)job->a_rows[i], &right, (size_t)job->b_rows[i]);
}

static int rows_are_legal(const int64_t *rows, size_t count, size_t limit)
{
    for (size_t i = 0; i < count; i++)
        if (rows[i] < 0 || (uint64_t)rows[i] >= limit) return 0;
    return 1;
}

int qb_vecdot(const qb_matrix *a, const int64_t *a_rows, const qb_matrix *b, const int64_t *b_rows,
              size_t count, float *out)
{
    const int status_a = qb_matrix_check(a), status_b = qb_matrix_check(b);
    if (status_a || status_b) return status_a ? status_a : status_b;
    const struct qb_cut cut = {a->cols, qb_matrix_group(a)};
    if (b->cols != cut.cols || qb_matrix_group(b) != cut.group) return QB_ERR_ARGUMENT;
    if (!rows_are_legal(a_rows, count, a->rows) || !rows_are_legal(b_rows, count, b->rows))
        return QB_ERR_ARGUMENT;

    struct dotting job = {qb_kernels_now(), a, b, a_rows, b_rows, count, cut, 0, out};
    job.with_min = a->format.zero == QB_ZERO_MIN || b->format.zero == QB_ZERO_MIN;
    const qb_fpenv saved = qb_fpenv_enter();
    qb_parallel(qb_parts(count * cut.cols, count), dot_part, &job);
    qb_fpenv_leave(saved);
    return QB_OK;
}
