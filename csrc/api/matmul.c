// SPDX-License-Identifier: Apache-2.0
// qb_matmul: rows of a quantized matrix times columns of activations, through one kernel that takes
// 16 rows side by side. Everything is cut so that the workspace has a fixed bound: columns into
// chunks, k into stretches whose split activations stay in the second-level cache (`out` carries the
// sums from one to the next), a stretch into runs of 16 rows, long enough to read each row in one go,
// and a run into pieces whose lines stay in the first-level cache.
#include "../base/checked.h"
#include "../base/dispatch.h"
#include "../base/float16.h"
#include "../base/fpenv.h"
#include "../formats/segments.h"
#include "../formats/stored.h"
#include "floats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    COLUMNS = 64,               // columns multiplied at once, at most
    DIGIT_BYTES = 256 * 1024,   // of split activations
    RUN_UNITS = 1024,           // units of 4 codes in a run, at most
    RUN_SEGMENTS = 256,         // segments in a run, at most
    PIECE_UNITS = 128,          // units in a piece, at most
    SPREAD = 64,                // bytes between rows, so that 16 rows do not share cache sets
};

// 16 rows of one run: row by row, and with their parameters side by side.
struct run {
    uint8_t lines[PIECE_UNITS * QB_LANES * 4]; // the codes of one piece side by side
    float d[RUN_SEGMENTS * QB_LANES], m[RUN_SEGMENTS * QB_LANES];
    int32_t z[RUN_SEGMENTS * QB_LANES];
    uint8_t row_codes[QB_LANES][RUN_UNITS * 4 + SPREAD]; // may start up to 7 codes early
    float row_d[QB_LANES][RUN_SEGMENTS + SPREAD / 4], row_m[QB_LANES][RUN_SEGMENTS + SPREAD / 4];
    int32_t row_z[QB_LANES][RUN_SEGMENTS + SPREAD / 4];
};

struct work {
    const struct qb_kernels *kernels;
    const qb_matrix *q;
    const qb_floats *x;
    struct qb_cut cut;
    int planes;
    size_t limit; // units in a stretch, at most

    // The chunk of columns and the stretch in hand.
    size_t column, cols;
    size_t first, segments;
    uint32_t *units; // of each segment
    uint32_t *start; // of each segment, in elements from `first`; one more is the end
    int8_t *digits;
    int32_t *sums;
    float *dx, *dxsum;
    uint8_t bad[COLUMNS]; // columns with a value that is not finite
    float acc[COLUMNS * QB_LANES];
    struct run run;
};

// ---- activations ----------------------------------------------------------------------------------

// Lays the digits of column c's part of segment s, n elements from digits on, into the stretch.
static void place_segment(struct work *w, size_t c, size_t s, size_t unit, const int8_t *digits, size_t n,
                          float dx)
{
    const size_t planes = (size_t)w->planes, step = w->cols * planes * 4;
    int32_t total = 0;
    for (size_t p = planes; p-- > 0;) {
        const int8_t *const from = digits + p * QB_BLOCK_MAX;
        int8_t *to = w->digits + ((unit * w->cols + c) * planes + p) * 4;
        int32_t sum = 0;
        for (size_t i = 0; i < n; i++) sum += from[i];
        for (size_t i = 0; i + 4 <= n; i += 4, to += step) memcpy(to, from + i, 4);
        if (n % 4) {
            memset(to, 0, 4);
            memcpy(to, from + n / 4 * 4, n % 4);
        }
        w->sums[(s * w->cols + c) * planes + p] = sum;
        total = total * 256 + sum;
    }
    w->dx[s * w->cols + c] = dx;
    w->dxsum[s * w->cols + c] = dx * (float)total;
}

// Splits the block [k, end) of every column; its first segment is number s and starts at `unit`.
static void split_block(struct work *w, size_t k, size_t end, size_t s, size_t unit)
{
    const size_t n = end - k;
    float tile[QB_BLOCK_MAX];
    int8_t digits[3 * QB_BLOCK_MAX];
    for (size_t c = 0; c < w->cols; c++) {
        const float *const x = qb_load_floats(w->kernels, w->x, w->column + c, k, n, tile);
        float dx;
        if (w->kernels->split(x, n, w->planes, QB_BLOCK_MAX, digits, &dx)) {
            w->bad[c] = 1;
            dx = 0;
            memset(digits, 0, sizeof digits);
        }
        size_t at = unit;
        for (size_t from = k, i = s, to; from < end; from = to, at += w->units[i++]) {
            to = k + (w->start[i + 1] - w->start[s]);
            place_segment(w, c, i, at, digits + (from - k), to - from, dx);
        }
    }
}

// Cuts a stretch of whole blocks off the columns from k on, splits its activations, and returns its end.
static size_t split_stretch(struct work *w, size_t k)
{
    size_t unit = 0, s = 0;
    w->first = k;
    w->start[0] = 0;
    while (k < w->cut.cols) {
        const size_t end = qb_block_end(&w->cut, k), block_s = s;
        size_t block_units = 0;
        for (size_t from = k, to; from < end && unit + block_units <= w->limit; from = to) {
            to = qb_segment_end(&w->cut, from);
            w->units[s] = (uint32_t)qb_ceil_div(to - from, 4);
            block_units += w->units[s++];
            w->start[s] = (uint32_t)(to - w->first);
        }
        if (unit + block_units > w->limit) {
            s = block_s;
            break;
        }
        split_block(w, k, end, block_s, unit);
        unit += block_units;
        k = end;
    }
    w->segments = s;
    return k;
}

// ---- 16 rows of weights ---------------------------------------------------------------------------

// Parameters of segments [s, end) of a row.
static void load_row_params(struct work *w, size_t row, size_t lane, size_t s, size_t end)
{
    struct run *const run = &w->run;
    float z[RUN_SEGMENTS];
    float *const zeros = w->q->format.zero == QB_ZERO_POINT ? z : NULL;
    // In a group of several segments, each asks for itself.
    const size_t step = w->cut.group > QB_BLOCK_MAX ? 1 : end - s;
    for (size_t i = 0; i < end - s; i += step) {
        const size_t group = (w->first + w->start[s + i]) / w->cut.group;
        qb_stored_params(w->kernels, w->q, row, group, step, run->row_d[lane] + i, zeros ? zeros + i : NULL,
                         run->row_m[lane] + i);
    }
    if (!zeros) return;
    for (size_t i = 0; i < end - s; i++) run->row_z[lane][i] = (int32_t)z[i];
}

// Loads segments [s, end) of rows [row, row + rows), and lays their parameters side by side. Lanes
// without a row keep what they had: nobody looks at their sums.
static void load_run(struct work *w, size_t row, size_t rows, size_t s, size_t end)
{
    struct run *const run = &w->run;
    const size_t k = w->first + w->start[s], n = w->start[end] - w->start[s], early = k % 8;
    for (size_t lane = 0; lane < rows; lane++) {
        qb_stored_codes(w->kernels, w->q, row + lane, k - early, n + early, run->row_codes[lane]);
        load_row_params(w, row + lane, lane, s, end);
    }
    // A parameter is a unit of four bytes too.
    qb_interleave_fn *const interleave = w->kernels->interleave;
    const size_t stride = sizeof run->row_d[0], bytes = (end - s) * 4;
    interleave((const uint8_t *)run->row_d, stride, bytes, (uint8_t *)run->d);
    if (w->q->format.zero == QB_ZERO_MIN)
        interleave((const uint8_t *)run->row_m, stride, bytes, (uint8_t *)run->m);
    if (w->q->format.zero == QB_ZERO_POINT)
        interleave((const uint8_t *)run->row_z, stride, bytes, (uint8_t *)run->z);
}

// Lays the codes of segments [s, end) of the run that starts with segment `first` side by side.
static void load_lines(struct work *w, size_t first, size_t s, size_t end)
{
    struct run *const run = &w->run;
    const size_t stride = sizeof run->row_codes[0], early = (w->first + w->start[first]) % 8;
    const uint8_t *const codes = run->row_codes[0] + early + (w->start[s] - w->start[first]);
    if (w->cut.group % 4 == 0) {
        w->kernels->interleave(codes, stride, w->start[end] - w->start[s], run->lines);
        return;
    }
    uint8_t *to = run->lines; // every segment starts a unit
    for (size_t i = s; i < end; to += w->units[i++] * QB_LANES * 4)
        w->kernels->interleave(codes + (w->start[i] - w->start[s]), stride, w->start[i + 1] - w->start[i], to);
}

// The end of the longest run of segments from s on, within `end` and `most` units.
static size_t run_end(const struct work *w, size_t s, size_t end, size_t most)
{
    for (size_t units = 0; s < end && (units += w->units[s]) <= most;) s++;
    return s;
}

// Adds a whole stretch to the sums of 16 rows.
static void multiply_rows(struct work *w, size_t row, size_t rows)
{
    const size_t words = w->cols * (size_t)w->planes;
    const int has_min = w->q->format.zero == QB_ZERO_MIN;
    const int8_t *digits = w->digits;
    for (size_t first = 0, last, s = 0; first < w->segments; first = last) {
        last = run_end(w, first, qb_min(first + RUN_SEGMENTS, w->segments), RUN_UNITS);
        load_run(w, row, rows, first, last);
        while (s < last) {
            const size_t end = run_end(w, s, last, PIECE_UNITS), lane = (s - first) * QB_LANES;
            load_lines(w, first, s, end);
            const struct qb_panel panel = {qb_stored_bits(&w->q->format), end - s, w->units + s, w->run.lines,
                                           w->run.d + lane, has_min ? w->run.m + lane : NULL, w->run.z + lane};
            const struct qb_activations x = {w->cols, w->planes, digits, w->sums + s * words,
                                             w->dx + s * w->cols, w->dxsum + s * w->cols};
            w->kernels->panel(&panel, &x, w->acc);
            for (; s < end; s++) digits += w->units[s] * words * 4;
        }
    }
}

// ---- the whole -------------------------------------------------------------------------------------

struct sums_out {
    float *to; // of the chunk's first column
    ptrdiff_t n, m;
};

static void load_sums(struct work *w, const struct sums_out *out, size_t row, size_t rows)
{
    memset(w->acc, 0, w->cols * QB_LANES * sizeof *w->acc);
    if (w->first == 0) return;
    for (size_t c = 0; c < w->cols; c++)
        for (size_t r = 0; r < rows; r++)
            w->acc[c * QB_LANES + r] = out->to[(ptrdiff_t)c * out->n + (ptrdiff_t)(row + r) * out->m];
}

static void store_sums(const struct work *w, const struct sums_out *out, size_t row, size_t rows)
{
    const float nan = qb_bits_float(0x7FC00000u);
    for (size_t c = 0; c < w->cols; c++) {
        float *const to = out->to + (ptrdiff_t)c * out->n + (ptrdiff_t)row * out->m;
        for (size_t r = 0; r < rows; r++) {
            const float sum = w->acc[c * QB_LANES + r];
            to[(ptrdiff_t)r * out->m] = w->bad[c] || isnan(sum) ? nan : sum;
        }
    }
}

// Multiplies columns [column, column + cols).
static void multiply_columns(struct work *w, size_t column, size_t cols, const struct sums_out *out)
{
    w->column = column;
    w->cols = cols;
    memset(w->bad, 0, sizeof w->bad);
    size_t k = 0;
    do {
        k = split_stretch(w, k);
        for (size_t row = 0; row < w->q->rows; row += QB_LANES) {
            const size_t rows = qb_min(w->q->rows - row, QB_LANES);
            load_sums(w, out, row, rows);
            multiply_rows(w, row, rows);
            store_sums(w, out, row, rows);
        }
    } while (k < w->cut.cols);
}

// One allocation: the struct, then the arrays whose lengths depend on the limit. NULL: no memory.
static struct work *new_work(const qb_matrix *q, const qb_floats *x, int planes, size_t cols)
{
    const struct qb_cut cut = {q->cols, qb_matrix_group(q)};
    const size_t words = cols * (size_t)planes;
    // A segment takes at least a unit, and where groups are whole units each holds four elements.
    const size_t all = cut.group % 4 ? cut.cols : qb_ceil_div(cut.cols, 4);
    const size_t limit = qb_min(all, DIGIT_BYTES / (4 * words));
    const size_t arrays = limit * (2 * words + 2 * cols) + (limit + 1) + (limit + 2);
    struct work *const w = malloc(sizeof *w + arrays * 4);
    if (!w) return NULL;
    w->kernels = qb_kernels_now();
    w->q = q;
    w->x = x;
    w->cut = cut;
    w->planes = planes;
    w->limit = limit;
    w->digits = (int8_t *)(w + 1);
    w->sums = (int32_t *)(w + 1) + limit * words;
    w->dx = (float *)(w->sums + limit * words);
    w->dxsum = w->dx + limit * cols;
    w->units = (uint32_t *)(w->dxsum + limit * cols);
    w->start = w->units + limit + 1; // the block that goes beyond the limit is seen before it is put back
    if (q->rows < QB_LANES) memset(&w->run, 0, sizeof w->run);
    if (q->format.zero != QB_ZERO_POINT) {
        const int32_t z = q->format.zero == QB_ZERO_MIN ? 0 : 1 << (q->format.bits - 1);
        for (size_t i = 0; i < RUN_SEGMENTS * QB_LANES; i++) w->run.z[i] = z;
    }
    return w;
}

int qb_matmul(const qb_matrix *q, const qb_floats *x, int planes, float *out, ptrdiff_t out_n,
              ptrdiff_t out_m)
{
    const int status = qb_matrix_check(q);
    if (status) return status;
    if (planes < 1 || planes > 3 || !qb_float_bytes(x->dtype) || x->cols != q->cols) return QB_ERR_ARGUMENT;
    if (x->rows == 0 || q->rows == 0) return QB_OK;

    // Chunks of equal size: a short last one would cost as much unpacking as a full one.
    const size_t chunks = qb_ceil_div(x->rows, COLUMNS), most = qb_ceil_div(x->rows, chunks);
    struct work *const w = new_work(q, x, planes, most);
    if (!w) return QB_ERR_MEMORY;
    const qb_fpenv saved = qb_fpenv_enter();
    for (size_t n = 0; n < x->rows; n += most) {
        const struct sums_out to = {out + (ptrdiff_t)n * out_n, out_n, out_m};
        multiply_columns(w, n, qb_min(x->rows - n, most), &to);
    }
    qb_fpenv_leave(saved);
    free(w);
    return QB_OK;
}
