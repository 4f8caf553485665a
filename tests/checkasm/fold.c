// SPDX-License-Identifier: Apache-2.0
// Family "fold": the scalar kernels are held against what planes are of 16 rows, the others against scalar.
#include "checkasm.h"
#include "planes.h"

#include <string.h>

static struct buffer input, want, got;

enum { OCTET = 32, MOST = 70, LINE = 4 * QB_LANES };

// The row in all of 16 lanes: any lane of the planes is the folded row.
static void naive_fold(const uint8_t *codes, size_t octets, int bits, uint8_t *out)
{
    uint8_t lines[OCTET * QB_LANES], planes[OCTET * QB_LANES];
    for (; octets--; codes += OCTET) {
        for (size_t i = 0; i < OCTET * QB_LANES; i++) lines[i] = codes[i / LINE * 4 + i % 4];
        planes_of_lines(lines, 1, bits, planes);
        for (int line = 0; line < bits; line++, out += 4) memcpy(out, planes + line * LINE, 4);
    }
}

static void codes_case(const struct qb_kernels *ref, const struct qb_kernels *test, int bits, size_t octets, int from,
                       int to)
{
    if (ck_skip()) return;
    const size_t bytes = octets * (size_t)bits * 4;
    ck_case("octets=%zu in=%d out=%d", octets, from, to);
    uint8_t *const codes = ck_place(&input, octets * OCTET, from);
    ck_fill(codes, octets * OCTET);
    for (size_t i = 0; i < octets * OCTET; i++) codes[i] &= (uint8_t)((1 << bits) - 1);
    uint8_t *const a = ck_place(&want, bytes, CK_END), *const b = ck_place(&got, bytes, to);
    (ref == test ? naive_fold : ref->fold_codes)(codes, octets, bits, a);
    test->fold_codes(codes, octets, bits, b);
    ck_same("folded", a, b, bytes);
    ck_canaries(&got);
}

// Rows one after another, or apart.
static void rows_case(const struct qb_kernels *ref, const struct qb_kernels *test, int bits, size_t octets, int from,
                      int to)
{
    if (ck_skip()) return;
    const size_t bytes = octets * (size_t)bits * 4, stride = bytes + ck_below(2) * ck_below(100);
    const size_t extent = (QB_LANES - 1) * stride + bytes;
    const uint8_t flip = ck_below(2) ? (uint8_t)(1 << (bits - 1)) : 0;
    ck_case("octets=%zu stride=%zu flip=%d in=%d out=%d", octets, stride, flip, from, to);
    uint8_t *const rows = ck_place(&input, extent, from);
    ck_fill(rows, extent);
    static uint8_t codes[MOST * OCTET], folded[MOST * OCTET];
    uint8_t *const a = ck_place(&want, bytes * QB_LANES, CK_END), *const b = ck_place(&got, bytes * QB_LANES, to);
    for (size_t row = 0; row < QB_LANES; row++) {
        ref->unpack[bits](rows + row * stride, octets * OCTET, flip, 0, codes);
        ref->fold_codes(codes, octets, bits, folded);
        for (size_t i = 0; i < bytes; i++) a[i / 4 * LINE + row * 4 + i % 4] = folded[i];
    }
    test->fold[bits](rows, stride, octets, flip, b);
    ck_same("planes", a, b, bytes * QB_LANES);
    ck_canaries(&got);
}

static void halves_case(const struct qb_kernels *test, size_t count, int from, int to)
{
    if (ck_skip()) return;
    const size_t stride = count * 2 + ck_below(2) * ck_below(100), extent = (QB_LANES - 1) * stride + count * 2;
    const size_t bytes = count * 2 * QB_LANES;
    ck_case("count=%zu stride=%zu in=%d out=%d", count, stride, from, to);
    uint8_t *const rows = ck_place(&input, extent, from);
    ck_fill(rows, extent);
    uint8_t *const a = ck_place(&want, bytes, CK_END), *const b = ck_place(&got, bytes, to);
    for (size_t i = 0; i < bytes; i++) a[i] = rows[i / 2 % QB_LANES * stride + i / (2 * QB_LANES) * 2 + i % 2];
    test->interleave_halves(rows, stride, count, b);
    ck_same("halves", a, b, bytes);
    ck_canaries(&got);
}

static void check(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    for (int bits = 1; bits <= 8; bits++) {
        if (!ck_kernel("fold_u%d", bits)) continue;
        for (size_t octets = 0; octets < MOST; octets++) {
            codes_case(ref, test, bits, octets, CK_END, CK_END);
            rows_case(ref, test, bits, octets, CK_END, CK_END);
            codes_case(ref, test, bits, octets, (int)ck_below(64), (int)ck_below(64));
            rows_case(ref, test, bits, octets, (int)ck_below(64), (int)ck_below(64));
        }
    }
    if (!ck_kernel("interleave_halves")) return;
    for (size_t count = 0; count < 100; count++) {
        halves_case(test, count, CK_END, CK_END);
        halves_case(test, count, (int)ck_below(64), (int)ck_below(64));
    }
}

struct timed {
    const struct qb_kernels *kernels;
    const uint8_t *in;
    uint8_t *out;
    int bits;
};

enum { BENCH_OCTETS = 256 };

static void run_rows(void *context)
{
    const struct timed *const t = context;
    const size_t stride = BENCH_OCTETS / QB_LANES * (size_t)t->bits * 4;
    t->kernels->fold[t->bits](t->in, stride, BENCH_OCTETS / QB_LANES, 0, t->out);
}

static void run_codes(void *context)
{
    const struct timed *const t = context;
    t->kernels->fold_codes(t->in, BENCH_OCTETS, t->bits, t->out);
}

static void run_copy(void *context)
{
    const struct timed *const t = context;
    memcpy(t->out, t->in, BENCH_OCTETS * (size_t)t->bits * 4);
}

static void bench(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    uint8_t *const in = ck_memory(BENCH_OCTETS * OCTET), *const out = ck_memory(BENCH_OCTETS * OCTET);
    for (int bits = 1; bits <= 8; bits++) {
        if (!ck_kernel("fold_u%d", bits)) continue;
        struct timed mine = {test, in, out, bits}, scalar = {ref, in, out, bits};
        const struct ck_run runs[] = {{"rows", run_rows, &mine},
                                      {"codes", run_codes, &mine},
                                      {"scalar", run_rows, &scalar},
                                      {"memcpy", run_copy, &mine}};
        ck_bench(BENCH_OCTETS * (size_t)bits * 4, runs, 4);
    }
}

const struct suite suite_fold = {"fold", QB_FAMILY_fold, check, bench};
