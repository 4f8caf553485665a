// SPDX-License-Identifier: Apache-2.0
// Family "operands": splitting activations, laying rows side by side. The scalar kernels are held against
// the definition written element by element, the others against scalar.
#include "checkasm.h"
#include "floats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct buffer in, want, got;

static int any_offset(int unit) { return ck_below(4) ? (int)ck_below(64) * unit : CK_END; }

// ---- split --------------------------------------------------------------------------------------

static const int tops[4] = {0, 0x7F, 0x7F7F, 0x7F7F7F};

static int naive_split(const float *x, size_t n, int planes, size_t stride, int8_t *out, float *dx,
                       int32_t *sums)
{
    float amax = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) return 1;
        amax = fmaxf(amax, fabsf(x[i]));
    }
    *dx = amax < 0x1p-100f ? 0 : amax / (float)tops[planes];
    memset(sums, 0, (size_t)planes * sizeof *sums);
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
            sums[p] += (int32_t)digit;
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
    int32_t sums_a[3] = {5, 5, 5}, sums_b[3] = {5, 5, 5};
    const int refused =
        (ref == test ? naive_split : ref->split)(x, n, planes, stride, a, &dx_a, sums_a) != 0;
    ck_same_u64("refused", (uint64_t)refused, test->split(x, n, planes, stride, b, &dx_b, sums_b) != 0);
    ck_same("dx", &dx_a, &dx_b, sizeof dx_a);
    ck_same("sums", sums_a, sums_b, sizeof sums_a);
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
            int32_t sums[3];
            fill_floats(x, n, FLOATS_NORMAL);
            ck_same_u64("refused", 0, test->split(x, n, 3, n, digits, &dx, sums) != 0);
            x[at] = not_finite(ck_below(6));
            ck_same_u64("refused", 1, test->split(x, n, 3, n, digits, &dx, sums) != 0);
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

static void check(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    if (ck_kernel("split")) check_split(ref, test);
    if (ck_kernel("split_refusal")) check_refusal(ref, test);
    if (ck_kernel("interleave")) check_interleave(ref, test);
}

// ---- benchmarks ---------------------------------------------------------------------------------

struct job {
    const struct qb_kernels *k;
    int planes;
    float *floats;
    uint8_t *rows, *lines;
    size_t n;
};

static void run_split(void *context)
{
    const struct job *const j = (const struct job *)context;
    float dx;
    int32_t sums[3];
    ck_use((uint64_t)j->k->split(j->floats, j->n, j->planes, QB_BLOCK_MAX, (int8_t *)j->lines, &dx, sums));
}

static void run_interleave(void *context)
{
    const struct job *const j = (const struct job *)context;
    j->k->interleave(j->rows, j->n + 64, j->n, j->lines);
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

static void bench(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    enum { N = 512 };
    struct job job = {.k = test, .n = N, .planes = 1};
    job.floats = place_floats(&want, 64 * QB_LANES, 0);
    job.rows = ck_place(&in, (N + 64) * QB_LANES, 0);
    job.lines = ck_place(&got, N * QB_LANES, 0);
    if (ck_kernel("interleave")) {
        ck_case("n=%d", N);
        bench_both(ref, &job, run_interleave, N * QB_LANES);
    }
    for (job.planes = 1; job.planes <= 3; job.planes++) {
        if (!ck_kernel("split")) break;
        job.n = 32;
        fill_floats(job.floats, job.n, FLOATS_NORMAL);
        ck_case("n=32 planes=%d", job.planes);
        bench_both(ref, &job, run_split, job.n * sizeof(float));
    }
}

const struct suite suite_operands = {"operands", QB_FAMILY_operands, check, bench};
