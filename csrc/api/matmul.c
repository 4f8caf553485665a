// SPDX-License-Identifier: Apache-2.0
// qb_matmul: the multiply straight from the packed form. Rows lie far from each other there, so a run of
// each is unpacked in one go and then laid side by side piece by piece.
#include "../base/dispatch.h"
#include "../formats/stored.h"
#include "floats.h"
#include "multiply.h"

#include <string.h>

enum {
    RUN_UNITS = 1024,   // units of 4 codes in a run, at most
    RUN_SEGMENTS = 256, // segments in a run, at most
    SPREAD = 64,        // bytes between rows, so that 16 rows do not share cache sets
};

// A run of 16 rows, row by row: segments [first, last) of a stretch.
struct run {
    size_t row, stretch, first, last;
    uint8_t codes[QB_LANES][RUN_UNITS * 4 + SPREAD]; // may start up to 7 codes early
    float d[QB_LANES][RUN_SEGMENTS + SPREAD / 4], m[QB_LANES][RUN_SEGMENTS + SPREAD / 4];
    int32_t z[QB_LANES][RUN_SEGMENTS + SPREAD / 4];
};

// Parameters of the run's segments in one row.
static void load_params(const struct qb_weights *w, const struct qb_stretch *x, struct run *run, size_t lane)
{
    const qb_matrix *const q = w->self;
    const size_t s = run->first, count = run->last - s;
    float z[RUN_SEGMENTS];
    float *const zeros = q->format.zero == QB_ZERO_POINT ? z : NULL;
    // In a group of several segments, each asks for itself.
    const size_t step = w->cut.group > QB_BLOCK_MAX ? 1 : count;
    for (size_t i = 0; i < count; i += step) {
        const size_t group = (x->first + x->start[s + i]) / w->cut.group;
        qb_stored_params(w->kernels, q, run->row + lane, group, step, run->d[lane] + i, zeros ? zeros + i : NULL,
                         run->m[lane] + i);
    }
    if (!zeros) return;
    for (size_t i = 0; i < count; i++) run->z[lane][i] = (int32_t)z[i];
}

// Lanes without a row are zero, so that what is made of them does not depend on what was there.
static void clear_lanes(struct run *run, size_t lane)
{
    for (; lane < QB_LANES; lane++) {
        memset(run->codes[lane], 0, sizeof run->codes[lane]);
        memset(run->d[lane], 0, sizeof run->d[lane]);
        memset(run->m[lane], 0, sizeof run->m[lane]);
        memset(run->z[lane], 0, sizeof run->z[lane]);
    }
}

static void load_run(const struct qb_weights *w, const struct qb_stretch *x, struct run *run, size_t row, size_t s)
{
    size_t units = 0, last = s;
    while (last < qb_min(x->segments, s + RUN_SEGMENTS) && units + x->units[last] <= RUN_UNITS)
        units += x->units[last++];
    run->row = row;
    run->stretch = x->first;
    run->first = s;
    run->last = last;
    const size_t k = x->first + x->start[s], n = x->start[last] - x->start[s], early = k % 8;
    if (w->rows - row < QB_LANES) clear_lanes(run, w->rows - row);
    for (size_t lane = 0; lane < qb_min(w->rows - row, QB_LANES); lane++) {
        qb_stored_codes(w->kernels, w->self, row + lane, k - early, n + early, run->codes[lane]);
        load_params(w, x, run, lane);
    }
}

static void load_piece(const struct qb_weights *w, void *state, const struct qb_stretch *x, size_t row, size_t s,
                       size_t end, size_t unit, struct qb_piece *piece)
{
    (void)unit;
    struct run *const run = state;
    if (run->last < end || run->first > s || run->row != row || run->stretch != x->first) load_run(w, x, run, row, s);
    qb_interleave_fn *const interleave = w->kernels->interleave;
    const size_t first = run->first, early = (x->first + x->start[first]) % 8;
    const uint8_t *const codes = run->codes[0] + early + (x->start[s] - x->start[first]);
    if (w->cut.group % 4 == 0) {
        interleave(codes, sizeof run->codes[0], x->start[end] - x->start[s], piece->room);
    } else { // every segment starts a unit
        uint8_t *to = piece->room;
        for (size_t i = s; i < end; to += x->units[i++] * QB_LANES * 4)
            interleave(codes + (x->start[i] - x->start[s]), sizeof run->codes[0], x->start[i + 1] - x->start[i], to);
    }
    piece->lines = piece->room;
    piece->ahead_bytes = 0;
    piece->doubled = 0;
    piece->table = piece->half_d = piece->half_m = NULL;
    // A parameter is a unit of four bytes too.
    const size_t stride = sizeof run->d[0], bytes = (end - s) * 4, at = s - first;
    interleave((const uint8_t *)(run->d[0] + at), stride, bytes, (uint8_t *)piece->d);
    if (w->format->zero == QB_ZERO_MIN)
        interleave((const uint8_t *)(run->m[0] + at), stride, bytes, (uint8_t *)piece->m);
    if (w->format->zero == QB_ZERO_POINT)
        interleave((const uint8_t *)(run->z[0] + at), stride, bytes, (uint8_t *)piece->z);
}

struct qb_weights qb_packed_weights(const struct qb_kernels *k, const qb_matrix *q)
{
    return (struct qb_weights){.kernels = k,
                               .self = q,
                               .format = &q->format,
                               .rows = q->rows,
                               .cut = {q->cols, qb_matrix_group(q)},
                               .row_bytes = qb_stored_row_bytes(&q->format, q->cols),
                               .state_bytes = sizeof(struct run),
                               .load = load_piece};
}

int qb_matmul(const qb_matrix *q, const qb_floats *x, int planes, float *out, ptrdiff_t out_n, ptrdiff_t out_m)
{
    const int status = qb_matrix_check(q);
    if (status) return status;
    if (planes < 1 || planes > 3 || !qb_float_bytes(x->dtype) || x->cols != q->cols) return QB_ERR_ARGUMENT;
    const struct qb_weights w = qb_packed_weights(qb_kernels_now(), q);
    return qb_multiply(&w, x, planes, out, out_n, out_m);
}
