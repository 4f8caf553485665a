// SPDX-License-Identifier: Apache-2.0
// Family "matmul": splitting activations, laying rows side by side, the panel kernel. The scalar
// kernels are held against the definition written element by element, the others against scalar.
#include "checkasm.h"
#include "floats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct buffer in, want, got;

static int any_offset(int unit) { return ck_below(4) ? (int)ck_below(64) * unit : CK_END; }

// ---- split --------------------------------------------------------------------------------------

static const int tops[4] = {0, 0x7F, 0x7F7F, 0x7F7F7F};

static int naive_split(const float *x, size_t n, int planes, size_t stride, int8_t *out, float *dx)
{
    float amax = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) return 1;
        amax = fmaxf(amax, fabsf(x[i]));
    }
    *dx = amax < 0x1p-100f ? 0 : amax / (float)tops[planes];
    for (size_t i = 0; i < n; i++) {
        const float inverse = 1.0f / *dx;
        long q = *dx == 0 ? 0 : lrintf(x[i] * inverse);
        if (q > tops[planes]) q = tops[planes];
        if (q < -tops[planes]) q = -tops[planes];
        for (int p = 0; p < planes; p++) {
            long digit = q % 256; // towards zero: in (-256, 256)
            if (digit > 127) digit -= 256;
            if (digit < -128) digit += 256;
            out[(size_t)p * stride + i] = (int8_t)digit;
            q = (q - digit) / 256;
        }
    }
    return 0;
}

enum { TIES = FLOATS_KINDS, EDGE, SPLIT_KINDS };

static void fill_block(float *x, size_t n, int planes, int kind)
{
    fill_floats(x, n, kind < FLOATS_KINDS ? (enum floats)kind : FLOATS_NORMAL);
    if (!n) return;
    if (kind == TIES) { // dx = 1: halves of integers
        const int top = tops[planes];
        for (size_t i = 0; i < n; i++)
            x[i] = ((float)ck_below(4 * (size_t)top) - 2.0f * (float)top) / 2.0f;
        x[ck_below(n)] = ck_below(2) ? (float)top : (float)-top;
    }
    if (kind == EDGE) { // about the largest block that counts as zero
        for (size_t i = 0; i < n; i++) x[i] *= 0x1p-120f;
        x[ck_below(n)] = float_of(bits_of(0x1p-100f) - (uint32_t)ck_below(2));
    }
}

static void split_case(const struct qb_kernels *ref, const struct qb_kernels *test, size_t n,
                       int planes, int kind, int from, int to)
{
    if (ck_skip()) return;
    const size_t stride = ck_below(2) ? n : n + ck_below(80);
    const size_t bytes = stride * (size_t)(planes - 1) + n;
    ck_case("n=%zu planes=%d kind=%d stride=%zu in=%d out=%d", n, planes, kind, stride, from, to);
    float *const x = place_floats(&in, n, from);
    int8_t *const a = ck_place(&want, bytes, CK_END);
    int8_t *const b = ck_place(&got, bytes, to);
    fill_block(x, n, planes, kind);
    ck_fill(a, bytes); // what lies between planes, and all of it where a value is not finite, stays
    memcpy(b, a, bytes);
    float dx_a = 5, dx_b = 5;
    const int refused =
        (ref == test ? naive_split : ref->split)(x, n, planes, stride, a, &dx_a) != 0;
    ck_same_u64("refused", (uint64_t)refused, test->split(x, n, planes, stride, b, &dx_b) != 0);
    ck_same("dx", &dx_a, &dx_b, sizeof dx_a);
    ck_same("digits", a, b, bytes);
    ck_canaries(&got);
}

static void check_split(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    for (size_t n = 0; n <= QB_BLOCK_MAX; n++)
        for (int planes = 1; planes <= 3; planes++)
            for (int kind = 0; kind < SPLIT_KINDS; kind++) {
                split_case(ref, test, n, planes, kind, CK_END, CK_END);
                split_case(ref, test, n, planes, kind, any_offset(1), any_offset(1));
            }
}

// Each value that is not finite, at each place.
static void check_refusal(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    (void)ref;
    for (size_t n = 1; n <= 70; n++) {
        for (size_t at = 0; at < n; at++) {
            if (ck_skip()) continue;
            ck_case("n=%zu at=%zu", n, at);
            float *const x = place_floats(&in, n, CK_END), dx;
            int8_t digits[3 * 70];
            fill_floats(x, n, FLOATS_NORMAL);
            ck_same_u64("refused", 0, test->split(x, n, 3, n, digits, &dx) != 0);
            x[at] = not_finite(ck_below(6));
            ck_same_u64("refused", 1, test->split(x, n, 3, n, digits, &dx) != 0);
        }
    }
}

// ---- interleave ---------------------------------------------------------------------------------

static void naive_interleave(const uint8_t *rows, size_t stride, size_t n, uint8_t *lines)
{
    memset(lines, 0, (n + 3) / 4 * 4 * QB_LANES);
    for (size_t r = 0; r < QB_LANES; r++)
        for (size_t i = 0; i < n; i++)
            lines[i / 4 * 4 * QB_LANES + r * 4 + i % 4] = rows[r * stride + i];
}

static void interleave_case(const struct qb_kernels *ref, const struct qb_kernels *test, size_t n,
                            size_t gap, int from, int to)
{
    if (ck_skip()) return;
    const size_t stride = n + gap, bytes = (n + 3) / 4 * 4 * QB_LANES;
    ck_case("n=%zu stride=%zu in=%d out=%d", n, stride, from, to);
    uint8_t *const x = ck_place(&in, n ? (QB_LANES - 1) * stride + n : 0, from);
    uint8_t *const a = ck_place(&want, bytes, CK_END);
    uint8_t *const b = ck_place(&got, bytes, to);
    ck_fill(x, in.bytes);
    (ref == test ? naive_interleave : ref->interleave)(x, stride, n, a);
    test->interleave(x, stride, n, b);
    ck_same("lines", a, b, bytes);
    ck_canaries(&got);
}

static void check_interleave(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    for (size_t n = 0; n <= 4 * 64 + 1; n++) {
        interleave_case(ref, test, n, 0, CK_END, CK_END);
        for (int i = 0; i < 16; i++)
            interleave_case(ref, test, n, ck_below(80), any_offset(1), any_offset(1));
    }
    for (int i = 0; i < 100; i++)
        interleave_case(ref, test, ck_below(8192), ck_below(80), any_offset(1), any_offset(1));
}

// ---- panel --------------------------------------------------------------------------------------

// One call's arguments, each in memory of its own.
static struct buffer units_memory, lines_memory, d_memory, m_memory, z_memory;
static struct buffer digits_memory, sums_memory, dx_memory, dxsum_memory;
enum { MAX_SEGMENTS = 6 };

enum extremes { ANY, ALL_LEAST, ALL_MOST, MIXED, EXTREMES };

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
    for (size_t i = 0; i < lanes; i++)
        z[i] = kind == ANY ? (int32_t)ck_below(256) : ck_below(2) ? 255 : 0;
    w->lines = lines;
    w->d = d;
    w->m = ck_below(2) ? m : NULL;
    w->z = z;
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
    memset(sums, 0, sums_memory.bytes);
    for (size_t s = 0, unit = 0; s < w->segments; unit += w->units[s++])
        for (size_t i = 0; i < w->units[s] * words * 4; i++)
            sums[s * words + i / 4 % words] += digits[unit * words * 4 + i];
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
                const int code = w->lines[(u * QB_LANES + r) * 4 + j] - w->z[lane];
                a[p] += code * x->digits[((u * x->cols + c) * planes + p) * 4 + j];
            }
            acc[i] = fmaf(w->d[lane] * x->dx[s * x->cols + c], joined(a, x->planes), acc[i]);
            if (w->m) acc[i] = fmaf(w->m[lane], x->dxsum[s * x->cols + c], acc[i]);
        }
    }
}

static void panel_case(const struct qb_kernels *ref, const struct qb_kernels *test, int bits,
                       int planes, size_t cols, size_t segments, size_t most_units,
                       enum extremes kind)
{
    if (ck_skip()) return;
    const enum floats scales = ck_below(4) ? FLOATS_NORMAL : FLOATS_EXTREME;
    uint32_t *const unit_counts = ck_place(&units_memory, segments * sizeof *unit_counts, CK_END);
    size_t units = 0;
    for (size_t s = 0; s < segments; s++)
        units += unit_counts[s] = (uint32_t)(kind == ANY ? 1 + ck_below(most_units) : most_units);
    ck_case("bits=%d planes=%d cols=%zu segments=%zu units=%zu kind=%d scales=%d", bits, planes,
            cols, segments, units, (int)kind, (int)scales);
    struct qb_panel w = {.bits = bits, .segments = segments, .units = unit_counts};
    struct qb_activations x = {.cols = cols, .planes = planes};
    fill_weights(&w, units, kind, scales);
    fill_activations(&x, &w, units, ck_below(2) ? kind : (enum extremes)ck_below(EXTREMES), scales);
    float *const a = place_floats(&want, cols * QB_LANES, CK_END);
    float *const b = place_floats(&got, cols * QB_LANES, any_offset(1));
    fill_floats(a, cols * QB_LANES, FLOATS_NORMAL);
    memcpy(b, a, want.bytes);
    (ref == test ? naive_panel : ref->panel)(&w, &x, a);
    test->panel(&w, &x, b);
    same_floats("sums", a, b, cols * QB_LANES);
    ck_canaries(&got);
}

static void check_panel(const struct qb_kernels *ref, const struct qb_kernels *test, int bits)
{
    enum { MAX_UNITS = QB_BLOCK_MAX / 4 };
    for (int planes = 1; planes <= 3; planes++) {
        for (size_t cols = 0; cols <= 20; cols++) {
            for (int kind = 0; kind < EXTREMES; kind++) {
                panel_case(ref, test, bits, planes, cols, ck_below(MAX_SEGMENTS), 1 + ck_below(20),
                           (enum extremes)kind);
                panel_case(ref, test, bits, planes, cols, 1 + ck_below(2), MAX_UNITS,
                           (enum extremes)kind);
            }
        }
        for (size_t units = 1; units <= MAX_UNITS; units++)
            for (int kind = 0; kind < EXTREMES; kind++)
                panel_case(ref, test, bits, planes, 1 + ck_below(7), 1, units, (enum extremes)kind);
        for (size_t cols = 21; cols <= 100; cols += 1 + ck_below(20))
            panel_case(ref, test, bits, planes, cols, ck_below(MAX_SEGMENTS), 1 + ck_below(20),
                       ANY);
        for (int i = 0; i < 20; i++)
            panel_case(ref, test, bits, planes, 1 + ck_below(3), 40 + ck_below(200),
                       1 + ck_below(8), ANY);
    }
}

static void check(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    if (ck_kernel("split")) check_split(ref, test);
    if (ck_kernel("split_refusal")) check_refusal(ref, test);
    if (ck_kernel("interleave")) check_interleave(ref, test);
    for (int bits = 1; bits <= QB_MAX_BITS; bits++)
        if (ck_kernel("panel_u%d", bits)) check_panel(ref, test, bits);
}

// ---- benchmarks ---------------------------------------------------------------------------------

struct job {
    const struct qb_kernels *k;
    struct qb_panel w;
    struct qb_activations x;
    float *floats;
    uint8_t *rows, *lines;
    size_t n;
};

static void run_split(void *context)
{
    const struct job *const j = (const struct job *)context;
    float dx;
    ck_use(
        (uint64_t)j->k->split(j->floats, j->n, j->x.planes, QB_BLOCK_MAX, (int8_t *)j->lines, &dx));
}

static void run_interleave(void *context)
{
    const struct job *const j = (const struct job *)context;
    j->k->interleave(j->rows, j->n + 64, j->n, j->lines);
}

static void run_panel(void *context)
{
    const struct job *const j = (const struct job *)context;
    j->k->panel(&j->w, &j->x, j->floats);
}

static void run_memcpy(void *context)
{
    const struct job *const j = (const struct job *)context;
    memcpy(j->lines, j->rows, j->n * QB_LANES);
}

static void bench_both(const struct qb_kernels *ref, const struct job *job, void (*run)(void *),
                       size_t bytes)
{
    struct job mine = *job, base = *job;
    base.k = ref;
    const struct ck_run runs[] = {{"it", run, &mine},
                                  {"scalar", run, &base},
                                  {"memcpy", run_memcpy, &mine}};
    ck_bench(bytes, runs, run == run_interleave ? 3 : 2);
}

static void bench_panel(const struct qb_kernels *ref, struct job *job, int bits, int planes,
                        size_t cols)
{
    enum { SEGMENTS = 16, UNITS = 8 };
    uint32_t *const units = ck_place(&units_memory, SEGMENTS * sizeof *units, 0);
    for (size_t s = 0; s < SEGMENTS; s++) units[s] = UNITS;
    job->w = (struct qb_panel){.bits = bits, .segments = SEGMENTS, .units = units};
    job->x = (struct qb_activations){.cols = cols, .planes = planes};
    fill_weights(&job->w, SEGMENTS * UNITS, ANY, FLOATS_NORMAL);
    job->w.m = NULL;
    fill_activations(&job->x, &job->w, SEGMENTS * UNITS, ANY, FLOATS_NORMAL);
    ck_case("planes=%d cols=%zu", planes, cols);
    // "Bytes" are codes times columns.
    bench_both(ref, job, run_panel, SEGMENTS * UNITS * 4 * QB_LANES * cols);
}

static void bench(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    enum { N = 512 };
    struct job job = {.k = test, .n = N, .x = {.planes = 1}};
    job.floats = place_floats(&want, 64 * QB_LANES, 0);
    job.rows = ck_place(&in, (N + 64) * QB_LANES, 0);
    job.lines = ck_place(&got, N * QB_LANES, 0);
    if (ck_kernel("interleave")) {
        ck_case("n=%d", N);
        bench_both(ref, &job, run_interleave, N * QB_LANES);
    }
    for (job.x.planes = 1; job.x.planes <= 3; job.x.planes++) {
        if (!ck_kernel("split")) break;
        job.n = 32;
        fill_floats(job.floats, job.n, FLOATS_NORMAL);
        ck_case("n=32 planes=%d", job.x.planes);
        bench_both(ref, &job, run_split, job.n * sizeof(float));
    }
    for (int bits = 2; bits <= QB_MAX_BITS; bits += 2) {
        for (int planes = 1; planes <= 3 && ck_kernel("panel_u%d", bits); planes++) {
            static const size_t cols[] = {1, 4, 32, 64};
            for (size_t i = 0; i < 4; i++) bench_panel(ref, &job, bits, planes, cols[i]);
        }
    }
}

const struct suite suite_matmul = {"matmul", QB_FAMILY_matmul, check, bench};
