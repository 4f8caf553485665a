// SPDX-License-Identifier: Apache-2.0
// qb_dequantize, qb_take, qb_codes, qb_parameters.
#include "dequantize.h"

#include "../base/atomic.h"
#include "../base/checked.h"
#include "../base/dispatch.h"
#include "../base/float16.h"
#include "../base/fpenv.h"
#include "../base/threads.h"
#include "../formats/stored.h"
#include "floats.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// Scales that are not finite (a file may hold any) make NaNs, whose bits the processor would choose.
static void make_canonical(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isnan(x[i])) x[i] = qb_bits_float(0x7FC00000u);
}

void qb_row_values(struct qb_values *v, size_t row, size_t col, size_t n, float *out)
{
    const qb_matrix *const q = v->q;
    const size_t group = qb_matrix_group(q), first = col / group, groups = (col + n - 1) / group - first + 1;
    const int has_min = q->format.zero == QB_ZERO_MIN;
    const float *const z = has_min ? NULL : v->z, *const m = has_min ? v->m : NULL;
    qb_stored_codes(v->k, q, row, col, n, v->codes);
    qb_stored_params(v->k, q, row, first, groups, v->d, has_min ? NULL : v->z, v->m);

    // From the middle of a group to its end, then whole groups.
    const size_t head = col % group ? qb_min(n, group - col % group) : 0, skip = head != 0;
    if (head) v->k->decode(v->codes, head, head, v->d, z, m, out);
    if (n > head)
        v->k->decode(v->codes + head, n - head, group, v->d + skip, z ? z + skip : NULL, m ? m + skip : NULL,
                     out + head);
    int odd = 0;
    for (size_t g = 0; g < groups; g++) odd |= !(fabsf(v->d[g]) <= FLT_MAX) | (has_min && !(fabsf(v->m[g]) <= FLT_MAX));
    if (odd) make_canonical(out, n);
}

struct output {
    struct qb_values values;
    float tile[QB_VALUES_TILE];
    double narrow[QB_VALUES_TILE]; // a tile in the output's dtype
};

// Columns done at a time: whole groups where several fit, a multiple of 8 in any case.
static size_t tile_columns(const qb_matrix *q)
{
    const size_t eight = qb_matrix_group(q) * 8;
    if (eight > QB_VALUES_TILE) return QB_VALUES_TILE;
    const size_t step = QB_VALUES_TILE / 2 / eight * eight;
    return step ? step : eight;
}

// Writes one tile: row `row`, columns [col, col + n).
static void write_tile(struct output *o, size_t row, size_t col, size_t n, int dtype, int streamed, uint8_t *out)
{
    const struct qb_kernels *const k = o->values.k;
    if (dtype == QB_F32 && !streamed) {
        qb_row_values(&o->values, row, col, n, (float *)out);
        return;
    }
    qb_row_values(&o->values, row, col, n, o->tile);
    const size_t bytes = n * qb_float_bytes(dtype);
    const void *const tile = dtype == QB_F32 ? (const void *)o->tile : (const void *)o->narrow;
    if (dtype != QB_F32) qb_store_floats(k, o->tile, n, dtype, o->narrow);
    if (streamed) {
        k->stream(tile, bytes, out);
    } else {
        memcpy(out, tile, bytes);
    }
}

// Rows whose groups and packed bytes follow each other without a gap are one long row.
static qb_matrix joined(const qb_matrix *q, size_t first, size_t rows)
{
    qb_matrix all = *q;
    const size_t group = qb_matrix_group(q), groups = qb_matrix_groups(q), bits = (size_t)q->format.bits;
    if (rows == 1 || (!q->format.block && q->cols * bits % 8)) return all;
    if (!q->format.per_tensor && !q->format.block) {
        if (q->cols % group || (q->format.zero == QB_ZERO_POINT && groups * bits % 8)) return all;
        const size_t skip = first * groups * (q->format.scale == QB_F32 ? 4 : 2);
        all.scales = (uint8_t *)q->scales + skip;
        if (q->format.zero == QB_ZERO_MIN) all.mins = (uint8_t *)q->mins + skip;
        if (q->format.zero == QB_ZERO_POINT) all.zeros = q->zeros + first * (groups * bits / 8);
        all.format.group = group;
    }
    all.codes = q->codes + first * qb_stored_row_bytes(&q->format, q->cols);
    all.cols = q->cols * rows;
    all.rows = 1;
    return all;
}

// A call: rows `rows[i]`, or where rows is NULL the `count` from `first` on, cut into tiles.
struct writing {
    const struct qb_kernels *k;
    const qb_matrix *q;
    const int64_t *rows;
    size_t first, count, step, tiles_a_row;
    int dtype, streamed;
    uint8_t *out;
    qb_atomic_int failed; // a part without memory
};

static void write_part(void *context, size_t part, size_t parts)
{
    struct writing *const w = context;
    const size_t size = qb_float_bytes(w->dtype), cols = w->q->cols, tiles = w->count * w->tiles_a_row;
    struct output *const o = malloc(sizeof *o);
    if (!o) {
        qb_atomic_store(&w->failed, 1);
        return;
    }
    o->values.k = w->k;
    o->values.q = w->q;
    const size_t end = qb_part_start(tiles, 1, part + 1, parts);
    for (size_t t = qb_part_start(tiles, 1, part, parts); t < end; t++) {
        const size_t i = t / w->tiles_a_row, col = t % w->tiles_a_row * w->step;
        write_tile(o, w->rows ? (size_t)w->rows[i] : w->first + i, col, qb_min(w->step, cols - col), w->dtype,
                   w->streamed, w->out + (i * cols + col) * size);
    }
    if (w->streamed) w->k->fence();
    free(o);
}

static int write_rows(const qb_matrix *q, const int64_t *rows, size_t first, size_t count, int dtype, void *out)
{
    size_t total;
    if (!qb_mul(count, q->cols * qb_float_bytes(dtype), &total)) return QB_ERR_SIZE;
    if (total == 0) return QB_OK;
    const qb_matrix all = rows ? *q : joined(q, first, count);
    const int one = all.cols != q->cols;
    const size_t step = tile_columns(&all);
    struct writing w = {qb_kernels_now(), &all, rows, one ? 0 : first, one ? 1 : count, step,
                        qb_ceil_div(all.cols, step), dtype, total > QB_STREAM_BYTES, out, QB_ATOMIC_INIT(0)};
    const qb_fpenv env = qb_fpenv_enter();
    qb_parallel(qb_parts(total, w.count * w.tiles_a_row), write_part, &w);
    qb_fpenv_leave(env);
    return qb_atomic_load(&w.failed) ? QB_ERR_MEMORY : QB_OK;
}

int qb_dequantize(const qb_matrix *q, size_t first, size_t rows, int dtype, void *out)
{
    const int status = qb_matrix_check(q);
    if (status) return status;
    if (!qb_float_bytes(dtype) || first > q->rows || rows > q->rows - first) return QB_ERR_ARGUMENT;
    return write_rows(q, NULL, first, rows, dtype, out);
}

int qb_take(const qb_matrix *q, const int64_t *rows, size_t count, int dtype, void *out)
{
    const int status = qb_matrix_check(q);
    if (status) return status;
    if (!qb_float_bytes(dtype)) return QB_ERR_ARGUMENT;
    for (size_t i = 0; i < count; i++)
        if (rows[i] < 0 || (uint64_t)rows[i] >= q->rows) return QB_ERR_ARGUMENT;
    return write_rows(q, rows, 0, count, dtype, out);
}

int qb_codes(const qb_matrix *q, size_t first, size_t rows, uint8_t *out)
{
    const int status = qb_matrix_check(q);
    if (status) return status;
    if (first > q->rows || rows > q->rows - first) return QB_ERR_ARGUMENT;
    const struct qb_kernels *const k = qb_kernels_now();
    for (size_t i = 0; i < rows; i++) qb_stored_codes(k, q, first + i, 0, q->cols, out + i * q->cols);
    return QB_OK;
}

int qb_parameters(const qb_matrix *q, size_t first, size_t rows, float *scales, float *mins, float *zeros)
{
    const int status = qb_matrix_check(q);
    if (status) return status;
    if (first > q->rows || rows > q->rows - first) return QB_ERR_ARGUMENT;
    const struct qb_kernels *const k = qb_kernels_now();
    const size_t groups = q->format.per_tensor ? 1 : qb_matrix_groups(q);
    const qb_fpenv env = qb_fpenv_enter();
    for (size_t i = 0; i < (q->format.per_tensor ? 1 : rows); i++) {
        const size_t at = i * groups;
        qb_stored_params(k, q, first + i, 0, groups, scales ? scales + at : NULL,
                         zeros ? zeros + at : NULL, mins ? mins + at : NULL);
    }
    qb_fpenv_leave(env);
    return QB_OK;
}
