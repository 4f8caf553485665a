// SPDX-License-Identifier: Apache-2.0
// qb_quantize. Groups that fit a tile go many at a time: their ranges, parameters, codes and packed
// bytes are made while the floats are in the first-level cache, so that memory is read once. Longer
// groups (api/quantize_long.c) are read twice.
#include "quantize.h"

#include "../base/checked.h"
#include "../base/dispatch.h"
#include "../base/fpenv.h"
#include "../base/threads.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int qb_job_refuse(struct qb_job *j, int status, size_t row, size_t col, double value)
{
    j->fault->index = row * j->x.cols + col;
    j->fault->value = value;
    return status;
}

const float *qb_job_floats(struct qb_job *j, size_t row, size_t col, size_t n, int *status)
{
    float *const tile = j->work->tile;
    const float *x = qb_load_floats(j->k, &j->x, row, col, n, tile);
    float extreme;
    *status = QB_OK;
    if (!j->k->extremes(x, n, n, &extreme)) return x;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i]) && !j->zero_nonfinite) {
            *status = qb_job_refuse(j, QB_ERR_NOT_FINITE, row, col + i, (double)x[i]);
            return x;
        }
        tile[i] = isfinite(x[i]) ? x[i] : 0.0f;
    }
    return tile;
}

// Packed codes to the output.
static void pass_on(struct qb_job *j)
{
    struct qb_work *const w = j->work;
    if (!j->streamed) return;
    const size_t bytes = (size_t)(w->codes.out - w->packed);
    j->k->stream(w->packed, bytes, w->to);
    w->to += bytes;
    w->codes.out = w->packed;
}

void qb_job_end_codes(struct qb_job *j)
{
    qb_packer_end_row(&j->work->codes);
    pass_on(j);
}

void qb_job_encode(struct qb_job *j, const float *x, size_t n, size_t group, size_t first)
{
    const qb_format *const f = &j->out.format;
    const struct qb_params *const p = &j->params;
    uint8_t *const codes = qb_packer_room(&j->work->codes);
    if (f->bits == 1 && f->zero == QB_ZERO_NONE) {
        for (size_t i = 0, g = first; i < n; g++) {
            const size_t end = qb_min(n, i + group);
            const uint8_t one = p->d[g] != 0;
            for (; i < end; i++) codes[i] = (uint8_t)((x[i] >= 0) & one);
        }
    } else {
        const float lo = qb_lowest_level(f), hi = qb_highest_level(f);
        j->k->encode(x, n, group, f->zero == QB_ZERO_MIN ? p->m + first : NULL, p->inv + first,
                     f->zero == QB_ZERO_POINT ? p->z + first : NULL, lo, hi, codes);
    }
    qb_packer_add(&j->work->codes, n);
    pass_on(j);
}

void qb_job_store(struct qb_job *j, size_t at, size_t n)
{
    const qb_matrix *const q = &j->out;
    qb_store_scales(j->k, q->format.scale, q->scales, at, j->params.d, n);
    if (q->format.zero == QB_ZERO_MIN) qb_store_scales(j->k, q->format.scale, q->mins, at, j->params.m, n);
    if (q->format.zero == QB_ZERO_POINT) {
        uint8_t *const zeros = qb_packer_room(&j->work->zeros);
        for (size_t g = 0; g < n; g++) zeros[g] = (uint8_t)j->params.z[g];
        qb_packer_add(&j->work->zeros, n);
    }
}

static void means_of_groups(struct qb_job *j, const float *x, size_t n, size_t group)
{
    const qb_format *const f = &j->out.format;
    struct qb_work *const w = j->work;
    for (size_t i = 0, g = 0; i < n; i += group, g++) {
        const size_t count = qb_min(group, n - i);
        struct qb_means s = {0};
        qb_means_first(f, &s, x + i, count);
        qb_means_split(&s);
        if (f->zero == QB_ZERO_MIN) qb_means_second(&s, x + i, count);
        qb_affine_from_means(f, &s, w->lo[g], w->hi[g], w->d + g, w->m + g);
    }
}

static int params_of_groups(struct qb_job *j, size_t row, size_t col, const float *x, size_t n, size_t group)
{
    const qb_format *const f = &j->out.format;
    struct qb_work *const w = j->work;
    const size_t groups = qb_ceil_div(n, group);
    if (qb_affine_takes_means(f)) {
        means_of_groups(j, x, n, group);
    } else {
        qb_affine_from_ends(f, w->lo, w->hi, groups, &j->params);
    }
    const size_t bad = qb_affine_settle(j->k, f, w->lo, groups, &j->params);
    if (bad == groups) return QB_OK;
    const float far = qb_affine_farthest(f, w->lo[bad], w->hi[bad]);
    return qb_job_refuse(j, QB_ERR_SCALE_RANGE, row, col + bad * group, (double)far);
}

// Of every two lines one: processors fetch the other with it.
void qb_fetch_third(const float *x, size_t n, size_t third)
{
    for (size_t i = third * n / 3; i < (third + 1) * n / 3; i += 128 / sizeof *x) QB_PREFETCH(x + i);
}

// Columns [col, col + n) of a row, which are whole groups, from floats to stored; `at`: where the
// parameters of the first go.
static int quantize_groups(struct qb_job *j, size_t row, size_t col, size_t n, size_t group, size_t at)
{
    struct qb_work *const w = j->work;
    const float *x = qb_load_floats(j->k, &j->x, row, col, n, w->tile);
    int status;
    if (qb_affine_ends(j->k, &j->out.format, x, n, group, w->lo, w->hi)) {
        x = qb_job_floats(j, row, col, n, &status);
        if (status) return status;
        qb_affine_ends(j->k, &j->out.format, x, n, group, w->lo, w->hi);
    }
    // The next tile comes from memory while this one is computed, a third at a time: more lines at once
    // than the core can wait for would hold it up.
    const size_t ahead = x == w->tile ? 0 : n;
    qb_fetch_third(x + n, ahead, 0);
    status = params_of_groups(j, row, col, x, n, group);
    if (status) return status;
    if (j->search != QB_SEARCH_RTN) qb_job_search(j, row, col, x, n, group);
    qb_fetch_third(x + n, ahead, 1);
    qb_job_encode(j, x, n, group, 0);
    qb_fetch_third(x + n, ahead, 2);
    qb_job_store(j, at, qb_ceil_div(n, group));
    return QB_OK;
}

void qb_job_start(struct qb_job *j, size_t row, size_t first)
{
    const qb_matrix *const q = &j->out;
    const int bits = q->format.bits;
    struct qb_work *const w = j->work;
    qb_packer_open(&w->codes, j->k, bits,
                   q->codes + row * qb_packed_bytes(q->cols, bits) + qb_packed_bytes(first * qb_matrix_group(q), bits));
    w->to = w->codes.out;
    if (j->streamed) w->codes.out = w->packed;
    if (q->format.zero == QB_ZERO_POINT)
        qb_packer_open(&w->zeros, j->k, bits,
                       q->zeros + row * qb_packed_bytes(qb_matrix_groups(q), bits) + qb_packed_bytes(first, bits));
}

void qb_job_end(struct qb_job *j)
{
    qb_job_end_codes(j);
    if (j->out.format.zero == QB_ZERO_POINT) qb_packer_end_row(&j->work->zeros);
}

// Groups of a row that go together: about 4 KiB of floats, which memory delivers while those before are
// computed; whole bytes of codes and zero points, and sixteen groups for the searches.
static size_t groups_at_once(const struct qb_job *j)
{
    const size_t least = j->search == QB_SEARCH_RTN ? 8 : QB_LANES;
    const size_t fit = 1024 / qb_matrix_group(&j->out) / least * least;
    return fit ? fit : least;
}

// Rows that follow each other without a gap, in the floats and in every output, are one long row.
static void join_rows(struct qb_job *j)
{
    const size_t cols = j->x.cols, size = qb_float_bytes(j->x.dtype);
    qb_format *const f = &j->out.format;
    const size_t group = qb_matrix_group(&j->out), groups = qb_matrix_groups(&j->out);
    if (j->x.col_stride != (ptrdiff_t)size || j->x.row_stride != (ptrdiff_t)(cols * size)) return;
    if (cols * (size_t)f->bits % 8 || (j->importance && j->importance_stride != cols)) return;
    if (f->per_tensor && j->search != QB_SEARCH_RTN) return; // its sums go by rows, however they lie
    if (!f->per_tensor && (cols % group || (f->zero == QB_ZERO_POINT && groups * (size_t)f->bits % 8))) return;
    if (!f->per_tensor) f->group = group;
    j->x.cols = j->out.cols = cols * j->x.rows;
    j->x.rows = j->out.rows = 1;
}

static int check_importance(struct qb_job *j)
{
    if (!j->importance) return QB_OK;
    const size_t rows = j->importance_stride ? j->x.rows : 1;
    for (size_t r = 0; r < rows; r++) {
        const float *const w = j->importance + r * j->importance_stride;
        int bad = 0;
        for (size_t i = 0; i < j->x.cols; i++) bad |= !(w[i] >= 0 && w[i] <= FLT_MAX);
        for (size_t i = 0; bad && i < j->x.cols; i++)
            if (!(w[i] >= 0 && w[i] <= FLT_MAX))
                return qb_job_refuse(j, QB_ERR_IMPORTANCE, r, i, (double)w[i]);
    }
    return QB_OK;
}

// The one scale of a tensor without elements.
static void store_nothing(const qb_matrix *q)
{
    const size_t bytes = q->format.scale == QB_F32 ? 4 : 2;
    memset(q->scales, 0, bytes);
    if (q->format.zero == QB_ZERO_MIN) memset(q->mins, 0, bytes);
    if (q->format.zero == QB_ZERO_POINT) *q->zeros = 0;
}

// A call cut into parts, which are runs of its units: rows of long groups, else the groups that go
// together. The first part that refused something saw the first of what there is to refuse.
struct outcome {
    int status;
    qb_fault fault;
};
struct quantizing {
    struct qb_job job;
    int is_long;
    size_t groups, at_once; // of a row
    size_t columns;         // of the groups that go together
    size_t units, units_a_row;
    struct outcome outcomes[QB_MOST_THREADS];
};

static int quantize_units(struct qb_job *j, const struct quantizing *all, size_t from, size_t to)
{
    if (all->is_long) return qb_quantize_long(j, from, to);
    for (size_t unit = from, next; unit < to; unit = next) { // those of a row together
        const size_t row = unit / all->units_a_row, first = unit % all->units_a_row;
        next = qb_min(to, unit + all->units_a_row - first);
        qb_job_start(j, row, first * all->at_once);
        for (size_t i = first; i < first + next - unit; i++) {
            const size_t col = i * all->columns, n = qb_min(all->columns, j->x.cols - col);
            const size_t at = row * all->groups + i * all->at_once;
            const int status = quantize_groups(j, row, col, n, qb_matrix_group(&j->out), at);
            if (status) return status;
        }
        qb_job_end(j);
    }
    return QB_OK;
}

static void quantize_part(void *context, size_t part, size_t parts)
{
    struct quantizing *const all = context;
    struct outcome *const outcome = &all->outcomes[part];
    struct qb_job j = all->job;
    struct qb_work *const w = malloc(sizeof *w);
    float *const lanes = j.search == QB_SEARCH_RTN ? NULL : malloc(2 * QB_TILE * sizeof *lanes);
    outcome->status = QB_ERR_MEMORY;
    if (!w || (!lanes && j.search != QB_SEARCH_RTN)) goto done;
    // Formats without a minimum or zero point leave those alone, and lanes without a group all of them.
    memset(w->d, 0, sizeof w->d);
    memset(w->m, 0, sizeof w->m);
    memset(w->z, 0, sizeof w->z);
    memset(w->inv, 0, sizeof w->inv);
    w->x16 = lanes;
    w->w16 = lanes ? lanes + QB_TILE : NULL;
    j.work = w;
    j.fault = &outcome->fault;
    j.params = (struct qb_params){w->d, w->m, w->z, w->inv};
    outcome->status = quantize_units(&j, all, qb_part_start(all->units, 1, part, parts),
                                     qb_part_start(all->units, 1, part + 1, parts));
    if (j.streamed) j.k->fence();
done:
    free(lanes);
    free(w);
}

int qb_quantize(const qb_floats *x, int search, const float *importance, size_t importance_stride,
                int zero_nonfinite, const qb_matrix *out, qb_fault *fault)
{
    const size_t size = qb_float_bytes(x->dtype);
    if (!size || x->rows != out->rows || x->cols != out->cols) return QB_ERR_ARGUMENT;
    if (search < QB_SEARCH_RTN || search > QB_SEARCH_BEST) return QB_ERR_ARGUMENT;
    int status = qb_matrix_check(out);
    if (status) return status;
    const qb_block_type *const type = qb_block_type_of(out->format.block);
    if (type && !(type->searches >> search & 1)) return QB_ERR_ARGUMENT;
    qb_fault unread;
    if (!fault) fault = &unread;
    struct quantizing all;
    struct qb_job *const j = &all.job;
    *j = (struct qb_job){qb_kernels_now(), *x, *out, search, importance, importance_stride, zero_nonfinite,
                         0, fault, {0}, NULL};
    if (x->rows == 0 || x->cols == 0) {
        if (out->format.per_tensor) store_nothing(out);
        return QB_OK;
    }
    status = check_importance(j);
    if (status) return status;
    if (type) return qb_quantize_blocks(j);
    j->streamed = x->rows * qb_packed_bytes(x->cols, out->format.bits) > QB_STREAM_BYTES;
    join_rows(j);
    all.is_long = out->format.per_tensor || qb_matrix_group(&j->out) > QB_GROUP_IN_TILE;
    all.groups = qb_matrix_groups(&j->out);
    all.at_once = groups_at_once(j);
    all.columns = all.at_once * qb_matrix_group(&j->out);
    all.units_a_row = all.is_long ? 1 : qb_ceil_div(all.groups, all.at_once);
    all.units = out->format.per_tensor ? 1 : j->x.rows * all.units_a_row;
    const size_t work = search == QB_SEARCH_RTN ? size : 16 * size;
    const qb_fpenv env = qb_fpenv_enter();
    const size_t parts = qb_parts(x->rows * x->cols * work, all.units);
    qb_parallel(parts, quantize_part, &all);
    qb_fpenv_leave(env);
    for (size_t i = 0; i < parts; i++) {
        if (!all.outcomes[i].status) continue;
        *fault = all.outcomes[i].fault;
        return all.outcomes[i].status;
    }
    return QB_OK;
}
