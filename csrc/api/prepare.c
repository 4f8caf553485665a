// SPDX-License-Identifier: Apache-2.0
// qb_prepare: packed rows to panels. A kernel makes the planes of 16 rows; where there are fewer, or units are not the
// codes as they lie, they are folded row by row and laid side by side. So are the parameters.
#include "../base/dispatch.h"
#include "../base/target.h"
#include "../base/threads.h"
#include "../formats/side_by_side.h"
#include "prepare_blocks.h"
#include "prepared.h"

#include <string.h>

enum {
    OCTET = 4 * QB_OCTET, // codes
    SPREAD = 64,          // bytes between rows, so that 16 rows do not share cache sets
    FILLED = 1024,        // codes of a row at a time, parameters at a time
};

struct preparing {
    const struct qb_kernels *kernels;
    const qb_matrix *q;
    struct qb_panel_layout layout;
    uint8_t *panels;
};

// ---- codes ----------------------------------------------------------------------------------------

// Codes of a row as its units hold them, groups filled up to whole units: [at, at + n) of those, which are zero at
// first.
static void filled_codes(const struct preparing *job, size_t row, size_t at, size_t n, uint8_t *codes)
{
    const struct qb_cut *const cut = &job->layout.cut;
    const qb_format *const f = &job->q->format;
    const uint8_t *const packed = job->q->codes + row * qb_packed_bytes(cut->cols, f->bits);
    const size_t filled = qb_ceil_div(cut->group, 4) * 4, end = at + n;
    uint8_t found[FILLED + 8];
    const size_t first = qb_min(cut->cols, at / filled * cut->group + qb_min(at % filled, cut->group)) / 8 * 8;
    const size_t last = qb_min(cut->cols, end / filled * cut->group + qb_min(end % filled, cut->group));
    job->kernels->unpack[f->bits](packed + qb_packed_bytes(first, f->bits), last - first, qb_stored_flip(f), 0, found);
    for (size_t next; at < end; at = next) {
        const size_t group = at / filled, within = at % filled, from = group * cut->group + within;
        next = qb_min(end, (group + 1) * filled);
        if (within >= cut->group || from >= last) continue;
        const size_t some = qb_min(cut->group - within, qb_min(next - at, last - from));
        memcpy(codes + (n - (end - at)), found + (from - first), some);
    }
}

// Codes from the at-th on, row by row; `to` is where the first ones go.
static void prepare_filled(const struct preparing *job, size_t row, size_t rows, size_t at, uint8_t *to)
{
    const int bits = job->layout.bits;
    const size_t octet = (size_t)bits * 4, end = job->layout.units * 4;
    uint8_t folded[QB_LANES][FILLED + SPREAD];
    if (rows < QB_LANES) memset(folded, 0, sizeof folded);
    for (size_t n; at < end; at += n) {
        n = qb_min(end - at, FILLED);
        const size_t octets = qb_ceil_div(n, OCTET);
        for (size_t lane = 0; lane < rows; lane++) {
            uint8_t codes[FILLED] = {0};
            filled_codes(job, row + lane, at, n, codes);
            job->kernels->fold_codes(codes, octets, bits, folded[lane]);
        }
        job->kernels->interleave(folded[0], sizeof folded[0], octets * octet, to + at / OCTET * octet * QB_LANES);
    }
}

static void prepare_codes(const struct preparing *job, size_t row, size_t rows, uint8_t *to)
{
    const struct qb_cut *const cut = &job->layout.cut;
    const qb_format *const f = &job->q->format;
    const size_t row_bytes = qb_packed_bytes(cut->cols, f->bits);
    const int as_they_lie = cut->group % 4 == 0 || cut->group >= cut->cols;
    const size_t whole = rows == QB_LANES && as_they_lie ? cut->cols / OCTET : 0;
    job->kernels->fold[f->bits](job->q->codes + row * row_bytes, row_bytes, whole, qb_stored_flip(f), to);
    prepare_filled(job, row, rows, whole * OCTET, to);
}

// ---- parameters -----------------------------------------------------------------------------------

static void prepare_scales(const struct preparing *job, const void *scales, size_t row, size_t rows, uint8_t *to)
{
    const qb_format *const f = &job->q->format;
    const size_t size = f->scale == QB_F32 ? 4 : 2, groups = job->layout.groups, all = groups * size * QB_LANES;
    const uint8_t *const from = (const uint8_t *)scales + (f->per_tensor ? 0 : row * groups * size);
    memset(to + all, 0, job->layout.scales_bytes - all);
    if (rows == QB_LANES && !f->per_tensor) {
        for (size_t i = 0; i < all; i += 64) QB_PREFETCH(from + all + i); // those of the next rows
        qb_side_by_side(job->kernels, from, groups * size, size, groups, to);
        return;
    }
    uint8_t some[QB_LANES][FILLED] = {0};
    for (size_t at = 0, n; at < groups; at += n) {
        n = qb_min(groups - at, FILLED / size);
        for (size_t lane = 0; lane < rows; lane++)
            memcpy(some[lane], from + ((f->per_tensor ? 0 : lane * groups) + at) * size, n * size);
        qb_side_by_side(job->kernels, some[0], sizeof some[0], size, n, to + at * size * QB_LANES);
    }
}

static void prepare_zeros(const struct preparing *job, size_t row, size_t rows, uint8_t *to)
{
    const qb_matrix *const q = job->q;
    const size_t bits = (size_t)q->format.bits, groups = job->layout.groups;
    uint8_t some[QB_LANES][FILLED + SPREAD], lanes[FILLED * QB_LANES];
    if (rows < QB_LANES) memset(some, 0, sizeof some);
    memset(to + groups * 2 * bits, 0, job->layout.zeros_bytes - groups * 2 * bits);
    for (size_t at = 0, n; at < groups; at += n) {
        n = qb_min(groups - at, FILLED);
        for (size_t lane = 0; lane < rows; lane++) {
            const size_t start = q->format.per_tensor ? 0 : (row + lane) * qb_packed_bytes(groups, q->format.bits);
            job->kernels->unpack[bits](q->zeros + start + at / 8 * bits, n, 0, 0, some[lane]);
        }
        qb_side_by_side(job->kernels, some[0], sizeof some[0], 1, n, lanes);
        job->kernels->pack[bits](lanes, n * QB_LANES, 0, to + at * 2 * bits);
    }
}

// ---- panels ---------------------------------------------------------------------------------------

static void prepare_panel(const struct preparing *job, size_t row, uint8_t *panel)
{
    const struct qb_panel_layout *const l = &job->layout;
    const qb_matrix *const q = job->q;
    const size_t rows = qb_min(q->rows - row, QB_LANES);
    prepare_scales(job, q->scales, row, rows, panel);
    if (q->format.zero == QB_ZERO_MIN) prepare_scales(job, q->mins, row, rows, panel + l->mins);
    if (q->format.zero == QB_ZERO_POINT) prepare_zeros(job, row, rows, panel + l->zeros);
    prepare_codes(job, row, rows, panel + l->codes);
}

static void prepare_part(void *context, size_t part, size_t parts)
{
    const struct preparing *const job = context;
    const size_t end = qb_part_start(job->q->rows, QB_LANES, part + 1, parts);
    for (size_t row = qb_part_start(job->q->rows, QB_LANES, part, parts); row < end; row += QB_LANES) {
        uint8_t *const panel = job->panels + row / QB_LANES * job->layout.bytes;
        if (job->q->format.block) qb_prepare_blocks(job->kernels, job->q, &job->layout, row, panel);
        else prepare_panel(job, row, panel);
    }
}

int qb_prepare(const qb_matrix *q, uint8_t *panels)
{
    struct preparing job = {.kernels = qb_kernels_now(), .q = q, .panels = panels};
    const int status = qb_prepared_check(&q->format, q->rows, q->cols, &job.layout);
    if (status || q->rows == 0 || q->cols == 0) return status;
    const size_t panel_count = qb_ceil_div(q->rows, QB_LANES);
    qb_parallel(qb_parts(panel_count * job.layout.bytes, panel_count), prepare_part, &job);
    return QB_OK;
}
