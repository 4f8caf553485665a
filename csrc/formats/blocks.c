// SPDX-License-Identifier: Apache-2.0
#include "blocks.h"

#include "../base/checked.h"
#include "../base/float16.h"

#include <string.h>

// Symmetric codes have z = 2^(bits-1); those of ternary types, which that would cost a bit, say z = 1 as
// formats with zero points do. Parameters that are products of a scale and a small integer are floats.
// `group` is a segment: elements that share a scale.
enum { RTN = 1 << QB_SEARCH_RTN, MSE = 1 << QB_SEARCH_MSE | 1 << QB_SEARCH_BEST };
#define BLOCK(type, elements, bytes, group, bits, zero, scale, searches)                                        \
    [QB_BLOCK_##type] = {#type, elements, bytes, searches,                                                      \
                         {bits, QB_ZERO_##zero, QB_##scale, 0, group, QB_BLOCK_##type}},
static const qb_block_type types[QB_BLOCK_COUNT] = {
    BLOCK(q1_0, 128, 18, 128, 1, NONE, F16, RTN)
    BLOCK(q2_0, 64, 18, 64, 2, POINT, F16, RTN)
    BLOCK(q4_0, 32, 18, 32, 4, NONE, F16, RTN)
    BLOCK(q4_1, 32, 20, 32, 4, MIN, F16, RTN)
    BLOCK(q5_0, 32, 22, 32, 5, NONE, F16, RTN)
    BLOCK(q5_1, 32, 24, 32, 5, MIN, F16, RTN)
    BLOCK(q8_0, 32, 34, 32, 8, NONE, F16, RTN)
    BLOCK(q8_1, 32, 36, 32, 8, NONE, F16, RTN)
    BLOCK(q2_K, 256, 84, 16, 2, MIN, F32, MSE)
    BLOCK(q3_K, 256, 110, 16, 3, NONE, F32, MSE)
    BLOCK(q4_K, 256, 144, 32, 4, MIN, F32, MSE)
    BLOCK(q5_K, 256, 176, 32, 5, MIN, F32, MSE)
    BLOCK(q6_K, 256, 210, 16, 6, NONE, F32, MSE)
    BLOCK(q8_K, 256, 292, 256, 8, NONE, F32, RTN)
    BLOCK(iq1_s, 256, 50, 32, 5, NONE, F32, MSE)
    BLOCK(iq1_m, 256, 56, 16, 5, NONE, F32, MSE)
    BLOCK(iq2_xxs, 256, 66, 32, 7, NONE, F32, MSE)
    BLOCK(iq2_xs, 256, 74, 16, 7, NONE, F32, MSE)
    BLOCK(iq2_s, 256, 82, 16, 7, NONE, F32, MSE)
    BLOCK(iq3_xxs, 256, 98, 32, 7, NONE, F32, MSE)
    BLOCK(iq3_s, 256, 110, 32, 5, NONE, F32, MSE)
    BLOCK(iq4_nl, 32, 18, 32, 8, NONE, F16, MSE)
    BLOCK(iq4_xs, 256, 136, 32, 8, NONE, F32, MSE)
    BLOCK(tq1_0, 256, 54, 256, 2, POINT, F16, RTN)
    BLOCK(tq2_0, 256, 66, 256, 2, POINT, F16, RTN)
    BLOCK(mxfp4, 32, 17, 32, 5, NONE, F32, RTN)
    BLOCK(nvfp4, 64, 36, 16, 5, NONE, F32, MSE)
};

enum { MOST_ELEMENTS = 256, MOST_SEGMENTS = 16 }; // of a block

const qb_block_type *qb_block_type_of(int block)
{
    return block > QB_BLOCK_NONE && block < QB_BLOCK_COUNT ? &types[block] : NULL;
}

int qb_block_legal(const qb_format *f, size_t cols)
{
    const qb_block_type *const type = qb_block_type_of(f->block);
    if (!type || cols % type->elements) return 0;
    const qb_format *const t = &type->format;
    return f->bits == t->bits && f->zero == t->zero && f->scale == t->scale && f->per_tensor == t->per_tensor &&
           f->group == t->group;
}

size_t qb_block_bytes(const qb_format *format, size_t n)
{
    const qb_block_type *const type = &types[format->block];
    return n / type->elements * type->bytes;
}

float qb_block_zero(const qb_format *format)
{
    switch (format->zero) {
    case QB_ZERO_NONE: return (float)(1 << (format->bits - 1));
    case QB_ZERO_POINT: return 1.0f;
    default: return 0.0f;
    }
}

void qb_block_codes(const struct qb_kernels *k, const qb_format *format, const uint8_t *blocks, size_t col, size_t n,
                    uint8_t *codes)
{
    const qb_block_type *const type = &types[format->block];
    qb_block_codes_fn *const decode = k->block_codes[format->block];
    const uint8_t *from = blocks + col / type->elements * type->bytes;
    uint8_t whole[MOST_ELEMENTS];
    const size_t skip = col % type->elements;
    if (skip && n) { // from the middle of a block
        const size_t head = qb_min(n, type->elements - skip);
        decode(from, 1, whole);
        memcpy(codes, whole + skip, head);
        from += type->bytes;
        codes += head;
        n -= head;
    }
    const size_t count = n / type->elements, rest = n % type->elements;
    decode(from, count, codes);
    if (!rest) return;
    decode(from + count * type->bytes, 1, whole);
    memcpy(codes + count * type->elements, whole, rest);
}

static void make_canonical(float *x, size_t n)
{
    const float nan = qb_bits_float(0x7FC00000u);
    for (size_t i = 0; i < n; i++) x[i] = x[i] == x[i] ? x[i] : nan;
}

// Segments [first, first + n) of one block.
static void some_params(qb_block_params_fn *decode, const uint8_t *block, size_t first, size_t n, float *d, float *m)
{
    float all_d[MOST_SEGMENTS], all_m[MOST_SEGMENTS];
    decode(block, 1, all_d, all_m);
    memcpy(d, all_d + first, n * sizeof *d);
    if (m) memcpy(m, all_m + first, n * sizeof *m);
}

static void all_params(const struct qb_kernels *k, const qb_format *format, const uint8_t *blocks, size_t first,
                       size_t n, float *d, float *m)
{
    const qb_block_type *const type = &types[format->block];
    qb_block_params_fn *const decode = k->block_params[format->block];
    const size_t segments = type->elements / type->format.group, skip = first % segments;
    const uint8_t *from = blocks + first / segments * type->bytes;
    size_t done = 0;
    if (skip && n) {
        done = qb_min(n, segments - skip);
        some_params(decode, from, skip, done, d, m);
        from += type->bytes;
    }
    const size_t count = (n - done) / segments, rest = (n - done) % segments;
    decode(from, count, d + done, m ? m + done : NULL);
    done += count * segments;
    if (rest) some_params(decode, from + count * type->bytes, 0, rest, d + done, m ? m + done : NULL);
    make_canonical(d, n);
    if (m) make_canonical(m, n);
}

void qb_block_params(const struct qb_kernels *k, const qb_format *format, const uint8_t *blocks, size_t first,
                     size_t n, float *d, float *m)
{
    enum { RUN = 256 };
    const int has_min = format->zero == QB_ZERO_MIN;
    if (d && (m || !has_min)) {
        all_params(k, format, blocks, first, n, d, has_min ? m : NULL);
        return;
    }
    float unread[RUN]; // kernels write both
    for (size_t i = 0; i < n; i += RUN) {
        const size_t count = qb_min(n - i, RUN);
        if (d) all_params(k, format, blocks, first + i, count, d + i, unread);
        else if (m && has_min) all_params(k, format, blocks, first + i, count, unread, m + i);
    }
}
