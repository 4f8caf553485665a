// SPDX-License-Identifier: Apache-2.0
// Family "fixed": finite floats to blocks. The rules are tested in tests/test_blocks.py; here every tier is
// held against the scalar kernels, and those against themselves on one block at a time.
#include "checkasm.h"
#include "floats.h"

#include <string.h>

static struct buffer input, want, got;

enum { MOST = 19 }; // blocks

// Now and then a block whose scale no half can hold.
static void fill_blocks(float *x, size_t n, size_t elements, enum floats kind)
{
    fill_floats(x, n, kind);
    for (size_t i = 0; i < n; i++)
        if (kind == FLOATS_EXTREME && ck_below(4 * elements)) x[i] *= 0x1p-110f;
    if (ck_below(4) == 0 && n) x[ck_below(n)] = 0x1p40f;
    if (ck_below(4) == 0) // zeros of either sign
        for (size_t i = 0; i < n; i++)
            if (i / elements % 2) x[i] = ck_below(2) ? 0.0f : -0.0f;
}

static size_t one_by_one(qb_block_encode_fn *encode, const qb_block_type *type, const float *x, size_t count,
                         uint8_t *blocks)
{
    for (size_t i = 0; i < count; i++)
        if (!encode(x + i * type->elements, 1, blocks + i * type->bytes)) return i;
    return count;
}

static void fixed_case(const struct qb_kernels *ref, const struct qb_kernels *test, const qb_block_type *type,
                       size_t count, int from, int to)
{
    if (ck_skip()) return;
    const size_t n = count * type->elements, bytes = count * type->bytes;
    const enum floats kind = (enum floats)ck_below(FLOATS_ANY);
    qb_block_encode_fn *const define = ref->block_encode[type->format.block];
    qb_block_encode_fn *const encode = test->block_encode[type->format.block];
    ck_case("blocks=%zu in=%d out=%d kind=%d", count, from, to, kind);
    float *const x = place_floats(&input, n, from);
    fill_blocks(x, n, type->elements, kind);
    uint8_t *const a = ck_place(&want, bytes, CK_END), *const b = ck_place(&got, bytes, to);
    const size_t good = ref == test ? one_by_one(define, type, x, count, a) : define(x, count, a);
    ck_same_u64("blocks before an infinite scale", good, encode(x, count, b));
    ck_same("blocks", a, b, good * type->bytes);
    ck_canaries(&got);
}

static void check(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    for (int block = 1; block < QB_BLOCK_COUNT; block++) {
        const qb_block_type *const type = qb_block_type_of(block);
        if (!ref->block_encode[block] || !ck_kernel("%s", type->name)) continue;
        for (size_t count = 0; count < MOST; count++) {
            for (int i = 0; i < 6; i++) fixed_case(ref, test, type, count, CK_END, CK_END);
            fixed_case(ref, test, type, count, (int)ck_below(64), (int)ck_below(64));
        }
        for (int offset = 0; offset < 64; offset++) fixed_case(ref, test, type, 3, offset, 63 - offset);
    }
}

enum { BENCH_VALUES = 4096 };

struct timed {
    qb_block_encode_fn *encode;
    size_t count;
    const float *x;
    uint8_t *blocks;
};

static void run_encode(void *context)
{
    const struct timed *const t = context;
    ck_use(t->encode(t->x, t->count, t->blocks));
}

static void run_copy(void *context)
{
    const struct timed *const t = context;
    memcpy(t->blocks, t->x, BENCH_VALUES * 4);
}

static void bench(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    float *const x = ck_memory(BENCH_VALUES * 4);
    uint8_t *const blocks = ck_memory(BENCH_VALUES * 4);
    fill_floats(x, BENCH_VALUES, FLOATS_NORMAL);
    for (int block = 1; block < QB_BLOCK_COUNT; block++) {
        const qb_block_type *const type = qb_block_type_of(block);
        if (!ref->block_encode[block] || !ck_kernel("%s", type->name)) continue;
        struct timed mine = {test->block_encode[block], BENCH_VALUES / type->elements, x, blocks}, scalar = mine;
        scalar.encode = ref->block_encode[block];
        const struct ck_run runs[] = {{"encode", run_encode, &mine}, {"scalar", run_encode, &scalar}, {"memcpy", run_copy, &mine}};
        ck_bench(BENCH_VALUES * 4, runs, 3);
    }
}

const struct suite suite_fixed = {"fixed", QB_FAMILY_fixed, check, bench};
