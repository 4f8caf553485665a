// SPDX-License-Identifier: Apache-2.0
#include "activations.h"

#include "../base/threads.h"
#include "floats.h"

#include <stdlib.h>
#include <string.h>

enum {
    DIGIT_BYTES = 256 * 1024, // of a stretch, at most
    NEAR_ELEMENTS = 256       // that are split one column after the other
};

int qb_stretch_new(struct qb_stretch *s, const struct qb_kernels *kernels, const qb_floats *x,
                   const struct qb_cut *cut, int factor, int bits, int planes, size_t cols, size_t tile)
{
    const size_t words = cols * (size_t)planes;
    const size_t wide_words = bits < kernels->wide_bits[planes] ? 0 : cols * qb_wide_words(planes);
    // A segment takes at least a unit, and where groups are whole units each holds four elements.
    const size_t all = cut->group % 4 ? cut->cols : qb_ceil_div(cut->cols, 4);
    // Stretches are whole blocks of every block type.
    const size_t limit = qb_min(all, DIGIT_BYTES / (4 * words) / QB_BLOCK_MAX * QB_BLOCK_MAX);
    const size_t arrays = limit * (2 * words + 2 * wide_words + 2 * cols) + (limit + 1) + (limit + 2);
    int32_t *const room = malloc(arrays * 4);
    if (!room) return 0;
    s->kernels = kernels;
    s->x = x;
    s->cut = *cut;
    s->planes = planes;
    s->factor = factor;
    s->limit = limit;
    s->tile = tile;
    s->digits = (int8_t *)room;
    s->wide = wide_words ? (int16_t *)(room + limit * words) : NULL;
    s->sums = room + limit * (words + 2 * wide_words);
    s->dx = (float *)(s->sums + limit * words);
    s->dxsum = s->dx + limit * cols;
    s->units = (uint32_t *)(s->dxsum + limit * cols);
    s->start = s->units + limit + 1; // the block that goes beyond the limit is seen before it is put back
    return 1;
}

void qb_stretch_free(struct qb_stretch *s) { free(s->digits); }

// The tile of column c: its first column and how many there are.
struct columns {
    size_t first, count;
};

static struct columns tile_of(const struct qb_stretch *w, size_t c)
{
    const size_t first = c / w->tile * w->tile;
    return (struct columns){first, qb_min(w->tile, w->cols - first)};
}

struct qb_activations qb_stretch_tile(const struct qb_stretch *x, size_t c, size_t s, size_t unit)
{
    const struct columns tile = tile_of(x, c);
    const size_t planes = (size_t)x->planes, words = qb_wide_words(x->planes);
    // All tiles before this one are whole, and as long as a stretch can be.
    const size_t units = x->limit * tile.first + unit * tile.count, segments = x->limit * tile.first + s * tile.count;
    return (struct qb_activations){.cols = tile.count,
                                   .planes = x->planes,
                                   .digits = x->digits + units * planes * 4,
                                   .sums = x->sums + segments * planes,
                                   .dx = x->dx + segments,
                                   .dxsum = x->dxsum + segments,
                                   .wide = x->wide ? x->wide + units * words * 4 : NULL};
}

// The digits of column c in 16 bits, n elements from `unit` on.
static void place_wide(const struct qb_stretch *w, size_t c, size_t unit, const int8_t *digits, size_t n)
{
    const struct columns tile = tile_of(w, c);
    const size_t words = qb_wide_words(w->planes), step = tile.count * words * 2, top = (size_t)w->planes - 1;
    for (size_t word = 0; word < words; word++) {
        int16_t all[QB_BLOCK_MAX + 3];
        int16_t *to = w->wide + (w->limit * tile.first + unit * tile.count) * words * 4;
        // The last word has the two highest digits, or the one there is.
        const int8_t *const low = digits + (word ? top - 1 : 0) * QB_BLOCK_MAX;
        const int8_t *const high = digits + top * QB_BLOCK_MAX;
        const int both = word || top == 1;
        to += ((c - tile.first) * words + word) * 2;
        for (size_t i = 0; i < n; i++) all[i] = (int16_t)(both ? 256 * high[i] + low[i] : low[i]);
        for (size_t i = n; i < n + 3; i++) all[i] = 0;
        for (size_t i = 0; i < qb_ceil_div(n, 4) * 2; i++, to += step) memcpy(to, all + 2 * i, 4);
    }
}

// Lays the digits of column c's part of segment s, n elements from digits on, into the stretch. sums: those of the
// planes, or NULL.
static void place_segment(struct qb_stretch *w, size_t c, size_t s, size_t unit, const int8_t *digits, size_t n,
                          float dx, const int32_t *sums)
{
    const struct columns tile = tile_of(w, c);
    const size_t planes = (size_t)w->planes, step = tile.count * planes * 4, within = c - tile.first;
    const size_t at = w->limit * tile.first + s * tile.count + within;
    int8_t *const start = w->digits + (w->limit * tile.first + unit * tile.count + within) * planes * 4;
    int32_t total = 0;
    if (w->wide) place_wide(w, c, unit, digits, n);
    for (size_t p = planes; p-- > 0;) {
        const int8_t *const from = digits + p * QB_BLOCK_MAX;
        int8_t *const to = start + p * 4;
        int32_t sum = sums ? sums[p] : 0;
        for (size_t i = 0; !sums && i < n; i++) sum += from[i];
        if (step == 4) memcpy(to, from, n / 4 * 4);
        else
            for (size_t i = 0; i < n / 4; i++) memcpy(to + i * step, from + 4 * i, 4);
        if (n % 4) {
            memset(to + n / 4 * step, 0, 4);
            memcpy(to + n / 4 * step, from + n / 4 * 4, n % 4);
        }
        w->sums[at * planes + p] = w->factor * sum;
        total = total * 256 + sum;
    }
    w->dx[at] = dx;
    w->dxsum[at] = dx * (float)total;
}

// Splits the block [k, end) of column c; its first segment is number s and starts at `unit`.
static void split_block(struct qb_stretch *w, size_t c, size_t k, size_t end, size_t s, size_t unit)
{
    const size_t n = end - k;
    float tile[QB_BLOCK_MAX];
    int8_t digits[3 * QB_BLOCK_MAX];
    const float *const x = qb_load_floats(w->kernels, w->x, w->column + c, k, n, tile);
    float dx;
    int32_t sums[3] = {0, 0, 0};
    if (w->kernels->split(x, n, w->planes, QB_BLOCK_MAX, digits, &dx, sums)) {
        qb_atomic_store(&w->bad[c], 1);
        dx = 0;
        memset(digits, 0, sizeof digits);
    }
    for (size_t from = k, to; from < end; from = to, unit += w->units[s++]) {
        to = w->first + w->start[s + 1];
        place_segment(w, c, s, unit, digits + (from - k), to - from, dx, to - from == n ? sums : NULL);
    }
}

// Where a block starts: its first element, segment and unit.
struct block_start {
    size_t k, segment, unit;
};

static struct block_start next_block(const struct qb_stretch *w, struct block_start at)
{
    at.k = qb_block_end(&w->cut, at.k);
    for (; at.segment < w->segments && w->first + w->start[at.segment] < at.k; at.segment++)
        at.unit += w->units[at.segment];
    return at;
}

// A stretch being split: its blocks are dealt to the threads in runs.
struct splitting {
    struct qb_stretch *stretch;
    size_t blocks;
};

static void split_part(void *context, size_t part, size_t parts)
{
    const struct splitting *const job = context;
    struct qb_stretch *const w = job->stretch;
    const size_t from = qb_part_start(job->blocks, 1, part, parts), to = qb_part_start(job->blocks, 1, part + 1, parts);
    struct block_start at = {w->first, 0, 0}, next = at;
    for (size_t block = 0; block < from; block++) at = next_block(w, at);
    // A column's blocks one after another as far as their digits, strewn among those of all columns, stay near.
    for (size_t run = 0, block = from; block < to; block += run, at = next) {
        for (size_t c = 0; c < w->cols; c++) {
            next = at;
            for (run = 0; block + run < to && next.k - at.k < NEAR_ELEMENTS; run++) {
                const struct block_start this = next;
                next = next_block(w, this);
                split_block(w, c, this.k, next.k, this.segment, this.unit);
            }
        }
    }
}

void qb_stretch_chunk(struct qb_stretch *s, size_t column, size_t cols)
{
    s->column = column;
    s->cols = cols;
    s->first = s->end = s->segments = s->first_unit = 0;
    for (size_t c = 0; c < cols; c++) qb_atomic_store(&s->bad[c], 0);
}

size_t qb_stretch_plan(struct qb_stretch *s)
{
    size_t unit = 0, n = 0, blocks = 0, k = s->end;
    for (size_t i = 0; i < s->segments; i++) s->first_unit += s->units[i];
    s->first = k;
    s->start[0] = 0;
    while (k < s->cut.cols) {
        const size_t end = qb_block_end(&s->cut, k), first = n;
        size_t units = 0;
        for (size_t from = k, to; from < end && unit + units <= s->limit; from = to) {
            to = qb_segment_end(&s->cut, from);
            s->units[n] = (uint32_t)qb_ceil_div(to - from, 4);
            units += s->units[n++];
            s->start[n] = (uint32_t)(to - s->first);
        }
        if (unit + units > s->limit) {
            n = first;
            break;
        }
        unit += units;
        k = end;
        blocks++;
    }
    s->segments = n;
    s->end = k;
    return blocks;
}

void qb_stretch_next(struct qb_stretch *s)
{
    const size_t blocks = qb_stretch_plan(s);
    struct splitting job = {s, blocks};
    qb_parallel(qb_parts((s->end - s->first) * s->cols * sizeof(float), blocks), split_part, &job);
}
