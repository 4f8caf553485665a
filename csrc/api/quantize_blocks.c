// SPDX-License-Identifier: Apache-2.0
// qb_quantize into block types: rows in tiles of whole blocks, each checked and encoded while it is in the
// first-level cache.
#include "../base/checked.h"
#include "../base/fpenv.h"
#include "../base/threads.h"
#include "../formats/block_search.h"
#include "../formats/blocks.h"
#include "quantize.h"

#include <math.h>
#include <stdlib.h>

struct outcome {
    int status;
    qb_fault fault;
};

struct encoding {
    struct qb_job job;
    const qb_block_type *type;
    size_t tiles_a_row, row_bytes;
    struct outcome outcomes[QB_MOST_THREADS];
};

static int encode_tile(struct qb_job *j, const struct encoding *all, size_t row, size_t col)
{
    const size_t n = qb_min(QB_BLOCK_TILE, j->x.cols - col), elements = all->type->elements, count = n / elements;
    int status;
    const float *const x = qb_job_floats(j, row, col, n, &status);
    if (status) return status;
    const size_t ahead = x == j->work->tile ? 0 : n; // the next tile comes while this one is encoded
    for (size_t third = 0; third < 3; third++) qb_fetch_third(x + n, ahead, third);
    uint8_t *const to = j->out.codes + row * all->row_bytes + qb_block_bytes(&j->out.format, col);
    const int block = j->out.format.block;
    const float *const w = j->importance ? j->importance + row * j->importance_stride + col : NULL;
    const size_t done = qb_block_quantize(j->k, block, j->search, x, w, count, j->streamed ? j->work->packed : to);
    if (j->streamed) j->k->stream(j->work->packed, done * all->type->bytes, to);
    if (done == count) return QB_OK;
    size_t most = done * elements;
    for (size_t i = most; i < (done + 1) * elements; i++)
        if (fabsf(x[i]) > fabsf(x[most])) most = i;
    return qb_job_refuse(j, QB_ERR_SCALE_RANGE, row, col + done * elements, (double)x[most]);
}

static void encode_part(void *context, size_t part, size_t parts)
{
    struct encoding *const all = context;
    struct outcome *const outcome = &all->outcomes[part];
    struct qb_job j = all->job;
    outcome->status = QB_ERR_MEMORY;
    j.fault = &outcome->fault;
    j.work = malloc(sizeof *j.work);
    if (!j.work) return;
    outcome->status = QB_OK;
    const size_t tiles = j.x.rows * all->tiles_a_row, end = qb_part_start(tiles, 1, part + 1, parts);
    for (size_t t = qb_part_start(tiles, 1, part, parts); t < end && !outcome->status; t++)
        outcome->status = encode_tile(&j, all, t / all->tiles_a_row, t % all->tiles_a_row * QB_BLOCK_TILE);
    if (j.streamed) j.k->fence();
    free(j.work);
}

int qb_quantize_blocks(const struct qb_job *job)
{
    struct encoding all = {.job = *job, .type = qb_block_type_of(job->out.format.block)};
    qb_floats *const x = &all.job.x;
    const size_t size = qb_float_bytes(x->dtype);
    const int gapless = x->col_stride == (ptrdiff_t)size && x->row_stride == (ptrdiff_t)(x->cols * size);
    if (gapless && (!job->importance || job->importance_stride == x->cols)) { // one long row
        x->cols *= x->rows;
        x->rows = 1;
    }
    all.tiles_a_row = qb_ceil_div(x->cols, QB_BLOCK_TILE);
    all.row_bytes = qb_block_bytes(&job->out.format, x->cols);
    all.job.streamed = x->rows * all.row_bytes > QB_STREAM_BYTES;
    const qb_fpenv env = qb_fpenv_enter();
    const size_t work = job->search == QB_SEARCH_RTN ? size : 16 * size;
    const size_t parts = qb_parts(x->rows * x->cols * work, x->rows * all.tiles_a_row);
    qb_parallel(parts, encode_part, &all);
    qb_fpenv_leave(env);
    for (size_t i = 0; i < parts; i++) {
        if (!all.outcomes[i].status) continue;
        *job->fault = all.outcomes[i].fault;
        return all.outcomes[i].status;
    }
    return QB_OK;
}
