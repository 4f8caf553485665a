// SPDX-License-Identifier: Apache-2.0
// Family "pack". The scalar kernels are held against a bit-by-bit reference, the others against
// scalar.
#include "checkasm.h"

#include <string.h>

static struct buffer in, want, got;

// ---- the definition, one bit at a time ----------------------------------------------------------

static uint8_t naive_pack(const uint8_t *codes, size_t n, uint8_t bias, uint8_t *out, int bits)
{
    uint8_t seen = 0;
    memset(out, 0, (n * (size_t)bits + 7) / 8);
    for (size_t i = 0; i < n; i++) {
        seen |= (uint8_t)(codes[i] + bias);
        for (int b = 0; b < bits; b++) {
            const size_t bit = i * (size_t)bits + (size_t)b;
            out[bit / 8] |= (uint8_t)((codes[i] >> b & 1) << bit % 8);
        }
    }
    return seen;
}

static void naive_unpack(const uint8_t *packed, size_t n, uint8_t flip, uint8_t sub, uint8_t *codes,
                         int bits)
{
    for (size_t i = 0; i < n; i++) {
        unsigned code = 0;
        for (int b = 0; b < bits; b++) {
            const size_t bit = i * (size_t)bits + (size_t)b;
            code |= (packed[bit / 8] >> bit % 8 & 1u) << b;
        }
        codes[i] = (uint8_t)((code ^ flip) - sub);
    }
}

// ---- cases --------------------------------------------------------------------------------------

enum { VECTOR = 64, SHORT = 4 * VECTOR + 1, LONG = 8192, LONG_CASES = 200, KINDS = 6 };

// Codes of every kind: any byte, legal codes, extremes, one code out of range.
static void fill_codes(uint8_t *x, size_t n, int kind, int bits)
{
    const uint8_t mask = (uint8_t)((1 << bits) - 1);
    ck_fill(x, n);
    for (size_t i = 0; i < n; i++) {
        switch (kind) {
        case 0: break;
        case 1: case 2: x[i] &= mask; break;
        case 3: x[i] = mask; break;
        case 4: x[i] = i & 1 ? mask : 0; break;
        default: x[i] = 0; break;
        }
    }
    if (n && kind == 2) x[ck_below(n)] = (uint8_t)ck_random();
    if (n && kind == 5) x[ck_below(n)] = (uint8_t)(1 << ck_below(8));
}

static void pack_case(const struct qb_kernels *ref, const struct qb_kernels *test, int bits,
                      size_t n, int from, int to, int kind, uint8_t bias)
{
    if (ck_skip()) return;
    const size_t bytes = (n * (size_t)bits + 7) / 8;
    ck_case("n=%zu in=%d out=%d kind=%d bias=%d", n, from, to, kind, bias);
    uint8_t *const x = ck_place(&in, n, from);
    uint8_t *const a = ck_place(&want, bytes, CK_END);
    uint8_t *const b = ck_place(&got, bytes, to);
    fill_codes(x, n, kind, bits);
    const uint8_t seen = ref == test ? naive_pack(x, n, bias, a, bits)
                                     : ref->pack[bits](x, n, bias, a);
    ck_same_u64("seen", seen, test->pack[bits](x, n, bias, b));
    ck_same("packed", a, b, bytes);
    ck_canaries(&got);
}

static void unpack_case(const struct qb_kernels *ref, const struct qb_kernels *test, int bits,
                        size_t n, int from, int to, int kind, uint8_t flip, uint8_t sub)
{
    if (ck_skip()) return;
    const size_t bytes = (n * (size_t)bits + 7) / 8;
    ck_case("n=%zu in=%d out=%d kind=%d flip=%d sub=%d", n, from, to, kind, flip, sub);
    uint8_t *const x = ck_place(&in, bytes, from);
    uint8_t *const a = ck_place(&want, n, CK_END);
    uint8_t *const b = ck_place(&got, n, to);
    fill_codes(x, bytes, kind, 8); // unused bits of the last byte are garbage too
    if (ref == test) naive_unpack(x, n, flip, sub, a, bits);
    else ref->unpack[bits](x, n, flip, sub, a);
    test->unpack[bits](x, n, flip, sub, b);
    ck_same("codes", a, b, n);
    ck_canaries(&got);
}

static void check_pack(const struct qb_kernels *ref, const struct qb_kernels *test, int bits)
{
    const uint8_t h = (uint8_t)(1 << (bits - 1));
    for (size_t n = 0; n <= SHORT; n++) {
        for (int kind = 0; kind < KINDS; kind++)
            pack_case(ref, test, bits, n, CK_END, CK_END, kind, kind & 1 ? h : 0);
        for (int at = 0; at < VECTOR; at++)
            pack_case(ref, test, bits, n, at, (int)ck_below(VECTOR), (int)ck_below(KINDS),
                      at & 1 ? h : 0);
    }
    for (int i = 0; i < LONG_CASES; i++) {
        const size_t n = ck_below(LONG);
        pack_case(ref, test, bits, n, CK_END, i % VECTOR, i % KINDS, 0);
        pack_case(ref, test, bits, n, i % VECTOR, CK_END, i % KINDS, h);
    }
    for (int bias = 0; bias < 256; bias++)
        pack_case(ref, test, bits, ck_below(SHORT), CK_END, CK_END, 0, (uint8_t)bias);
}

static void check_unpack(const struct qb_kernels *ref, const struct qb_kernels *test, int bits)
{
    const uint8_t h = (uint8_t)(1 << (bits - 1));
    for (size_t n = 0; n <= SHORT; n++) {
        for (int kind = 0; kind < KINDS; kind++)
            unpack_case(ref, test, bits, n, CK_END, CK_END, kind, kind & 1 ? h : 0,
                        kind & 2 ? h : 0);
        for (int at = 0; at < VECTOR; at++)
            unpack_case(ref, test, bits, n, at, (int)ck_below(VECTOR), (int)ck_below(KINDS),
                        at & 1 ? h : 0, at & 2 ? h : 0);
    }
    for (int i = 0; i < LONG_CASES; i++) {
        const size_t n = ck_below(LONG);
        unpack_case(ref, test, bits, n, CK_END, i % VECTOR, i % KINDS, 0, 0);
        unpack_case(ref, test, bits, n, i % VECTOR, CK_END, i % KINDS, h, h);
    }
    for (int flip = 0; flip < 256; flip++)
        unpack_case(ref, test, bits, ck_below(SHORT), CK_END, CK_END, 0, (uint8_t)flip,
                    (uint8_t)ck_random());
}

// Every window of 16 bits at every position of a vector: all values of every width at every phase.
static void check_windows(const struct qb_kernels *ref, const struct qb_kernels *test, int bits)
{
    enum { BYTES = 3 * VECTOR };
    const size_t n = BYTES * 8 / (size_t)bits;
    for (unsigned window = 0; window < 1 << 16; window++) {
        if (ck_skip()) continue;
        ck_case("window=%04x", window);
        uint8_t *const x = ck_place(&in, BYTES, CK_END);
        uint8_t *const a = ck_place(&want, n, CK_END);
        uint8_t *const b = ck_place(&got, n, CK_END);
        for (size_t i = 0; i < BYTES; i++) x[i] = (uint8_t)(window >> 8 * (i & 1));
        if (ref == test) naive_unpack(x, n, 0, 0, a, bits);
        else ref->unpack[bits](x, n, 0, 0, a);
        test->unpack[bits](x, n, 0, 0, b);
        if (!ck_same("codes", a, b, n)) return;
    }
}

// ---- narrow -------------------------------------------------------------------------------------

static uint64_t naive_narrow(const uint8_t *codes, size_t n, uint8_t bias, uint8_t *out, int width)
{
    uint64_t seen = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t code = width == 64   ? ((const uint64_t *)codes)[i]
                        : width == 32 ? ((const uint32_t *)codes)[i]
                                      : ((const uint16_t *)codes)[i];
        out[i] = (uint8_t)(code % 256);
        code += bias;
        seen |= code & ~(uint64_t)0 >> (64 - width);
    }
    return seen;
}

static qb_narrow_fn *narrow_of(const struct qb_kernels *k, int width)
{
    return width == 64 ? k->narrow_64 : width == 32 ? k->narrow_32 : k->narrow_16;
}

static void narrow_case(const struct qb_kernels *test, int width, size_t n, int from, int to)
{
    if (ck_skip()) return;
    const size_t size = (size_t)width / 8;
    const uint8_t bias = (uint8_t)ck_random();
    ck_case("n=%zu in=%d out=%d bias=%d", n, from, to, bias);
    uint8_t *const x = ck_place(&in, n * size, from);
    uint8_t *const a = ck_place(&want, n, CK_END), *const b = ck_place(&got, n, to);
    ck_fill(x, n * size);
    if (n % 2 == 0) // mostly small ones, of either sign, so that the or is not all ones
        for (size_t i = 0; i < n * size; i++) x[i] = i % size ? (x[0] & 1 ? 0 : 0xFF) : x[i];
    ck_same_u64("seen", naive_narrow(x, n, bias, a, width), narrow_of(test, width)(x, n, bias, b));
    ck_same("bytes", a, b, n);
    ck_canaries(&got);
}

static void check_narrow(const struct qb_kernels *test, int width)
{
    const int size = width / 8;
    for (size_t n = 0; n <= SHORT; n++) {
        for (int at = 0; at < VECTOR; at += size)
            narrow_case(test, width, n, at, (int)ck_below(VECTOR));
        narrow_case(test, width, n, CK_END, CK_END);
    }
    for (int i = 0; i < LONG_CASES; i++)
        narrow_case(test, width, ck_below(LONG), CK_END, i % VECTOR);
}

static void check_stream(const struct qb_kernels *test)
{
    for (size_t n = 0; n <= 2 * SHORT; n += n < SHORT ? 1 : 7) {
        for (int at = CK_END; at < VECTOR; at++) {
            if (ck_skip()) continue;
            const int from = at < 0 ? CK_END : (int)ck_below(VECTOR);
            ck_case("n=%zu in=%d out=%d", n, from, at);
            uint8_t *const x = ck_place(&in, n, from);
            uint8_t *const b = ck_place(&got, n, at);
            ck_fill(x, n);
            test->stream(x, n, b);
            ck_same("copy", x, b, n);
            ck_canaries(&got);
        }
    }
    ck_case("long");
    uint8_t *const x = ck_place(&in, CK_CAPACITY, CK_END);
    uint8_t *const b = ck_place(&got, CK_CAPACITY, 1);
    ck_fill(x, CK_CAPACITY);
    test->stream(x, CK_CAPACITY, b);
    test->fence();
    ck_same("copy", x, b, CK_CAPACITY);
}

static void check(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    for (int bits = 1; bits <= QB_MAX_BITS; bits++) {
        if (ck_kernel("pack_u%d", bits)) check_pack(ref, test, bits);
        if (ck_kernel("unpack_u%d", bits)) check_unpack(ref, test, bits);
        if (ck_kernel("unpack_u%d_windows", bits)) check_windows(ref, test, bits);
    }
    for (int width = 16; width <= 64; width *= 2)
        if (ck_kernel("narrow_%d", width)) check_narrow(test, width);
    if (ck_kernel("stream")) check_stream(test);
}

// ---- benchmarks ---------------------------------------------------------------------------------

struct job {
    const struct qb_kernels *k;
    int bits;
    size_t n;
    uint8_t *codes, *packed;
};

static void run_pack(void *context)
{
    const struct job *const j = (const struct job *)context;
    ck_use(j->k->pack[j->bits](j->codes, j->n, 0, j->packed));
}

static void run_unpack(void *context)
{
    const struct job *const j = (const struct job *)context;
    j->k->unpack[j->bits](j->packed, j->n, 0, 0, j->codes);
}

static void run_stream(void *context)
{
    const struct job *const j = (const struct job *)context;
    j->k->stream(j->codes, j->n, j->packed);
}

static void run_memcpy(void *context)
{
    const struct job *const j = (const struct job *)context;
    memcpy(j->packed, j->codes, j->n);
}

static void bench_size(const struct qb_kernels *ref, const struct qb_kernels *test, size_t n)
{
    uint8_t *const codes = (uint8_t *)ck_memory(n);
    uint8_t *const packed = (uint8_t *)ck_memory(n), *const spare = (uint8_t *)ck_memory(n);
    struct job copy = {ref, 8, n, codes, spare};
    for (int bits = 1; bits <= QB_MAX_BITS; bits++) {
        struct job mine = {test, bits, n, codes, packed}, base = {ref, bits, n, codes, packed};
        const struct ck_run pack[] = {
            {"it", run_pack, &mine}, {"scalar", run_pack, &base}, {"memcpy", run_memcpy, &copy}};
        const struct ck_run unpack[] = {{"it", run_unpack, &mine},
                                        {"scalar", run_unpack, &base},
                                        {"memcpy", run_memcpy, &copy}};
        if (ck_kernel("pack_u%d", bits)) {
            ck_case("n=%zu", n);
            ck_bench(n, pack, 3);
        }
        if (ck_kernel("unpack_u%d", bits)) {
            ck_case("n=%zu", n);
            ck_bench(n, unpack, 3);
        }
    }
    if (ck_kernel("stream")) {
        struct job mine = {test, 8, n, codes, packed};
        const struct ck_run stream[] = {{"it", run_stream, &mine}, {"memcpy", run_memcpy, &copy}};
        ck_case("n=%zu", n);
        ck_bench(n, stream, 2);
    }
}

static void bench(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    bench_size(ref, test, (size_t)1 << 16); // in cache
    bench_size(ref, test, (size_t)1 << 26); // from memory
}

const struct suite suite_pack = {"pack", QB_FAMILY_pack, check, bench};
