// SPDX-License-Identifier: Apache-2.0
// Family "planes": code planes to lines.
#include "planes.h"

#include "checkasm.h"

#include <string.h>

static struct buffer input, want, got;

enum { LINE = 64, OCTET = 8 * LINE, MOST = 33 };

static uint8_t wanted[MOST * OCTET];

// Bit by bit, from the text: plane by plane, lower bits first.
void planes_of_lines(const uint8_t *lines, size_t octets, int bits, uint8_t *out)
{
    memset(out, 0, octets * (size_t)bits * LINE);
    for (size_t o = 0; o < octets; o++, lines += OCTET, out += bits * LINE) {
        uint8_t *plane = out;
        int low = 0;
        for (int width = bits == 8 ? 8 : 4; width; width /= 2) {
            if (!(bits & width)) continue;
            for (int unit = 0; unit < 8; unit++)
                for (int i = 0; i < LINE; i++)
                    for (int b = 0; b < width; b++)
                        plane[unit % width * LINE + i] |=
                            (uint8_t)((lines[unit * LINE + i] >> (low + b) & 1) << (unit / width * width + b));
            plane += width * LINE;
            low += width;
        }
    }
}

static void planes_case(const struct qb_kernels *test, int bits, size_t octets, int from, int to)
{
    if (ck_skip()) return;
    const size_t packed = octets * (size_t)bits * LINE;
    ck_case("octets=%zu in=%d out=%d", octets, from, to);
    ck_fill(wanted, octets * OCTET);
    for (size_t i = 0; i < octets * OCTET; i++) wanted[i] &= (uint8_t)((1 << bits) - 1);
    uint8_t *const planes = ck_place(&input, packed, from);
    planes_of_lines(wanted, octets, bits, planes);
    uint8_t *const lines = ck_place(&got, octets * OCTET, to);
    test->planes_unpack(planes, octets, bits, lines);
    ck_same("lines", wanted, lines, octets * OCTET);
    ck_canaries(&got);
}

static void look_up_case(const struct qb_kernels *ref, const struct qb_kernels *test, size_t n, int offset)
{
    if (ck_skip()) return;
    ck_case("n=%zu at=%d", n, offset);
    uint8_t *const table = ck_place(&input, 16, offset);
    ck_fill(table, 16);
    uint8_t *const a = ck_place(&want, n, CK_END), *const b = ck_place(&got, n, offset);
    ck_fill(b, n);
    for (size_t i = 0; i < n; i++) a[i] = b[i] &= 15;
    for (size_t i = 0; ref == test && i < n; i++) a[i] = table[a[i]];
    if (ref != test) ref->look_up(table, n, a);
    test->look_up(table, n, b);
    ck_same("codes", a, b, n);
    ck_canaries(&got);
}

static void check(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    for (int bits = 1; bits <= 8; bits++) {
        if (!ck_kernel("planes_u%d", bits)) continue;
        for (size_t octets = 0; octets < MOST; octets++) {
            planes_case(test, bits, octets, CK_END, CK_END);
            planes_case(test, bits, octets, (int)ck_below(64), (int)ck_below(64));
        }
        for (int offset = 0; offset < 64; offset++) planes_case(test, bits, 3, offset, 63 - offset);
    }
    if (!ck_kernel("look_up")) return;
    for (size_t n = 0; n < MOST * LINE; n += LINE) {
        look_up_case(ref, test, n, CK_END);
        look_up_case(ref, test, n, (int)ck_below(64));
    }
}

struct timed {
    qb_planes_unpack_fn *unpack;
    const uint8_t *planes;
    uint8_t *lines;
    int bits;
};

enum { BENCH_OCTETS = 16 };

static void run_unpack(void *context)
{
    const struct timed *const t = context;
    t->unpack(t->planes, BENCH_OCTETS, t->bits, t->lines);
}

static void run_copy(void *context)
{
    const struct timed *const t = context;
    memcpy(t->lines, t->planes, BENCH_OCTETS * OCTET);
}

static void bench(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    uint8_t *const planes = ck_memory(BENCH_OCTETS * OCTET), *const lines = ck_memory(BENCH_OCTETS * OCTET);
    for (int bits = 1; bits <= 8; bits++) {
        if (!ck_kernel("planes_u%d", bits)) continue;
        struct timed mine = {test->planes_unpack, planes, lines, bits}, scalar = mine;
        scalar.unpack = ref->planes_unpack;
        const struct ck_run runs[] = {{"unpack", run_unpack, &mine}, {"scalar", run_unpack, &scalar}, {"memcpy", run_copy, &mine}};
        ck_bench(BENCH_OCTETS * OCTET, runs, 3);
    }
}

const struct suite suite_planes = {"planes", QB_FAMILY_planes, check, bench};
