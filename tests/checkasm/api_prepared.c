// SPDX-License-Identifier: Apache-2.0
// Prepared matrices: the same products as the packed ones, bit for bit, on any number of threads, and back
// to the same matrix.
#include "checkasm.h"
#include "floats.h"
#include "matrices.h"

#include <string.h>

static struct buffer activations, panels, want, got;
static struct matrix packed, back;

static const size_t group_sizes[] = {0, 1, 2, 3, 4, 5, 8, 16, 20, 31, 32, 33, 64, 100, 128, 250, 256, 257, 300, 512, 1000};
enum { GROUP_SIZES = sizeof group_sizes / sizeof *group_sizes };

static void compare_matrices(const qb_matrix *a, const qb_matrix *b)
{
    for (size_t r = 0; r < a->rows; r++) {
        int same = 1;
        for (size_t c = 0; c < a->cols; c++)
            same &= matrix_integer(a, r, c) == matrix_integer(b, r, c) && matrix_scale(a, r, c) == matrix_scale(b, r, c) &&
                    matrix_min(a, r, c) == matrix_min(b, r, c);
        ck_true("a row given back", same);
    }
}

// The functions for plain rows give the same, and refuse an output that overlaps something.
static void rows_case(const qb_prepared *p, const qb_floats *x, int planes, const float *expected)
{
    const qb_matrix *const q = &packed.q;
    const size_t n = x->rows, bytes = n * q->rows * sizeof(float);
    float *const out = ck_place(&got, bytes, CK_END);
    ck_same_u64("packed rows", QB_OK, (uint64_t)qb_matmul_rows(q, x->data, n, planes, out));
    ck_same("packed", expected, out, bytes);
    memset(out, 0, bytes);
    ck_same_u64("prepared rows", QB_OK, (uint64_t)qb_prepared_matmul_rows(p, x->data, n, planes, out));
    ck_same("prepared", expected, out, bytes);
    ck_canaries(&got);
    if (!bytes) return;
    void *const taken[] = {(void *)(uintptr_t)x->data, q->codes, q->scales, q->mins, q->zeros};
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        // The aligned word in which it starts, or half of one.
        float *const place = (float *)((uintptr_t)taken[i] & ~(uintptr_t)3);
        if (taken[i]) ck_true("refused", qb_matmul_rows(q, x->data, n, planes, place) == QB_ERR_ARGUMENT);
    }
    ck_true("misaligned", qb_matmul_rows(q, x->data, n, planes, (char *)out + 2) == QB_ERR_ARGUMENT);
    float *const inside = (float *)((uintptr_t)(p->panels + 3) & ~(uintptr_t)3);
    ck_true("in the panels", qb_prepared_matmul_rows(p, x->data, n, planes, inside) == QB_ERR_ARGUMENT);
    ck_true("in x", qb_prepared_matmul_rows(p, x->data, n, planes, taken[0]) == QB_ERR_ARGUMENT);
    ck_same("left alone", expected, out, bytes);
}

static void prepared_case(size_t group)
{
    if (ck_skip()) return;
    const size_t rows = ck_below(4) ? ck_below(50) : ck_below(3) * 16, columns = 1 + ck_below(6);
    // Groups of less than a unit are filled up, which takes room.
    const size_t cols = 1 + (ck_below(3) || (group && group < 4) ? ck_below(200) : ck_below(1400));
    const int planes = 1 + (int)ck_below(3);
    any_matrix(&packed, rows, cols, group);
    ck_case("bits=%d zero=%d scale=%d group=%zu rows=%zu cols=%zu columns=%zu planes=%d", packed.q.format.bits,
            packed.q.format.zero, packed.q.format.scale, group, rows, cols, columns, planes);
    const size_t bytes = qb_prepared_bytes(&packed.q.format, rows, cols);
    uint8_t *const block = ck_place(&panels, bytes, (int)ck_below(64) - 1);
    ck_same_u64("prepare", QB_OK, (uint64_t)qb_prepare(&packed.q, block));
    ck_canaries(&panels);

    const qb_prepared p = {packed.q.format, rows, cols, block};
    float *const values = ck_place(&activations, columns * cols * sizeof *values, CK_END);
    fill_floats(values, columns * cols, FLOATS_NORMAL);
    const qb_floats x = {values, QB_F32, columns, cols, (ptrdiff_t)(cols * sizeof *values), sizeof *values};
    float *const a = ck_place(&want, rows * columns * sizeof *a, CK_END);
    float *const b = ck_place(&got, rows * columns * sizeof *b, CK_END);
    qb_matmul(&packed.q, &x, planes, a, (ptrdiff_t)rows, 1);
    ck_same_u64("multiply", QB_OK, (uint64_t)qb_prepared_matmul(&p, &x, planes, b, (ptrdiff_t)rows, 1));
    ck_same("out", a, b, rows * columns * sizeof *a);
    ck_canaries(&got);
    rows_case(&p, &x, planes, a);

    back.q = packed.q;
    back.q.codes = ck_place(&back.codes, packed.codes.bytes, CK_END);
    back.q.scales = ck_place(&back.scales, packed.scales.bytes, CK_END);
    if (packed.q.mins) back.q.mins = ck_place(&back.mins, packed.mins.bytes, CK_END);
    if (packed.q.zeros) back.q.zeros = ck_place(&back.zeros, packed.zeros.bytes, CK_END);
    ck_same_u64("unprepare", QB_OK, (uint64_t)qb_unprepare(&p, &back.q));
    compare_matrices(&packed.q, &back.q);
    ck_canaries(&back.codes);
    ck_canaries(&back.scales);
}

// Any bytes as blocks: infinite scales and NaN among them.
static void blocks_case(const qb_block_type *type)
{
    if (ck_skip()) return;
    const size_t rows = ck_below(4) ? 1 + ck_below(40) : 16, cols = 256 * (1 + ck_below(5)), columns = 1 + ck_below(6);
    const size_t bytes = rows * (cols / type->elements) * type->bytes;
    const int planes = 1 + (int)ck_below(3);
    ck_case("rows=%zu cols=%zu columns=%zu planes=%d", rows, cols, columns, planes);
    uint8_t *const blocks = ck_place(&packed.codes, bytes, ck_below(2) ? CK_END : (int)ck_below(64));
    ck_fill(blocks, bytes);
    const qb_matrix q = {.format = type->format, .rows = rows, .cols = cols, .codes = blocks};
    uint8_t *const to = ck_place(&panels, qb_prepared_bytes(&q.format, rows, cols), ck_below(2) ? CK_END : (int)ck_below(64));
    ck_same_u64("prepare", QB_OK, (uint64_t)qb_prepare(&q, to));
    ck_canaries(&panels);

    const qb_prepared p = {q.format, rows, cols, to};
    float *const x = ck_place(&activations, columns * cols * sizeof *x, CK_END);
    fill_floats(x, columns * cols, FLOATS_NORMAL);
    const size_t out_bytes = rows * columns * sizeof(float);
    float *const a = ck_place(&want, out_bytes, CK_END), *const b = ck_place(&got, out_bytes, CK_END);
    ck_same_u64("packed", QB_OK, (uint64_t)qb_matmul_rows(&q, x, columns, planes, a));
    ck_same_u64("prepared", QB_OK, (uint64_t)qb_prepared_matmul_rows(&p, x, columns, planes, b));
    ck_same("out", a, b, out_bytes);
    ck_canaries(&got);

    qb_matrix again = q;
    again.codes = ck_place(&back.codes, bytes, CK_END);
    ck_same_u64("unprepare", QB_OK, (uint64_t)qb_unprepare(&p, &again));
    ck_same("blocks", blocks, again.codes, bytes);
    const int64_t row = (int64_t)ck_below(rows);
    again.rows = 1;
    again.codes = ck_place(&back.codes, bytes / rows, CK_END);
    ck_same_u64("a row", QB_OK, (uint64_t)qb_prepared_rows(&p, &row, 1, &again));
    ck_same("its blocks", blocks + (size_t)row * (bytes / rows), again.codes, bytes / rows);
    ck_canaries(&back.codes);
}

static void check(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    (void)ref;
    (void)test;
    if (ck_kernel("qb_prepare"))
        for (int i = 0; i < 30 * GROUP_SIZES; i++) prepared_case(group_sizes[i % GROUP_SIZES]);
    for (int block = QB_BLOCK_NONE + 1; block < QB_BLOCK_COUNT; block++) {
        const qb_block_type *const type = qb_block_type_of(block);
        if (!ck_kernel("qb_prepare_%s", type->name)) continue;
        for (int i = 0; i < 20; i++) blocks_case(type);
    }
}

const struct suite suite_api_prepared = {"api_prepared", SUITE_API, check, NULL};
