// SPDX-License-Identifier: Apache-2.0
// Family "matmul", the products, and family "gemv", the same from code planes. The scalar kernels are held
// against the definition written element by element, the others against scalar.
#include "checkasm.h"
#include "floats.h"
#include "planes.h"

#include <math.h>
#include <string.h>

static struct buffer want, got;

static int any_offset(int unit) { return ck_below(4) ? (int)ck_below(64) * unit : CK_END; }

// One call's arguments, each in memory of its own.
static struct buffer units_memory, lines_memory, planes_memory, table_memory, d_memory, m_memory, z_memory;
static struct buffer halves_memory;
static struct buffer digits_memory, wide_memory, sums_memory, dx_memory, dxsum_memory;
enum { MAX_SEGMENTS = 6 };

enum extremes { ANY, ALL_LEAST, ALL_MOST, MIXED, EXTREMES };

static int any_zero(enum extremes kind) { return kind == ANY ? (int)ck_below(256) : ck_below(2) ? 255 : 0; }

static void fill_weights(struct qb_panel *w, size_t units, enum extremes kind, enum floats scales)
{
    const size_t lanes = w->segments * QB_LANES;
    uint8_t *const lines = ck_place(&lines_memory, units * 4 * QB_LANES, any_offset(1));
    const uint8_t top = (uint8_t)((1 << w->bits) - 1);
    ck_fill(lines, lines_memory.bytes);
    for (size_t i = 0; i < lines_memory.bytes; i++) {
        if (kind == ANY) lines[i] &= top;
        else lines[i] = kind == ALL_LEAST || (kind == MIXED && lines[i] & 1) ? 0 : top;
    }
    float *const d = place_floats(&d_memory, lanes, any_offset(1));
    float *const m = place_floats(&m_memory, lanes, any_offset(1));
    int32_t *const z = ck_place(&z_memory, lanes * sizeof *z, any_offset(4));
    fill_floats(d, lanes, scales);
    fill_floats(m, lanes, scales);
    for (size_t i = 0; i < lanes; i++) z[i] = any_zero(kind);
    w->lines = w->ahead = lines;
    w->ahead_bytes = ck_below(1000);
    w->d = d;
    w->m = ck_below(2) ? m : NULL;
    w->z = ck_below(2) ? z : NULL;
    w->zero = ck_below(4) ? any_zero(kind) : 0;
}

static void widen_digits(struct qb_activations *x, size_t units)
{
    const size_t planes = (size_t)x->planes, words = planes == 3 ? 2 : 1;
    int16_t *const wide = ck_place(&wide_memory, units * x->cols * words * 8, any_offset(2));
    for (size_t i = 0; i < units * x->cols * words * 4; i++) {
        const size_t k = i % 2 + i / (2 * words * x->cols) % 2 * 2, word = i / 2 % words;
        const size_t c = i / (2 * words) % x->cols, u = i / (4 * words * x->cols);
        const int8_t *const digits = x->digits + (u * x->cols + c) * planes * 4 + k;
        const int high = digits[4 * (planes - 1)], low = digits[4 * (word ? planes - 2 : 0)];
        wide[i] = (int16_t)(word || planes == 2 ? 256 * high + low : low);
    }
    x->wide = wide;
}

static void fill_activations(struct qb_activations *x, const struct qb_panel *w, size_t units,
                             enum extremes kind, enum floats scales)
{
    const size_t words = x->cols * (size_t)x->planes;
    int8_t *const digits = ck_place(&digits_memory, units * words * 4, any_offset(1));
    int32_t *const sums = ck_place(&sums_memory, w->segments * words * sizeof *sums, any_offset(4));
    float *const dx = place_floats(&dx_memory, w->segments * x->cols, any_offset(1));
    float *const dxsum = place_floats(&dxsum_memory, w->segments * x->cols, any_offset(1));
    ck_fill(digits, digits_memory.bytes);
    for (size_t i = 0; i < digits_memory.bytes && kind != ANY; i++)
        digits[i] = kind == ALL_LEAST || (kind == MIXED && digits[i] & 1) ? -128 : 127;
    // Of several planes the digits of 256 never are -128: 16 bits could not hold them and the next.
    for (size_t i = 0; i < digits_memory.bytes; i++)
        if (i / 4 % (size_t)x->planes && digits[i] == -128) digits[i] = -127;
    memset(sums, 0, sums_memory.bytes);
    for (size_t s = 0, unit = 0; s < w->segments; unit += w->units[s++])
        for (size_t i = 0; i < w->units[s] * words * 4; i++)
            sums[s * words + i / 4 % words] += digits[unit * words * 4 + i] * (w->z ? 1 : -w->zero);
    fill_floats(dx, w->segments * x->cols, scales);
    fill_floats(dxsum, w->segments * x->cols, scales);
    x->digits = digits;
    x->sums = sums;
    x->dx = dx;
    x->dxsum = dxsum;
}

// t from the sums of (code - z) * digit of each plane, in 64 bits.
static float joined(const int64_t *a, int planes)
{
    if (planes == 1) return (float)a[0];
    if (planes == 2) return (float)(256 * a[1] + a[0]);
    return fmaf(256.0f, (float)(256 * a[2] + a[1]), (float)a[0]);
}

static void naive_panel(const struct qb_panel *w, const struct qb_activations *x, float *acc)
{
    const size_t planes = (size_t)x->planes;
    for (size_t s = 0, unit = 0; s < w->segments; unit += w->units[s++]) {
        for (size_t i = 0; i < x->cols * QB_LANES; i++) {
            const size_t c = i / QB_LANES, r = i % QB_LANES, lane = s * QB_LANES + r;
            int64_t a[3] = {0, 0, 0};
            for (size_t k = 0; k < 4 * w->units[s] * planes; k++) {
                const size_t u = unit + k / planes / 4, p = k % planes, j = k / planes % 4;
                const int z = w->z ? w->z[lane] : w->zero, code = w->lines[(u * QB_LANES + r) * 4 + j] - z;
                a[p] += code * x->digits[((u * x->cols + c) * planes + p) * 4 + j];
            }
            acc[i] = fmaf(w->d[lane] * x->dx[s * x->cols + c], joined(a, x->planes), acc[i]);
            if (w->m) acc[i] = fmaf(w->m[lane], x->dxsum[s * x->cols + c], acc[i]);
        }
    }
}

// What one case is made of.
struct shape {
    int bits, planes;
    size_t cols, segments;
    size_t units; // of a segment, at most (kind ANY) or exactly
    size_t step;  // they are multiples of this
    enum extremes kind;
};

// own_zeros: z may differ.
static void fill(const struct shape *c, int own_zeros, struct qb_panel *w, struct qb_activations *x)
{
    const enum floats scales = ck_below(4) ? FLOATS_NORMAL : FLOATS_EXTREME;
    uint32_t *const unit_counts = ck_place(&units_memory, c->segments * sizeof *unit_counts, CK_END);
    size_t units = 0;
    for (size_t s = 0; s < c->segments; s++) {
        const size_t most = c->units / c->step;
        unit_counts[s] = (uint32_t)(c->step * (c->kind == ANY ? 1 + ck_below(most) : most));
        units += unit_counts[s];
    }
    ck_case("bits=%d planes=%d cols=%zu segments=%zu units=%zu kind=%d scales=%d", c->bits, c->planes, c->cols,
            c->segments, units, (int)c->kind, (int)scales);
    *w = (struct qb_panel){.bits = c->bits, .segments = c->segments, .units = unit_counts};
    *x = (struct qb_activations){.cols = c->cols, .planes = c->planes};
    fill_weights(w, units, c->kind, scales);
    if (!own_zeros) w->z = NULL;
    fill_activations(x, w, units, ck_below(2) ? c->kind : (enum extremes)ck_below(EXTREMES), scales);
}

static void panel_case(const struct qb_kernels *ref, const struct qb_kernels *test, const struct shape *c)
{
    if (ck_skip()) return;
    struct qb_panel w;
    struct qb_activations x;
    fill(c, 1, &w, &x);
    float *const a = place_floats(&want, c->cols * QB_LANES, CK_END);
    float *const b = place_floats(&got, c->cols * QB_LANES, any_offset(1));
    fill_floats(a, c->cols * QB_LANES, FLOATS_NORMAL);
    memcpy(b, a, want.bytes);
    (ref == test ? naive_panel : ref->panel)(&w, &x, a);
    if (x.cols && w.bits >= test->wide_bits[x.planes])
        widen_digits(&x, digits_memory.bytes / (4 * x.cols * (size_t)x.planes));
    test->panel(&w, &x, b);
    same_floats("sums", a, b, c->cols * QB_LANES);
    ck_canaries(&got);
}

// Parameters that binary16 holds, and those, in place of floats; the minima follow the scales of a segment.
static void narrow_params(const struct qb_kernels *ref, struct qb_panel *w)
{
    const size_t step = 2 * QB_LANES + ck_below(3) * 16, count = w->segments * QB_LANES;
    uint8_t *const halves = ck_place(&halves_memory, w->segments * 2 * step, any_offset(2));
    uint16_t half[QB_LANES];
    ck_fill(halves, halves_memory.bytes);
    for (size_t at = 0; at < count; at += QB_LANES) {
        uint8_t *const to = halves + at / QB_LANES * 2 * step;
        for (int i = 0; i < QB_LANES; i++) memcpy(half + i, to + 2 * i, 2); // any bits
        ref->widen_f16(half, QB_LANES, (float *)d_memory.at + at);
        for (int i = 0; i < QB_LANES; i++) memcpy(half + i, to + step + 2 * i, 2);
        if (w->m) ref->widen_f16(half, QB_LANES, (float *)m_memory.at + at);
    }
    w->half_d = halves;
    w->half_m = w->m ? halves + step : NULL;
    w->half_step = 2 * step;
}

// What the codes of a gemv case are stored as.
enum stored { AS_CODES, AS_INDICES, DOUBLED };

// The same sums from code planes: of codes, of indices in a table of 16 of any value, or of bits that count twice.
static void gemv_case(const struct qb_kernels *ref, const struct qb_kernels *test, const struct shape *c,
                      enum stored stored)
{
    if (ck_skip()) return;
    struct qb_panel w;
    struct qb_activations x;
    const int with_table = stored == AS_INDICES, in_halves = (int)ck_below(2);
    fill(c, !with_table, &w, &x);
    const int bits = with_table ? 4 : c->bits;
    const size_t octets = lines_memory.bytes / (8 * 4 * QB_LANES), bytes = lines_memory.bytes;
    uint8_t *const planes = ck_place(&planes_memory, octets * (size_t)bits * 4 * QB_LANES, any_offset(1));
    uint8_t *const lines = lines_memory.at;
    uint8_t *const table = ck_place(&table_memory, 16, any_offset(1));
    for (size_t i = 0; i < 16; i++) {
        int code = i < bytes ? lines[i] : 0; // below 2^bits, as extreme as they are
        if (c->bits == QB_MAX_BITS && code > w.zero + 127) code = w.zero + 127;
        if (c->bits == QB_MAX_BITS && code < w.zero - 127) code = w.zero - 127;
        table[i] = (uint8_t)code;
    }
    for (size_t i = 0; with_table && i < bytes; i++) lines[i] &= 15;
    planes_of_lines(lines, octets, bits, planes);
    for (size_t i = 0; with_table && i < bytes; i++) lines[i] = table[lines[i]];
    for (size_t i = 0; stored == DOUBLED && i < bytes; i++) lines[i] = (uint8_t)(2 * lines[i]);
    if (in_halves) narrow_params(ref, &w);
    float *const a = place_floats(&want, c->cols * QB_LANES, CK_END);
    float *const b = place_floats(&got, c->cols * QB_LANES, any_offset(1));
    fill_floats(a, c->cols * QB_LANES, FLOATS_NORMAL);
    memcpy(b, a, want.bytes);
    naive_panel(&w, &x, a);
    w.lines = planes;
    w.table = with_table ? table : NULL;
    w.doubled = stored == DOUBLED;
    if (in_halves) w.d = w.m = NULL;
    test->gemv(&w, &x, b);
    same_floats("sums", a, b, c->cols * QB_LANES);
    ck_canaries(&got);
}

enum { MAX_UNITS = QB_BLOCK_MAX / 4 };

static void check_panel(const struct qb_kernels *ref, const struct qb_kernels *test, int bits)
{
    for (int planes = 1; planes <= 3; planes++) {
        for (size_t cols = 0; cols <= 20; cols++) {
            for (int kind = 0; kind < EXTREMES; kind++) {
                const size_t some = ck_below(MAX_SEGMENTS), units = 1 + ck_below(20), few = 1 + ck_below(2);
                panel_case(ref, test, &(struct shape){bits, planes, cols, some, units, 1, (enum extremes)kind});
                panel_case(ref, test, &(struct shape){bits, planes, cols, few, MAX_UNITS, 1, (enum extremes)kind});
            }
        }
        for (size_t units = 1; units <= MAX_UNITS; units++)
            for (int kind = 0; kind < EXTREMES; kind++)
                panel_case(ref, test, &(struct shape){bits, planes, 1 + ck_below(7), 1, units, 1, (enum extremes)kind});
        for (size_t cols = 21; cols <= 100; cols += 1 + ck_below(20)) {
            const size_t some = ck_below(MAX_SEGMENTS);
            panel_case(ref, test, &(struct shape){bits, planes, cols, some, 1 + ck_below(20), 1, ANY});
        }
        for (int i = 0; i < 20; i++) {
            const size_t cols = 1 + ck_below(3), many = 40 + ck_below(200);
            panel_case(ref, test, &(struct shape){bits, planes, cols, many, 1 + ck_below(8), 1, ANY});
        }
    }
}

static void check_gemv(const struct qb_kernels *ref, const struct qb_kernels *test, int bits, enum stored stored)
{
    for (int planes = 1; planes <= 3; planes++) {
        for (size_t cols = 0; cols * (size_t)planes <= QB_GEMV_WORDS; cols++) {
            struct shape c = {bits, planes, cols, 0, 0, 8, ANY};
            if (cols > 1 && planes > 1) continue;
            for (int kind = 0; kind < EXTREMES; kind++) {
                c.kind = (enum extremes)kind;
                c.step = 8;
                for (c.segments = 0; c.segments < MAX_SEGMENTS; c.segments++)
                    for (c.units = 8; c.units <= MAX_UNITS; c.units += 8) gemv_case(ref, test, &c, stored);
                c.step = c.units = 4; // half octets
                for (c.segments = 0; c.segments < 4 * MAX_SEGMENTS; c.segments += 2) gemv_case(ref, test, &c, stored);
            }
            c = (struct shape){bits, planes, cols, 0, 16, 8, ANY};
            for (int i = 0; i < 10; i++) {
                c.segments = ck_below(100);
                gemv_case(ref, test, &c, stored);
            }
        }
    }
}

static void check_panels(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    for (int bits = 1; bits <= QB_MAX_BITS; bits++)
        if (ck_kernel("panel_u%d", bits)) check_panel(ref, test, bits);
}

static void check_gemvs(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    for (int bits = 1; bits <= QB_MAX_BITS; bits++)
        if (ck_kernel("gemv_u%d", bits)) check_gemv(ref, test, bits, AS_CODES);
    if (ck_kernel("gemv_table_5")) check_gemv(ref, test, 5, AS_INDICES);
    if (ck_kernel("gemv_table_8")) check_gemv(ref, test, 8, AS_INDICES);
    if (ck_kernel("gemv_doubled")) check_gemv(ref, test, 1, DOUBLED);
}

// ---- benchmarks ---------------------------------------------------------------------------------

struct job {
    qb_panel_fn *run;
    struct qb_panel w;
    struct qb_activations x;
    float *sums;
};

static void run_job(void *context)
{
    const struct job *const j = context;
    j->run(&j->w, &j->x, j->sums);
}

// A panel of 512 codes a row in groups of 32; "bytes" are codes times columns.
static void bench_product(qb_panel_fn *ref, qb_panel_fn *test, int bits, int planes, size_t cols)
{
    enum { SEGMENTS = 16, UNITS = 8 };
    uint32_t *const units = ck_place(&units_memory, SEGMENTS * sizeof *units, 0);
    for (size_t s = 0; s < SEGMENTS; s++) units[s] = UNITS;
    struct job mine = {.run = test,
                       .w = {.bits = bits, .segments = SEGMENTS, .units = units},
                       .x = {.cols = cols, .planes = planes},
                       .sums = place_floats(&want, 64 * QB_LANES, 0)};
    fill_weights(&mine.w, SEGMENTS * UNITS, ANY, FLOATS_NORMAL);
    mine.w.m = NULL;
    fill_activations(&mine.x, &mine.w, SEGMENTS * UNITS, ANY, FLOATS_NORMAL);
    struct job base = mine;
    base.run = ref;
    ck_case("planes=%d cols=%zu", planes, cols);
    const struct ck_run runs[] = {{"it", run_job, &mine}, {"scalar", run_job, &base}};
    ck_bench((size_t)SEGMENTS * UNITS * 4 * QB_LANES * cols, runs, 2);
}

static void bench_panels(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    static const size_t cols[] = {1, 4, 32, 64};
    for (int bits = 2; bits <= QB_MAX_BITS; bits += 2)
        for (int planes = 1; planes <= 3 && ck_kernel("panel_u%d", bits); planes++)
            for (size_t i = 0; i < 4; i++) bench_product(ref->panel, test->panel, bits, planes, cols[i]);
}

// Any bytes are code planes.
static void bench_gemvs(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    for (int bits = 1; bits <= QB_MAX_BITS; bits++)
        for (int planes = 1; planes <= 3 && ck_kernel("gemv_u%d", bits); planes++)
            bench_product(ref->gemv, test->gemv, bits, planes, 1);
}

const struct suite suite_matmul = {"matmul", QB_FAMILY_matmul, check_panels, bench_panels};
const struct suite suite_gemv = {"gemv", QB_FAMILY_gemv, check_gemvs, bench_gemvs};
