// SPDX-License-Identifier: Apache-2.0
// The multiply from a prepared matrix: a panel is read from its first byte to its last.
#include "prepared.h"

#include "../base/dispatch.h"
#include "../formats/block_fields.h"
#include "floats.h"

#include <string.h>

int qb_prepared_check(const qb_format *format, size_t rows, size_t cols, struct qb_panel_layout *layout)
{
    const qb_matrix q = {.format = *format, .rows = rows, .cols = cols};
    const int status = qb_matrix_check(&q);
    if (status) return status;
    return qb_panel_layout(format, rows, cols, layout) ? QB_OK : QB_ERR_SIZE;
}

size_t qb_prepared_bytes(const qb_format *format, size_t rows, size_t cols)
{
    struct qb_panel_layout layout;
    if (qb_prepared_check(format, rows, cols, &layout)) return 0;
    return layout.bytes * qb_ceil_div(rows, QB_LANES);
}

// Whether the kernels of family "gemv" take the codes from their planes: segments are whole octets or, all of them,
// half ones, but for the last of a row.
static int stays_in_planes(const struct qb_cut *cut)
{
    const size_t octet = 4 * QB_OCTET;
    return cut->group % octet == 0 || cut->group >= cut->cols || cut->group == octet / 2;
}

// Whether those kernels take the parameters from where they are: binary16, one of each a segment.
static int halves_stay(const qb_format *format, const struct qb_cut *cut)
{
    if (cut->group > QB_BLOCK_MAX) return 0;
    if (format->block) return qb_block_halves(format) > 0;
    return format->scale == QB_F16 && format->zero != QB_ZERO_POINT;
}

// One-bit symmetric codes are stored as they are and count 0 and 2.
static int doubled(const struct qb_panel_layout *layout, const qb_format *format)
{
    return layout->bits == 1 && qb_stored_bits(format) == 2;
}

// Codes of `units` units as lines of the piece: from the unit-th on of the octets at `codes`.
static void load_lines(const struct qb_kernels *k, const struct qb_panel_layout *layout, const qb_format *format,
                       const uint8_t *codes, size_t unit, size_t units, struct qb_piece *piece)
{
    const size_t octets = qb_ceil_div(unit + units, QB_OCTET);
    if (layout->bits == QB_MAX_BITS) { // whose planes are the lines
        piece->lines = codes + unit * QB_LINE;
        return;
    }
    k->planes_unpack(codes, octets, layout->bits, piece->room);
    if (piece->table) k->look_up(piece->table, octets * QB_OCTET * QB_LINE, piece->room);
    if (doubled(layout, format))
        for (size_t i = 0; i < octets * QB_OCTET * QB_LINE; i++) piece->room[i] = (uint8_t)(piece->room[i] * 2);
    piece->lines = piece->room + unit * QB_LINE;
}

static void load_zeros(const struct qb_kernels *k, const qb_format *format, const uint8_t *zeros, size_t first,
                       size_t count, int32_t *lanes)
{
    const size_t bits = (size_t)format->bits;
    uint8_t codes[QB_LANES];
    for (size_t i = 0; i < count; i++) {
        k->unpack[bits](zeros + (first + i) * 2 * bits, QB_LANES, 0, 0, codes);
        for (size_t lane = 0; lane < QB_LANES; lane++) lanes[i * QB_LANES + lane] = codes[lane];
    }
}

// Parameters of `count` segments, to the piece's from the at-th on: of groups from the first-th on, or
// where groups have several segments, all of that one group.
static void load_params(const struct qb_kernels *k, const struct qb_panel_layout *layout, const qb_format *format,
                        const uint8_t *panel, size_t first, size_t count, struct qb_piece *piece, size_t at)
{
    const size_t lane = at * QB_LANES, groups = layout->cut.group > QB_BLOCK_MAX ? 1 : count;
    float *const d = piece->d + lane, *const m = piece->m + lane;
    int32_t *const z = piece->z + lane;
    qb_load_scales(k, format->scale, panel, first * QB_LANES, groups * QB_LANES, d);
    if (format->zero == QB_ZERO_MIN)
        qb_load_scales(k, format->scale, panel + layout->mins, first * QB_LANES, groups * QB_LANES, m);
    if (format->zero == QB_ZERO_POINT) load_zeros(k, format, panel + layout->zeros, first, groups, z);
    for (size_t i = groups * QB_LANES; i < count * QB_LANES; i++) {
        d[i] = d[i - QB_LANES];
        if (format->zero == QB_ZERO_MIN) m[i] = m[i - QB_LANES];
        if (format->zero == QB_ZERO_POINT) z[i] = z[i - QB_LANES];
    }
}

// A piece of blocks that are kept whole, 16 after one another.
static void load_blocks(const struct qb_kernels *k, const qb_format *format, const uint8_t *blocks, size_t count,
                        struct qb_piece *piece)
{
    const qb_block_type *const type = qb_block_type_of(format->block);
    const size_t elements = type->elements, segments = elements / type->format.group;
    const size_t codes_step = QB_LANES * elements, params_step = QB_LANES * segments;
    uint8_t codes[QB_PIECE_UNITS * QB_LINE];
    float params[QB_PIECE_SEGMENTS * QB_LANES];
    qb_block_codes(k, format, blocks, 0, count * codes_step, codes);
    qb_block_params(k, format, blocks, 0, count * params_step, params, NULL);
    for (size_t i = 0; i < count; i++) {
        k->interleave(codes + i * codes_step, elements, elements, piece->room + i * codes_step);
        k->interleave((const uint8_t *)(params + i * params_step), segments * sizeof *params, segments * sizeof *params,
                      (uint8_t *)(piece->d + i * params_step));
    }
    piece->lines = piece->room;
}

// A panel is read in two streams, parameters and codes, but fetched as one, so that the start of the next panel is
// there too: with each octet its share of the panel, this far ahead of the parameters' end.
static void fetch_next(const struct qb_panel_layout *layout, const uint8_t *panel, const uint8_t *codes, size_t first,
                       size_t units, struct qb_piece *piece)
{
    enum { FAR_AHEAD = 8192 };
    const size_t octet = (size_t)layout->bits * QB_LINE, octets = qb_ceil_div(layout->units, QB_OCTET);
    if (piece->in_planes) {
        piece->ahead_bytes = layout->bytes / octets;
        piece->ahead = panel + layout->codes + FAR_AHEAD + first / QB_OCTET * piece->ahead_bytes;
        return;
    }
    piece->ahead_bytes = units / QB_OCTET * octet;
    piece->ahead = codes + piece->ahead_bytes;
}

void qb_prepared_piece(const struct qb_kernels *k, const struct qb_panel_layout *layout, const qb_format *format,
                       const uint8_t *panel, const struct qb_stretch *x, size_t s, size_t end, size_t unit,
                       struct qb_piece *piece)
{
    const qb_block_type *const type = qb_block_type_of(format->block); // their pieces are whole blocks
    const size_t block = type ? (x->first + x->start[s]) / type->elements : 0;
    const size_t blocks = type ? (x->start[end] - x->start[s]) / type->elements : 0;
    const uint8_t *const fields = panel + block * layout->fields;
    size_t units = 0;
    for (size_t i = s; i < end; i++) units += x->units[i];
    const size_t octet = (size_t)layout->bits * QB_LINE, first = x->first_unit + unit;
    const uint8_t *const codes = panel + layout->codes + first / QB_OCTET * octet;
    fetch_next(layout, panel, codes, first, units, piece);
    piece->table = format->block ? qb_block_table(format) : NULL;
    piece->doubled = piece->in_planes && doubled(layout, format);
    piece->half_d = piece->half_m = NULL;
    if (type && !layout->bits) {
        load_blocks(k, format, fields, blocks, piece);
        return;
    }
    if (piece->in_planes) piece->lines = codes;
    else load_lines(k, layout, format, codes, first % QB_OCTET, units, piece);
    if (piece->in_planes && halves_stay(format, &layout->cut)) {
        const size_t group = (x->first + x->start[s]) / layout->cut.group, size = QB_LANES * 2;
        piece->half_step = format->block ? layout->fields : size;
        piece->half_d = panel + group * piece->half_step;
        if (format->zero == QB_ZERO_MIN) piece->half_m = piece->half_d + (format->block ? size : layout->mins);
        return;
    }
    if (type) {
        k->block_lanes[format->block](fields, blocks, piece->d, piece->m);
        return;
    }
    for (size_t i = s, next; i < end; i = next) {
        const size_t group = (x->first + x->start[i]) / layout->cut.group;
        next = end;
        if (layout->cut.group > QB_BLOCK_MAX)
            for (next = i + 1; next < end && (x->first + x->start[next]) / layout->cut.group == group;) next++;
        load_params(k, layout, format, panel, group, next - i, piece, i - s);
    }
}

struct source {
    const qb_prepared *p;
    const struct qb_panel_layout *layout;
};

static void load_piece(const struct qb_weights *w, void *state, const struct qb_stretch *x, size_t row, size_t s,
                       size_t end, size_t unit, struct qb_piece *piece)
{
    (void)state;
    const struct source *const source = w->self;
    const struct qb_panel_layout *const layout = source->layout;
    const uint8_t *const panel = source->p->panels + row / QB_LANES * layout->bytes;
    qb_prepared_piece(w->kernels, layout, w->format, panel, x, s, end, unit, piece);
}

// Segments of a piece whose codes stay in planes, if that is faster for so many columns.
static size_t octet_segments(const struct qb_kernels *k, const struct qb_panel_layout *layout, const qb_format *format,
                             size_t cols, int planes)
{
    const int bits = qb_stored_bits(format);
    if (!layout->bits || !stays_in_planes(&layout->cut)) return 0;
    const size_t few = k->gemv_columns[planes][bits == 8 && layout->bits < 8 ? QB_BYTE_TABLE : bits];
    if (cols > few && few < QB_ALL_COLUMNS) return 0;
    return halves_stay(format, &layout->cut) ? SIZE_MAX / 2 : QB_PIECE_SEGMENTS;
}

int qb_prepared_multiply(const qb_prepared *p, const struct qb_panel_layout *layout, const qb_floats *x, int planes,
                         float *out, ptrdiff_t out_n, ptrdiff_t out_m)
{
    const struct source source = {p, layout};
    if (planes < 1 || planes > 3 || !qb_float_bytes(x->dtype) || x->cols != p->cols) return QB_ERR_ARGUMENT;
    const struct qb_kernels *const k = qb_kernels_now();
    const struct qb_weights w = {.kernels = k,
                                 .self = &source,
                                 .format = &p->format,
                                 .rows = p->rows,
                                 .cut = layout->cut,
                                 .row_bytes = layout->bytes / QB_LANES,
                                 .octet_segments = octet_segments(k, layout, &p->format, x->rows, planes),
                                 .octet_columns = planes == 1 ? QB_GEMV_WORDS : 1,
                                 .load = load_piece};
    return qb_multiply(&w, x, planes, out, out_n, out_m);
}

int qb_prepared_matmul(const qb_prepared *p, const qb_floats *x, int planes, float *out, ptrdiff_t out_n,
                       ptrdiff_t out_m)
{
    struct qb_panel_layout layout;
    const int status = qb_prepared_check(&p->format, p->rows, p->cols, &layout);
    return status ? status : qb_prepared_multiply(p, &layout, x, planes, out, out_n, out_m);
}
