// SPDX-License-Identifier: Apache-2.0
#include "matrices.h"

#include "floats.h"

#include <math.h>

static size_t packed(size_t count, int bits) { return (count * (size_t)bits + 7) / 8; }

static size_t groups(const qb_matrix *q)
{
    return (q->cols + matrix_group(q) - 1) / matrix_group(q);
}

size_t matrix_group(const qb_matrix *q)
{
    const size_t cols = q->cols ? q->cols : 1;
    return q->format.per_tensor || q->format.group > cols ? cols : q->format.group;
}

// ---- floats -------------------------------------------------------------------------------------

static float half_at(uint16_t h)
{
    const int exponent = h >> 10 & 31, fraction = h & 1023;
    const float size = exponent == 31  ? (fraction ? float_of(0x7FC00000) : INFINITY)
                       : exponent == 0 ? ldexpf((float)fraction, -24)
                                       : ldexpf((float)(fraction + 1024), exponent - 25);
    return h >> 15 && exponent != 31 ? -size : h >> 15 && !fraction ? -INFINITY : size;
}

float float_at(const void *p, int dtype)
{
    uint16_t half;
    double wide;
    float x;
    switch (dtype) {
    case QB_F16: return memcpy(&half, p, 2), half_at(half);
    case QB_BF16: return memcpy(&half, p, 2), float_of((uint32_t)half << 16);
    case QB_F64: return memcpy(&wide, p, 8), (float)wide;
    default: return memcpy(&x, p, 4), x;
    }
}

// ---- building -----------------------------------------------------------------------------------

// n finite scales; small ones, so that most sums are finite.
static void *any_scales(struct buffer *b, size_t n, int dtype)
{
    const size_t bytes = dtype == QB_F32 ? 4 : 2;
    uint8_t *const scales =
        ck_place(b, n * bytes, ck_below(2) ? CK_END : (int)(bytes * ck_below(64)));
    for (size_t i = 0; i < n; i++) {
        float x;
        fill_floats(&x, 1, FLOATS_NORMAL);
        x *= ck_below(8) ? 0.01f : ck_below(2) ? 0.0f : 64.0f;
        const uint16_t half = (uint16_t)(ck_random() & 0xBFFF); // of magnitude below 2
        const uint16_t brain = (uint16_t)(bits_of(x) >> 16);
        const void *const from = dtype == QB_F32   ? (const void *)&x
                                 : dtype == QB_F16 ? (const void *)&half
                                                   : (const void *)&brain;
        memcpy(scales + i * bytes, from, bytes);
    }
    return scales;
}

static uint8_t *any_codes(struct buffer *b, size_t rows, size_t count, int bits)
{
    const size_t bytes = rows * packed(count, bits);
    uint8_t *const codes = ck_place(b, bytes, ck_below(2) ? CK_END : (int)ck_below(64));
    ck_fill(codes, bytes);
    if (ck_below(4) == 0) memset(codes, ck_below(2) ? 0xFF : 0, bytes);
    return codes;
}

void any_matrix(struct matrix *m, size_t rows, size_t cols, size_t group)
{
    static const int zeros[] = {QB_ZERO_NONE, QB_ZERO_MIN, QB_ZERO_POINT};
    static const int scales[] = {QB_F16, QB_BF16, QB_F32};
    qb_format *const f = &m->q.format;
    f->bits = 1 + (int)ck_below(QB_MAX_BITS);
    f->zero = zeros[ck_below(3)];
    f->scale = scales[ck_below(3)];
    f->per_tensor = group == 0;
    f->group = group;
    m->q.rows = rows;
    m->q.cols = cols;
    const size_t param_rows = f->per_tensor ? 1 : rows;
    const size_t param_cols = f->per_tensor ? 1 : groups(&m->q);
    m->q.codes = any_codes(&m->codes, rows, cols, f->bits);
    m->q.scales = any_scales(&m->scales, param_rows * param_cols, f->scale);
    m->q.mins =
        f->zero == QB_ZERO_MIN ? any_scales(&m->mins, param_rows * param_cols, f->scale) : NULL;
    m->q.zeros =
        f->zero == QB_ZERO_POINT ? any_codes(&m->zeros, param_rows, param_cols, f->bits) : NULL;
}

// ---- reading ------------------------------------------------------------------------------------

static int code_at(const uint8_t *row, size_t i, int bits)
{
    int code = 0;
    for (int b = 0; b < bits; b++) {
        const size_t bit = i * (size_t)bits + (size_t)b;
        code |= (row[bit / 8] >> bit % 8 & 1) << b;
    }
    return code;
}

int matrix_integer(const qb_matrix *q, size_t r, size_t c)
{
    const int bits = q->format.bits, code = code_at(q->codes + r * packed(q->cols, bits), c, bits);
    if (q->format.zero == QB_ZERO_MIN) return code;
    if (q->format.zero == QB_ZERO_NONE && bits == 1) return 2 * code - 1;
    if (q->format.zero == QB_ZERO_NONE) return code >> (bits - 1) ? code - (1 << bits) : code;
    if (q->format.per_tensor) return code - code_at(q->zeros, 0, bits);
    return code - code_at(q->zeros + r * packed(groups(q), bits), c / matrix_group(q), bits);
}

static float parameter(const qb_matrix *q, const void *from, size_t r, size_t c)
{
    const size_t at = q->format.per_tensor ? 0 : r * groups(q) + c / matrix_group(q);
    return float_at((const uint8_t *)from + at * (q->format.scale == QB_F32 ? 4 : 2),
                    q->format.scale);
}

float matrix_scale(const qb_matrix *q, size_t r, size_t c) { return parameter(q, q->scales, r, c); }

float matrix_min(const qb_matrix *q, size_t r, size_t c)
{
    return q->mins ? parameter(q, q->mins, r, c) : 0;
}
