// SPDX-License-Identifier: Apache-2.0
// qb_matmul and qb_vecdot against their definitions (csrc/README.md), written element by element;
// columns alone and together, rows apart, any strides, the float environment, and what is refused.
#include "checkasm.h"
#include "floats.h"
#include "fpenv.h"
#include "matrices.h"

#include <math.h>
#include <stdlib.h>

static struct buffer activations, want, got;
static struct matrix left, right;

static const size_t group_sizes[] = {0,  1,  2,   3,   5,   8,   16,  20,  31,  32,  33,
                                     48, 64, 100, 128, 250, 256, 257, 300, 512, 1000};
enum { GROUP_SIZES = sizeof group_sizes / sizeof *group_sizes };
static const int float_types[] = {QB_F32, QB_F16, QB_BF16, QB_F64};

static size_t size_of(int dtype) { return dtype == QB_F64 ? 8 : dtype == QB_F32 ? 4 : 2; }

static float nan_result(void) { return float_of(0x7FC00000); }

// ---- activations --------------------------------------------------------------------------------

// rows x cols floats of any dtype, row by row, column by column, with gaps or backwards.
static qb_floats any_activations(size_t rows, size_t cols)
{
    qb_floats x = {.dtype = float_types[ck_below(4)], .rows = rows, .cols = cols};
    const ptrdiff_t size = (ptrdiff_t)size_of(x.dtype), gap = ck_below(2) ? 1 : 2;
    const int by_column = ck_below(3) == 0, backwards = ck_below(4) == 0;
    x.row_stride = by_column ? size * gap : size * gap * (ptrdiff_t)cols;
    x.col_stride = by_column ? size * gap * (ptrdiff_t)rows : size * gap;
    const size_t bytes = rows && cols ? (rows * cols - 1) * (size_t)(size * gap) + (size_t)size : 0;
    uint8_t *const data = ck_place(&activations, bytes, CK_END);
    const size_t kind = ck_below(5), refused = ck_below(3) ? 0 : ck_below(3);
    for (size_t i = 0; i + (size_t)size <= bytes; i += (size_t)size) {
        float v;
        fill_floats(&v, 1, kind == 0 ? FLOATS_LEVELS : kind == 1 ? FLOATS_EXTREME : FLOATS_NORMAL);
        const uint16_t half = (uint16_t)(ck_random() & 0xBBFF);
        const uint16_t brain = (uint16_t)(bits_of(v) >> 16);
        const double wide = (double)v * (1 + 0x1p-30);
        const void *const from = x.dtype == QB_F32   ? (const void *)&v
                                 : x.dtype == QB_F64 ? (const void *)&wide
                                 : x.dtype == QB_F16 ? (const void *)&half
                                                     : (const void *)&brain;
        memcpy(data + i, from, (size_t)size);
    }
    // An infinity or NaN of every dtype has these upper bits.
    for (size_t i = 0; i < refused && bytes; i++) {
        uint8_t *const last = data + ck_below(rows * cols) * (size_t)(size * gap) + size - 2;
        last[0] = 0xF0 | (uint8_t)ck_random();
        last[1] = ck_below(2) ? 0x7F : 0xFF;
    }
    x.data = data;
    if (backwards && bytes) {
        x.data = data + (ptrdiff_t)(rows - 1) * x.row_stride + (ptrdiff_t)(cols - 1) * x.col_stride;
        x.row_stride = -x.row_stride;
        x.col_stride = -x.col_stride;
    }
    return x;
}

static float activation(const qb_floats *x, size_t n, size_t k)
{
    return float_at((const char *)x->data + (ptrdiff_t)n * x->row_stride +
                        (ptrdiff_t)k * x->col_stride,
                    x->dtype);
}

// ---- the definition -----------------------------------------------------------------------------

// The activation block that holds element k of a row: its start, and its end in *end.
static size_t block_of(const qb_matrix *q, size_t k, size_t *end)
{
    const size_t group = matrix_group(q), first = k / group * group;
    size_t start, size;
    if (group < 32) {
        size = (32 + group - 1) / group * group;
        start = k / size * size;
        *end = start + size;
    } else {
        size = group < 256 ? group : 256;
        start = first + (k - first) / size * size;
        *end = start + size < first + group ? start + size : first + group;
    }
    if (*end > q->cols) *end = q->cols;
    return start;
}

static const int tops[4] = {0, 0x7F, 0x7F7F, 0x7F7F7F};

static float block_scale(const qb_matrix *q, const qb_floats *x, size_t n, size_t k, int planes)
{
    size_t end;
    float amax = 0;
    for (size_t i = block_of(q, k, &end); i < end; i++)
        amax = fmaxf(amax, fabsf(activation(x, n, i)));
    return amax < 0x1p-100f ? 0 : amax / (float)tops[planes];
}

// Digits of one activation, and the whole integer.
static int32_t split_one(float value, float dx, int planes, int32_t digit[3])
{
    const float scaled = dx == 0 ? 0 : rintf(value * (1 / dx)), top = (float)tops[planes];
    const int32_t whole = (int32_t)(scaled > top ? top : scaled < -top ? -top : scaled);
    for (int p = 0, rest = whole; p < planes; p++) {
        digit[p] = (int8_t)(uint8_t)(rest & 255);
        rest = (rest - digit[p]) / 256;
    }
    return whole;
}

static float defined_product(const qb_matrix *q, const qb_floats *x, size_t m, size_t n, int planes)
{
    float acc = 0;
    for (size_t k = 0; k < q->cols; k++)
        if (!isfinite(activation(x, n, k))) return nan_result();
    for (size_t k = 0; k < q->cols;) {
        const size_t start = k, group_end = (k / matrix_group(q) + 1) * matrix_group(q);
        const float dx = block_scale(q, x, n, k, planes);
        int64_t a[3] = {0, 0, 0}, sum = 0;
        size_t end;
        for (block_of(q, k, &end); k < end && k < group_end; k++) {
            int32_t digit[3];
            sum += split_one(activation(x, n, k), dx, planes, digit);
            for (int p = 0; p < planes; p++) a[p] += matrix_integer(q, m, k) * digit[p];
        }
        const float t = planes == 1   ? (float)a[0]
                        : planes == 2 ? (float)(256 * a[1] + a[0])
                                      : fmaf(256, (float)(256 * a[2] + a[1]), (float)a[0]);
        acc = fmaf(matrix_scale(q, m, start) * dx, t, acc);
        if (q->mins) acc = fmaf(matrix_min(q, m, start), dx * (float)sum, acc);
    }
    return isnan(acc) ? nan_result() : acc;
}

// ---- multiply -----------------------------------------------------------------------------------

struct layout {
    ptrdiff_t n, m;
    size_t floats;
};

static struct layout any_layout(size_t rows, size_t cols)
{
    const ptrdiff_t gap = (ptrdiff_t)ck_below(3);
    struct layout l = {(ptrdiff_t)rows + gap, 1, cols * (rows + (size_t)gap)};
    if (ck_below(2)) l = (struct layout){1, (ptrdiff_t)cols + gap, rows * (cols + (size_t)gap)};
    return l;
}

static void any_sizes(size_t *rows, size_t *cols, size_t *columns)
{
    static const size_t some[] = {0, 1, 15, 16, 17, 33};
    *rows = ck_below(4) ? some[ck_below(6)] : ck_below(40);
    *cols = ck_below(3) ? ck_below(200) : ck_below(1400);
    *columns = ck_below(8);
    if (ck_below(16) == 0) *columns = 60 + ck_below(10), *rows = ck_below(5), *cols = ck_below(90);
    if (ck_below(64) == 0)
        *rows = 1 + ck_below(3), *cols = 4000 + ck_below(1500), *columns = 1 + ck_below(2);
}

static void product_case(size_t group)
{
    if (ck_skip()) return;
    size_t rows, cols, columns;
    any_sizes(&rows, &cols, &columns);
    const int planes = 1 + (int)ck_below(3);
    any_matrix(&left, rows, cols, group);
    const qb_floats x = any_activations(columns, cols);
    const qb_format *const f = &left.q.format;
    const struct layout out = any_layout(rows, columns);
    ck_case("bits=%d zero=%d scale=%d group=%zu rows=%zu cols=%zu columns=%zu dtype=%d planes=%d",
            f->bits, f->zero, f->scale, group, rows, cols, columns, x.dtype, planes);
    float *const a = place_floats(&want, out.floats, CK_END);
    float *const b = place_floats(&got, out.floats, CK_END);
    memcpy(a, b, out.floats * sizeof *a); // what lies between the results stays
    for (size_t n = 0; n < columns; n++)
        for (size_t m = 0; m < rows; m++)
            a[(ptrdiff_t)n * out.n + (ptrdiff_t)m * out.m] =
                defined_product(&left.q, &x, m, n, planes);
    ck_same_u64("status", QB_OK, (uint64_t)qb_matmul(&left.q, &x, planes, b, out.n, out.m));
    ck_same("out", a, b, out.floats * sizeof *a);
    ck_canaries(&got);
}

// Columns one by one give what all of them give at once, beyond the sizes in which the library
// cuts. The columns are overlapping windows of a few values.
static void parts_case(void)
{
    if (ck_skip()) return;
    enum { STEP = 7 };
    const size_t cols = 1 + ck_below(6000), rows = 1 + ck_below(20), columns = 1 + ck_below(150);
    const int planes = 1 + (int)ck_below(3);
    any_matrix(&left, rows, cols, group_sizes[ck_below(GROUP_SIZES)]);
    float *const values = place_floats(&activations, cols + STEP * (columns - 1), CK_END);
    fill_floats(values, activations.bytes / sizeof *values, FLOATS_NORMAL);
    if (ck_below(2)) values[ck_below(activations.bytes / sizeof *values)] = INFINITY;
    const qb_floats x = {values, QB_F32, columns, cols, STEP * 4, 4};
    ck_case("group=%zu rows=%zu cols=%zu columns=%zu planes=%d", left.q.format.group, rows, cols,
            columns, planes);
    float *const a = place_floats(&want, rows * columns, CK_END);
    float *const b = place_floats(&got, rows * columns, CK_END);
    ck_same_u64("status", QB_OK, (uint64_t)qb_matmul(&left.q, &x, planes, b, (ptrdiff_t)rows, 1));
    for (size_t n = 0; n < columns; n++) {
        const qb_floats one = {values + n * STEP, QB_F32, 1, cols, 0, 4};
        qb_matmul(&left.q, &one, planes, a + n * rows, 0, 1);
    }
    ck_same("out", a, b, rows * columns * sizeof *a);
    ck_canaries(&got);
}

static void check_environment(void)
{
#if QB_X86
    any_matrix(&left, 20, 200, 32);
    const qb_floats x = any_activations(3, 200);
    float *const a = place_floats(&want, 60, CK_END), *const b = place_floats(&got, 60, CK_END);
    const unsigned strange = 0xFFC0; // towards zero, denormals flushed
    qb_matmul(&left.q, &x, 3, a, 20, 1);
    const unsigned saved = _mm_getcsr();
    _mm_setcsr(strange);
    qb_matmul(&left.q, &x, 3, b, 20, 1);
    const unsigned after = _mm_getcsr();
    _mm_setcsr(saved);
    ck_same_u64("environment", strange, after & ~0x3Fu);
    ck_same("out", a, b, 60 * sizeof *a);
#endif
}

static void refused_case(const char *what, const qb_matrix *q, const qb_floats *x, int planes,
                         int status)
{
    float *const out = place_floats(&got, 64, CK_END);
    float *const kept = place_floats(&want, 64, CK_END);
    ck_case("%s", what);
    memcpy(kept, out, 64 * sizeof *out);
    ck_same_u64("status", (uint64_t)status, (uint64_t)qb_matmul(q, x, planes, out, 1, 1));
    ck_same("out", kept, out, 64 * sizeof *out);
}

static void check_refusals(void)
{
    any_matrix(&left, 2, 40, 32);
    const qb_floats x = any_activations(2, 40);
    for (int planes = -1; planes <= 5; planes++)
        if (planes < 1 || planes > 3) refused_case("planes", &left.q, &x, planes, QB_ERR_ARGUMENT);
    for (int dtype = QB_U8; dtype < QB_F32; dtype++) {
        qb_floats wrong = x;
        wrong.dtype = dtype;
        refused_case("dtype", &left.q, &wrong, 1, QB_ERR_ARGUMENT);
    }
    qb_floats wrong = x;
    wrong.cols = 39;
    refused_case("columns", &left.q, &wrong, 1, QB_ERR_ARGUMENT);
    for (int i = 0; i < 6; i++) {
        static const char *const names[] = {"bits 0", "bits 9", "zero", "scale", "group", "size"};
        qb_matrix q = left.q;
        if (i == 0) q.format.bits = 0;
        if (i == 1) q.format.bits = 9;
        if (i == 2) q.format.zero = 3;
        if (i == 3) q.format.scale = QB_F64;
        if (i == 4) q.format.group = 0;
        if (i == 5) q.rows = SIZE_MAX / 8;
        refused_case(names[i], &q, &x, 1, i == 5 ? QB_ERR_SIZE : QB_ERR_ARGUMENT);
    }
}

// ---- dot products of rows -----------------------------------------------------------------------

static float defined_dot(const qb_matrix *a, size_t ra, const qb_matrix *b, size_t rb)
{
    double total = 0;
    for (size_t k = 0; k < a->cols;) {
        const size_t group = matrix_group(a), start = k, group_end = (k / group + 1) * group;
        int64_t ab = 0, sa = 0, sb = 0;
        for (; k < a->cols && k < group_end && k < start + 256; k++) {
            const int qa = matrix_integer(a, ra, k), qb = matrix_integer(b, rb, k);
            ab += qa * qb;
            sa += qa;
            sb += qb;
        }
        const double da = (double)matrix_scale(a, ra, start), ma = (double)matrix_min(a, ra, start);
        const double db = (double)matrix_scale(b, rb, start), mb = (double)matrix_min(b, rb, start);
        total += (da * db) * (double)ab;
        if (!a->mins && !b->mins) continue;
        total += (da * mb) * (double)sa + (db * ma) * (double)sb;
        total += (ma * mb) * (double)(k - start);
    }
    return (float)total;
}

// All pairs of rows of left and right at once, row by row of either.
static void products_case(size_t m, size_t n)
{
    static struct buffer all, defined;
    const int turned = (int)ck_below(2);
    const ptrdiff_t step_a = turned ? 1 : (ptrdiff_t)n, step_b = turned ? (ptrdiff_t)m : 1;
    float *const a = place_floats(&defined, m * n, CK_END), *const b = place_floats(&all, m * n, CK_END);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++)
            a[(ptrdiff_t)i * step_a + (ptrdiff_t)j * step_b] = defined_dot(&left.q, i, &right.q, j);
    ck_same_u64("products", QB_OK, (uint64_t)qb_products(&left.q, &right.q, b, step_a, step_b));
    ck_same("all pairs", a, b, m * n * sizeof *a);
    ck_canaries(&all);
}

static void dot_case(size_t group)
{
    if (ck_skip()) return;
    enum { COUNT = 12 };
    const size_t cols = ck_below(3) ? ck_below(300) : ck_below(1500);
    const size_t rows[2] = {1 + ck_below(6), 1 + ck_below(6)};
    any_matrix(&left, rows[0], cols, group);
    any_matrix(&right, rows[1], cols, group);
    ck_case("bits=%d,%d zero=%d,%d group=%zu cols=%zu", left.q.format.bits, right.q.format.bits,
            left.q.format.zero, right.q.format.zero, group, cols);
    float *const a = place_floats(&want, COUNT, CK_END);
    float *const b = place_floats(&got, COUNT, CK_END);
    int64_t at[2][COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        at[0][i] = (int64_t)ck_below(rows[0]);
        at[1][i] = (int64_t)ck_below(rows[1]);
        a[i] = defined_dot(&left.q, (size_t)at[0][i], &right.q, (size_t)at[1][i]);
    }
    ck_same_u64("status", QB_OK, (uint64_t)qb_vecdot(&left.q, at[0], &right.q, at[1], COUNT, b));
    ck_same("out", a, b, COUNT * sizeof *a);
    ck_canaries(&got);
    products_case(rows[0], rows[1]);
    at[ck_below(2)][ck_below(COUNT)] = ck_below(2) ? -1 : 6;
    memcpy(a, b, COUNT * sizeof *a);
    ck_same_u64("a row that is not", QB_ERR_ARGUMENT,
                (uint64_t)qb_vecdot(&left.q, at[0], &right.q, at[1], COUNT, b));
    ck_same("out", a, b, COUNT * sizeof *a);
}

static void check_dot_refusals(void)
{
    const int64_t row = 0;
    float out;
    any_matrix(&left, 1, 64, 32);
    any_matrix(&right, 1, 64, 16);
    ck_same_u64("groups", QB_ERR_ARGUMENT,
                (uint64_t)qb_vecdot(&left.q, &row, &right.q, &row, 1, &out));
    any_matrix(&right, 1, 63, 32);
    ck_same_u64("lengths", QB_ERR_ARGUMENT,
                (uint64_t)qb_vecdot(&left.q, &row, &right.q, &row, 1, &out));
    any_matrix(&right, 1, 64, 32);
    right.q.format.bits = 9;
    ck_same_u64("format", QB_ERR_ARGUMENT,
                (uint64_t)qb_vecdot(&left.q, &row, &right.q, &row, 1, &out));
}

static void check(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    (void)ref;
    (void)test;
    if (ck_kernel("qb_matmul"))
        for (int i = 0; i < 60 * GROUP_SIZES; i++) product_case(group_sizes[i % GROUP_SIZES]);
    if (ck_kernel("qb_matmul_parts"))
        for (int i = 0; i < 24; i++) parts_case();
    if (ck_kernel("qb_matmul_environment")) check_environment();
    if (ck_kernel("qb_matmul_refusals")) check_refusals();
    if (ck_kernel("qb_vecdot"))
        for (int i = 0; i < 60 * GROUP_SIZES; i++) dot_case(group_sizes[i % GROUP_SIZES]);
    if (ck_kernel("qb_vecdot_refusals")) check_dot_refusals();
}

const struct suite suite_api_matmul = {"api_matmul", SUITE_API, check, NULL};
