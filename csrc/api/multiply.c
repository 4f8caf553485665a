// SPDX-License-Identifier: Apache-2.0
// Everything is cut so that the workspace has a fixed bound: columns into chunks, k into stretches
// (`out` carries the sums from one to the next), a stretch of 16 rows into pieces whose lines stay in the
// first-level cache. Threads share the rows; an output is one thread's, summed in its own order.
#include "multiply.h"

#include "../base/dispatch.h"
#include "../base/float16.h"
#include "../base/fpenv.h"
#include "../base/threads.h"
#include "../formats/panels.h"
#include "../formats/stored.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct sums_out {
    float *to; // of the chunk's first column
    ptrdiff_t n, m;
};

struct multiplication {
    const struct qb_weights *w;
    const struct qb_stretch *x;
    struct sums_out out;
    uint8_t *states; // one a part
};

// What one thread works in.
struct worker {
    struct qb_piece piece;
    float acc[QB_COLUMNS * QB_LANES];
};

// Whether each group has a zero point of its own.
static int with_zeros(const qb_format *format) { return format->zero == QB_ZERO_POINT && !format->block; }

static void load_sums(const struct multiplication *job, float *acc, size_t row, size_t rows)
{
    const size_t cols = job->x->cols;
    memset(acc, 0, cols * QB_LANES * sizeof *acc);
    if (job->x->first == 0) return;
    for (size_t c = 0; c < cols; c++)
        for (size_t r = 0; r < rows; r++)
            acc[c * QB_LANES + r] = job->out.to[(ptrdiff_t)c * job->out.n + (ptrdiff_t)(row + r) * job->out.m];
}

static inline void store_column(const float *acc, size_t rows, int bad, float *to, ptrdiff_t step)
{
    const float nan = qb_bits_float(0x7FC00000u);
    for (size_t r = 0; r < rows; r++) to[(ptrdiff_t)r * step] = bad || isnan(acc[r]) ? nan : acc[r];
}

static void store_sums(const struct multiplication *job, const float *acc, size_t row, size_t rows)
{
    for (size_t c = 0; c < job->x->cols; c++) {
        float *const to = job->out.to + (ptrdiff_t)c * job->out.n + (ptrdiff_t)row * job->out.m;
        const int bad = qb_atomic_load((qb_atomic_int *)&job->x->bad[c]);
        if (job->out.m == 1) store_column(acc + c * QB_LANES, rows, bad, to, 1); // which becomes vectors
        else store_column(acc + c * QB_LANES, rows, bad, to, job->out.m);
    }
}

size_t qb_piece_end(const struct qb_stretch *x, size_t s, size_t *units)
{
    const size_t end = qb_min(x->segments, s + QB_PIECE_SEGMENTS);
    for (*units = 0; s < end && *units + x->units[s] <= QB_PIECE_UNITS; s++) *units += x->units[s];
    return s;
}

// The same of segments that are whole octets together, as far as the weights go.
static size_t octets_end(const struct qb_weights *w, const struct qb_stretch *x, size_t s, size_t *units)
{
    size_t end = qb_min(x->segments, s + w->octet_segments);
    while (end > s && (x->first + x->start[end]) % (4 * QB_OCTET)) end--;
    *units = (x->start[end] - x->start[s]) / 4;
    return end;
}

// Adds a whole stretch to the sums of 16 rows.
static void multiply_rows(const struct multiplication *job, struct worker *worker, void *state, size_t row)
{
    const struct qb_weights *const w = job->w;
    const struct qb_stretch *const x = job->x;
    struct qb_piece *const piece = &worker->piece;
    const int with_min = w->format->zero == QB_ZERO_MIN;
    for (size_t s = 0, end, unit = 0, units; s < x->segments; s = end, unit += units) {
        end = octets_end(w, x, s, &units);
        piece->in_planes = end > s;
        if (!piece->in_planes) end = qb_piece_end(x, s, &units);
        w->load(w, state, x, row, s, end, unit, piece);
        const struct qb_panel panel = {.bits = piece->doubled ? 1 : qb_stored_bits(w->format),
                                       .segments = end - s,
                                       .units = x->units + s,
                                       .lines = piece->lines,
                                       .d = piece->d,
                                       .m = with_min ? piece->m : NULL,
                                       .z = with_zeros(w->format) ? piece->z : NULL,
                                       .zero = qb_stored_zero(w->format),
                                       .ahead = piece->ahead,
                                       .ahead_bytes = piece->ahead_bytes,
                                       .doubled = piece->doubled,
                                       .table = piece->table,
                                       .half_d = piece->half_d,
                                       .half_m = piece->half_m,
                                       .half_step = piece->half_step};
        for (size_t c = 0; c < x->cols; c += x->tile) {
            const struct qb_activations tile = qb_stretch_tile(x, c, s, unit);
            (piece->in_planes ? w->kernels->gemv : w->kernels->panel)(&panel, &tile, worker->acc + c * QB_LANES);
        }
    }
}

static void multiply_part(void *context, size_t part, size_t parts)
{
    const struct multiplication *const job = context;
    const struct qb_weights *const w = job->w;
    const size_t end = qb_part_start(w->rows, QB_LANES, part + 1, parts);
    void *const state = job->states + part * w->state_bytes;
    struct worker worker;
    for (size_t row = qb_part_start(w->rows, QB_LANES, part, parts); row < end; row += QB_LANES) {
        const size_t rows = qb_min(w->rows - row, QB_LANES);
        load_sums(job, worker.acc, row, rows);
        multiply_rows(job, &worker, state, row);
        store_sums(job, worker.acc, row, rows);
    }
}

// Threads to use: the bytes of weights, or what takes about as long.
static size_t parts_of(const struct qb_weights *w, size_t cols)
{
    return qb_parts(w->rows * w->row_bytes * (1 + cols / 4), qb_ceil_div(w->rows, QB_LANES));
}

int qb_multiply(const struct qb_weights *w, const qb_floats *x, int planes, float *out, ptrdiff_t out_n,
                ptrdiff_t out_m)
{
    if (x->rows == 0 || w->rows == 0) return QB_OK;
    // Chunks of equal size: a short last one would cost as much decoding as a full one.
    const size_t chunks = qb_ceil_div(x->rows, QB_COLUMNS), most = qb_ceil_div(x->rows, chunks);
    const size_t parts = parts_of(w, most);
    // Codes that all stay in planes are multiplied as bytes.
    const int in_planes = w->octet_segments && w->cut.cols % (4 * QB_OCTET) == 0;
    const int factor = with_zeros(w->format) ? 1 : -qb_stored_zero(w->format);
    struct qb_stretch stretch;
    struct multiplication job = {w, &stretch, {0}, NULL};
    if (w->state_bytes && !(job.states = malloc(parts * w->state_bytes))) return QB_ERR_MEMORY;
    for (size_t i = 0; w->state_bytes && i < parts; i++) memset(job.states + i * w->state_bytes, 0, QB_STATE_ZEROED);
    if (!qb_stretch_new(&stretch, w->kernels, x, &w->cut, factor, in_planes ? 0 : qb_stored_bits(w->format), planes,
                        most, w->octet_segments ? w->octet_columns : most)) {
        free(job.states);
        return QB_ERR_MEMORY;
    }
    const qb_fpenv saved = qb_fpenv_enter();
    for (size_t n = 0; n < x->rows; n += most) {
        job.out = (struct sums_out){out + (ptrdiff_t)n * out_n, out_n, out_m};
        qb_stretch_chunk(&stretch, n, qb_min(x->rows - n, most));
        do {
            qb_stretch_next(&stretch);
            qb_parallel(parts, multiply_part, &job);
        } while (stretch.end < w->cut.cols);
    }
    qb_fpenv_leave(saved);
    qb_stretch_free(&stretch);
    free(job.states);
    return QB_OK;
}
