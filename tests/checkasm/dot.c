// SPDX-License-Identifier: Apache-2.0
// Family "dot": sums of products of two runs of bytes, segment by segment.
#include "checkasm.h"

#include <stdlib.h>
#include <string.h>

static struct buffer first, second, want, got;

enum { SHORT = 4 * 64 + 1, LONG = 4096, LONG_CASES = 400, KINDS = 6 };

static const size_t segs[] = {1,  2,  3,  4,  7,   8,   15,  16,  17,  31,  32, 33,
                              48, 63, 64, 65, 100, 127, 128, 129, 200, 255, 256};
enum { SEGS = sizeof segs / sizeof *segs };

static void naive_dot(const uint8_t *a, const uint8_t *b, size_t n, size_t seg, int32_t *sums)
{
    memset(sums, 0, (n + seg - 1) / seg * 3 * sizeof *sums);
    for (size_t i = 0; i < n; i++) {
        sums[i / seg * 3] += a[i] * b[i];
        sums[i / seg * 3 + 1] += a[i];
        sums[i / seg * 3 + 2] += b[i];
    }
}

static void fill(uint8_t *x, size_t n, int kind)
{
    ck_fill(x, n);
    for (size_t i = 0; i < n; i++) {
        switch (kind) {
        case 0: case 1: break;
        case 2: x[i] = 255; break;
        case 3: x[i] = i & 1 ? 255 : 0; break;
        case 4: x[i] = 128; break;
        default: x[i] = 0; break;
        }
    }
    if (n && kind == 5) x[ck_below(n)] = 255;
}

static void dot_case(const struct qb_kernels *ref, const struct qb_kernels *test, size_t n,
                     size_t seg, int from_a, int from_b, int to, int kind)
{
    if (ck_skip()) return;
    const size_t bytes = (n + seg - 1) / seg * 3 * sizeof(int32_t);
    ck_case("n=%zu seg=%zu a=%d b=%d out=%d kind=%d", n, seg, from_a, from_b, to, kind);
    uint8_t *const a = ck_place(&first, n, from_a);
    uint8_t *const b = ck_place(&second, n, from_b);
    int32_t *const s = ck_place(&want, bytes, CK_END);
    int32_t *const t = ck_place(&got, bytes, to);
    fill(a, n, kind);
    fill(b, n, kind == 1 ? 2 : kind);
    (ref == test ? naive_dot : ref->dot)(a, b, n, seg, s);
    test->dot(a, b, n, seg, t);
    ck_same("sums", s, t, bytes);
    ck_canaries(&got);
}

static void check_dot(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    for (size_t n = 0; n <= SHORT; n++) {
        for (size_t s = 0; s < SEGS; s++)
            dot_case(ref, test, n, segs[s], CK_END, CK_END, CK_END, (int)ck_below(KINDS));
        for (int at = 0; at < 64; at++)
            dot_case(ref, test, n, 1 + ck_below(QB_BLOCK_MAX), at, (int)ck_below(64), 4 * at,
                     (int)ck_below(KINDS));
    }
    for (int i = 0; i < LONG_CASES; i++)
        dot_case(ref, test, ck_below(LONG), segs[(size_t)i % SEGS], CK_END, i % 64, CK_END,
                 i % KINDS);
}

// Every product of two bytes.
static void check_products(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    (void)ref;
    for (int x = 0; x < 256; x++) {
        if (ck_skip()) continue;
        ck_case("a=%d", x);
        uint8_t *const a = ck_place(&first, 256, CK_END);
        uint8_t *const b = ck_place(&second, 256, CK_END);
        int32_t *const s = ck_place(&want, 3 * 256 * sizeof *s, CK_END);
        int32_t *const t = ck_place(&got, 3 * 256 * sizeof *t, CK_END);
        for (int y = 0; y < 256; y++) {
            a[y] = (uint8_t)x;
            b[y] = (uint8_t)y;
            s[3 * y] = x * y;
            s[3 * y + 1] = x;
            s[3 * y + 2] = y;
        }
        test->dot(a, b, 256, 1, t);
        ck_same("sums", s, t, 3 * 256 * sizeof *s);
    }
}

static void check(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    if (ck_kernel("dot")) check_dot(ref, test);
    if (ck_kernel("dot_products")) check_products(ref, test);
}

// ---- benchmarks ---------------------------------------------------------------------------------

struct job {
    const struct qb_kernels *k;
    size_t n, seg;
    uint8_t *a, *b;
    int32_t *sums;
};

static void run_dot(void *context)
{
    const struct job *const j = (const struct job *)context;
    j->k->dot(j->a, j->b, j->n, j->seg, j->sums);
}

static void bench(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    enum { N = 4096 };
    uint8_t *const codes = (uint8_t *)malloc(2 * N);
    int32_t *const sums = (int32_t *)malloc(3 * N * sizeof *sums);
    ck_fill(codes, 2 * N);
    for (size_t seg = 16; seg <= QB_BLOCK_MAX; seg *= 2) {
        if (!ck_kernel("dot")) break;
        struct job mine = {test, N, seg, codes, codes + N, sums}, base = mine;
        base.k = ref;
        const struct ck_run runs[] = {{"it", run_dot, &mine}, {"scalar", run_dot, &base}};
        ck_case("seg=%zu", seg);
        ck_bench(2 * N, runs, 2);
    }
    free(codes);
    free(sums);
}

const struct suite suite_dot = {"dot", QB_FAMILY_dot, check, bench};
