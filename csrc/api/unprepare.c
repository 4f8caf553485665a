// SPDX-License-Identifier: Apache-2.0
// qb_unprepare and qb_prepared_rows: panels back to packed rows, piece by piece as the multiply reads them.
#include "../base/dispatch.h"
#include "packer.h"
#include "prepare_blocks.h"
#include "prepared.h"

#include <stdlib.h>
#include <string.h>

// 16 rows being written, each through packers of its own.
struct unpreparer {
    struct qb_stretch stretch;
    struct qb_piece piece;
    struct qb_packer codes[QB_LANES], zeros[QB_LANES];
};

// Segments [s, end), whose lines and parameters are in the piece, to the packed rows.
static void write_segments(struct unpreparer *u, const qb_format *f, const struct qb_cut *cut, size_t lane,
                           size_t rows, size_t s, size_t end)
{
    const uint8_t flip = qb_stored_flip(f);
    const int shift = qb_stored_bits(f) != f->bits;
    const uint32_t *const start = u->stretch.start;
    for (size_t r = 0; r < rows; r++) {
        const uint8_t *line = u->piece.lines + 4 * (lane + r);
        uint8_t *const codes = qb_packer_room(&u->codes[r]), *to = codes;
        for (size_t i = s; i < end; i++) {
            const size_t n = start[i + 1] - start[i];
            for (size_t j = 0; j < n; j += 4, line += QB_LINE)
                for (size_t c = 0; c < qb_min(4, n - j); c++) *to++ = (uint8_t)((line[c] >> shift) ^ flip);
            if (f->zero != QB_ZERO_POINT || (u->stretch.first + start[i]) % cut->group) continue;
            *qb_packer_room(&u->zeros[r]) = (uint8_t)u->piece.z[(i - s) * QB_LANES + lane + r];
            qb_packer_add(&u->zeros[r], 1);
        }
        qb_packer_add(&u->codes[r], (size_t)(to - codes));
    }
}

// One parameter of every group of 16 rows: from [groups][16] to rows.
static void write_scales(const qb_matrix *q, const struct qb_panel_layout *l, size_t row, size_t lane, size_t rows,
                         const uint8_t *from, void *scales)
{
    const size_t size = q->format.scale == QB_F32 ? 4 : 2, groups = q->format.per_tensor ? 1 : l->groups;
    for (size_t r = 0; r < (q->format.per_tensor ? 1 : rows); r++) {
        uint8_t *const to = (uint8_t *)scales + (q->format.per_tensor ? 0 : (row + r) * groups * size);
        for (size_t g = 0; g < groups; g++) memcpy(to + g * size, from + (g * QB_LANES + lane + r) * size, size);
    }
}

static void open_rows(struct unpreparer *u, const struct qb_kernels *k, const qb_matrix *q, size_t groups, size_t row,
                      size_t rows)
{
    const int bits = q->format.bits, with_zeros = q->format.zero == QB_ZERO_POINT;
    for (size_t r = 0; r < rows; r++) {
        qb_packer_open(&u->codes[r], k, bits, q->codes + (row + r) * qb_packed_bytes(q->cols, bits));
        if (with_zeros) // one zero point for the tensor: every row writes it
            qb_packer_open(&u->zeros[r], k, bits,
                           q->zeros + (q->format.per_tensor ? 0 : (row + r) * qb_packed_bytes(groups, bits)));
    }
}

// Rows [from, from + rows), all of one panel, to rows of `out` from the row-th on.
static void unprepare_rows(struct unpreparer *u, const struct qb_kernels *k, const qb_prepared *p,
                           const struct qb_panel_layout *l, size_t from, size_t rows, const qb_matrix *out, size_t row)
{
    const uint8_t *const panel = p->panels + from / QB_LANES * l->bytes;
    const size_t lane = from % QB_LANES;
    if (p->format.block) {
        qb_unprepare_blocks(k, l, panel, lane, rows, out, row);
        return;
    }
    open_rows(u, k, out, l->groups, row, rows);
    qb_stretch_chunk(&u->stretch, 0, 1);
    do {
        qb_stretch_plan(&u->stretch);
        for (size_t s = 0, end, unit = 0, units; s < u->stretch.segments; s = end, unit += units) {
            end = qb_piece_end(&u->stretch, s, &units);
            qb_prepared_piece(k, l, &p->format, panel, &u->stretch, s, end, unit, &u->piece);
            write_segments(u, &p->format, &l->cut, lane, rows, s, end);
        }
    } while (u->stretch.end < l->cut.cols);
    for (size_t r = 0; r < rows; r++) {
        qb_packer_end_row(&u->codes[r]);
        if (p->format.zero == QB_ZERO_POINT) qb_packer_end_row(&u->zeros[r]);
    }
    write_scales(out, l, row, lane, rows, panel, out->scales);
    if (p->format.zero == QB_ZERO_MIN) write_scales(out, l, row, lane, rows, panel + l->mins, out->mins);
}

static struct unpreparer *new_unpreparer(const struct qb_kernels *k, const struct qb_panel_layout *layout)
{
    struct unpreparer *const u = malloc(sizeof *u);
    if (u) u->piece.in_planes = 0;
    if (u && qb_stretch_new(&u->stretch, k, NULL, &layout->cut, 1, 0, 1, 1, 1)) return u;
    free(u);
    return NULL;
}

static void free_unpreparer(struct unpreparer *u)
{
    if (u) qb_stretch_free(&u->stretch);
    free(u);
}

int qb_unprepare(const qb_prepared *p, const qb_matrix *out)
{
    struct qb_panel_layout layout;
    const int status = qb_prepared_check(&p->format, p->rows, p->cols, &layout);
    if (status) return status;
    if (out->rows != p->rows || out->cols != p->cols) return QB_ERR_ARGUMENT;
    if (p->rows == 0 || p->cols == 0) return QB_OK;
    const struct qb_kernels *const k = qb_kernels_now();
    struct unpreparer *const u = new_unpreparer(k, &layout);
    if (!u) return QB_ERR_MEMORY;
    for (size_t row = 0; row < p->rows; row += QB_LANES)
        unprepare_rows(u, k, p, &layout, row, qb_min(p->rows - row, QB_LANES), out, row);
    free_unpreparer(u);
    return QB_OK;
}

int qb_prepared_rows(const qb_prepared *p, const int64_t *rows, size_t count, const qb_matrix *out)
{
    struct qb_panel_layout layout;
    const int status = qb_prepared_check(&p->format, p->rows, p->cols, &layout);
    if (status) return status;
    if (out->rows != count || out->cols != p->cols) return QB_ERR_ARGUMENT;
    for (size_t i = 0; i < count; i++)
        if (rows[i] < 0 || (uint64_t)rows[i] >= p->rows) return QB_ERR_ARGUMENT;
    if (count == 0 || p->cols == 0) return QB_OK;
    const struct qb_kernels *const k = qb_kernels_now();
    struct unpreparer *const u = new_unpreparer(k, &layout);
    if (!u) return QB_ERR_MEMORY;
    for (size_t i = 0; i < count; i++) unprepare_rows(u, k, p, &layout, (size_t)rows[i], 1, out, i);
    free_unpreparer(u);
    return QB_OK;
}
