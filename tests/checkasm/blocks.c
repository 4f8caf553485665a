// SPDX-License-Identifier: Apache-2.0
// Families "blocks" and "grids": whole blocks of any bytes to codes and parameters. What the numbers mean
// is tested in tests/test_blocks.py; here every tier is held against the scalar kernels, and those against
// themselves on one block at a time.
#include "checkasm.h"
#include "floats.h"

#include <string.h>

static struct buffer input, want, got, want_m, got_m;

enum { MOST = 35 }; // blocks

static void ask_codes(const struct qb_kernels *k, const qb_block_type *type, int single, const uint8_t *blocks,
                      size_t count, uint8_t *codes)
{
    qb_block_codes_fn *const decode = k->block_codes[type->format.block];
    for (size_t i = 0; single && i < count; i++)
        decode(blocks + i * type->bytes, 1, codes + i * type->elements);
    if (!single) decode(blocks, count, codes);
}

static void ask_params(const struct qb_kernels *k, const qb_block_type *type, int single, const uint8_t *blocks,
                       size_t count, float *d, float *m)
{
    qb_block_params_fn *const decode = k->block_params[type->format.block];
    const size_t segments = type->elements / type->format.group;
    for (size_t i = 0; single && i < count; i++)
        decode(blocks + i * type->bytes, 1, d + i * segments, m ? m + i * segments : NULL);
    if (!single) decode(blocks, count, d, m);
}

static void blocks_case(const struct qb_kernels *ref, const struct qb_kernels *test, const qb_block_type *type,
                        size_t count, int from, int to)
{
    if (ck_skip()) return;
    const size_t elements = count * type->elements, segments = elements / type->format.group;
    const int has_min = type->format.zero == QB_ZERO_MIN;
    ck_case("blocks=%zu in=%d out=%d", count, from, to);
    uint8_t *const blocks = ck_place(&input, count * type->bytes, from);
    ck_fill(blocks, count * type->bytes);
    if (ck_below(8) == 0) memset(blocks, ck_below(2) ? 0xFF : 0, count * type->bytes);

    uint8_t *const a = ck_place(&want, elements, CK_END), *const b = ck_place(&got, elements, to);
    ask_codes(ref, type, ref == test, blocks, count, a);
    ask_codes(test, type, 0, blocks, count, b);
    ck_same("codes", a, b, elements);
    ck_canaries(&got);
    const int bits = type->format.bits == 1 ? 2 : type->format.bits;
    uint8_t all = 0;
    for (size_t i = 0; i < elements; i++) all |= b[i];
    ck_true("codes are below 2^bits", all >> bits == 0);

    float *const ad = place_floats(&want, segments, CK_END), *const bd = place_floats(&got, segments, to);
    float *const am = has_min ? place_floats(&want_m, segments, CK_END) : NULL;
    float *const bm = has_min ? place_floats(&got_m, segments, from) : NULL;
    ask_params(ref, type, ref == test, blocks, count, ad, am);
    ask_params(test, type, 0, blocks, count, bd, bm);
    same_floats("d", ad, bd, segments);
    ck_canaries(&got);
    if (!has_min) return;
    same_floats("m", am, bm, segments);
    ck_canaries(&got_m);
}

// The grid types stand together in the enumeration.
static int in_family(int block, int family)
{
    const int grid = block >= QB_BLOCK_iq1_s && block <= QB_BLOCK_iq3_s;
    return grid == (family == QB_FAMILY_grids);
}

static void check_family(const struct qb_kernels *ref, const struct qb_kernels *test, int family)
{
    for (int block = 1; block < QB_BLOCK_COUNT; block++) {
        const qb_block_type *const type = qb_block_type_of(block);
        if (!in_family(block, family) || !ck_kernel("%s", type->name)) continue;
        for (size_t count = 0; count < MOST; count++) {
            blocks_case(ref, test, type, count, CK_END, CK_END);
            blocks_case(ref, test, type, count, (int)ck_below(64), (int)ck_below(64));
        }
        for (int offset = 0; offset < 64; offset++) blocks_case(ref, test, type, 3, offset, 63 - offset);
    }
}

static void check_blocks(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    check_family(ref, test, QB_FAMILY_blocks);
}

static void check_grids(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    check_family(ref, test, QB_FAMILY_grids);
}

// ---- benchmarks -----------------------------------------------------------------------------------------

enum { BENCH_CODES = 8192 };

struct timed {
    const struct qb_kernels *k;
    const qb_block_type *type;
    const uint8_t *blocks;
    uint8_t *codes;
    float *d, *m;
};

static void run_codes(void *context)
{
    const struct timed *const t = context;
    t->k->block_codes[t->type->format.block](t->blocks, BENCH_CODES / t->type->elements, t->codes);
}

static void run_params(void *context)
{
    const struct timed *const t = context;
    t->k->block_params[t->type->format.block](t->blocks, BENCH_CODES / t->type->elements, t->d, t->m);
}

static void run_copy(void *context)
{
    const struct timed *const t = context;
    memcpy(t->codes, t->blocks, BENCH_CODES);
}

static void bench_family(const struct qb_kernels *ref, const struct qb_kernels *test, int family)
{
    uint8_t *const blocks = ck_memory(BENCH_CODES * 2), *const codes = ck_memory(BENCH_CODES);
    float *const d = ck_memory(BENCH_CODES), *const m = ck_memory(BENCH_CODES);
    for (int block = 1; block < QB_BLOCK_COUNT; block++) {
        const qb_block_type *const type = qb_block_type_of(block);
        if (!in_family(block, family) || !ck_kernel("%s", type->name)) continue;
        struct timed mine = {test, type, blocks, codes, d, m}, scalar = mine;
        scalar.k = ref;
        const struct ck_run runs[] = {{"codes", run_codes, &mine},
                                      {"scalar", run_codes, &scalar},
                                      {"memcpy", run_copy, &mine},
                                      {"params", run_params, &mine}};
        ck_bench(BENCH_CODES, runs, 4);
    }
}

static void bench_blocks(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    bench_family(ref, test, QB_FAMILY_blocks);
}

static void bench_grids(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    bench_family(ref, test, QB_FAMILY_grids);
}

const struct suite suite_blocks = {"blocks", QB_FAMILY_blocks, check_blocks, bench_blocks};
const struct suite suite_grids = {"grids", QB_FAMILY_grids, check_grids, bench_grids};
