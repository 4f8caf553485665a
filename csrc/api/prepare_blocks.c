// SPDX-License-Identifier: Apache-2.0
// Rows of whole blocks are cut into runs that hold whole blocks of every type, and so whole octets.
#include "prepare_blocks.h"

#include "../formats/block_fields.h"

#include <string.h>

enum {
    RUN = 512,     // elements given back at a time
    FOLDED = 2048, // bytes of a row at a time
    SPREAD = 64,   // bytes between rows, so that 16 rows do not share cache sets
};

// `count` whole blocks of a row, from one place to another with so many bytes from each to the next.
static void copy_blocks(const uint8_t *from, size_t from_step, uint8_t *to, size_t to_step, size_t bytes, size_t count)
{
    for (; count--; from += from_step, to += to_step) memcpy(to, from, bytes);
}

// The stored codes of up to 16 rows to planes.
static void prepare_codes(const struct qb_kernels *k, const qb_matrix *q, size_t bits, const uint8_t *blocks,
                          size_t row_bytes, size_t rows, uint8_t *to)
{
    const size_t run = qb_min(FOLDED * 8 / bits / QB_BLOCK_MAX * QB_BLOCK_MAX, QB_FOLD_MOST);
    uint8_t folded[QB_LANES][FOLDED + SPREAD];
    if (rows < QB_LANES) memset(folded, 0, sizeof folded);
    for (size_t col = 0; col < q->cols; col += run) {
        const size_t n = qb_min(q->cols - col, run), bytes = n / 8 * bits;
        for (size_t lane = 0; lane < rows; lane++)
            qb_block_fold(k, &q->format, blocks + lane * row_bytes, col, n, folded[lane]);
        k->interleave(folded[0], sizeof folded[0], bytes, to);
        to += bytes * QB_LANES;
    }
}

void qb_prepare_blocks(const struct qb_kernels *k, const qb_matrix *q, const struct qb_panel_layout *layout, size_t row,
                       uint8_t *panel)
{
    const size_t rows = qb_min(q->rows - row, QB_LANES), row_bytes = qb_block_bytes(&q->format, q->cols);
    const size_t bytes = qb_block_type_of(q->format.block)->bytes, count = row_bytes / bytes;
    const uint8_t *const blocks = q->codes + row * row_bytes;
    // Lanes without a row are zero, and so is what pads the fields.
    const size_t used = rows < QB_LANES ? 0 : count * layout->fields;
    memset(panel + used, 0, layout->codes - used);
    if (layout->bits) {
        prepare_codes(k, q, (size_t)layout->bits, blocks, row_bytes, rows, panel + layout->codes);
        qb_block_take_fields(k, &q->format, blocks, row_bytes, rows, count, panel);
        return;
    }
    for (size_t lane = 0; lane < rows; lane++)
        copy_blocks(blocks + lane * row_bytes, bytes, panel + lane * bytes, layout->fields, bytes, count);
}

// Block `number` of lane `lane`, whose stored codes are in lines.
static void put_block(const qb_format *format, const struct qb_panel_layout *layout, const uint8_t *panel, size_t lane,
                      size_t number, const uint8_t *lines, uint8_t *block)
{
    const qb_block_type *const type = qb_block_type_of(format->block);
    uint8_t codes[QB_BLOCK_MAX];
    for (size_t i = 0; i < type->elements; i += 4) memcpy(codes + i, lines + i * QB_LANES + 4 * lane, 4);
    memset(block, 0, type->bytes);
    qb_block_put_fields(format, panel + number * layout->fields, lane, block);
    qb_block_put_codes(format, codes, block);
}

void qb_unprepare_blocks(const struct qb_kernels *k, const struct qb_panel_layout *layout, const uint8_t *panel,
                         size_t lane, size_t rows, const qb_matrix *out, size_t row)
{
    const qb_block_type *const type = qb_block_type_of(out->format.block);
    const size_t row_bytes = qb_block_bytes(&out->format, out->cols), bytes = type->bytes;
    if (!layout->bits) {
        for (size_t r = 0; r < rows; r++)
            copy_blocks(panel + (lane + r) * bytes, layout->fields, out->codes + (row + r) * row_bytes, bytes, bytes,
                        row_bytes / bytes);
        return;
    }
    const uint8_t *from = panel + layout->codes;
    uint8_t lines[RUN * QB_LANES];
    for (size_t col = 0; col < out->cols; col += RUN) {
        const size_t n = qb_min(out->cols - col, RUN), octets = n / (4 * QB_OCTET);
        k->planes_unpack(from, octets, layout->bits, lines);
        from += octets * (size_t)layout->bits * QB_LINE;
        for (size_t i = 0; i < n / type->elements; i++) {
            const size_t number = col / type->elements + i;
            for (size_t r = 0; r < rows; r++)
                put_block(&out->format, layout, panel, lane + r, number, lines + i * type->elements * QB_LANES,
                          out->codes + (row + r) * row_bytes + number * type->bytes);
        }
    }
}
