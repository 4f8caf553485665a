// SPDX-License-Identifier: Apache-2.0
#include "block_fields.h"

#include "../base/target.h"
#include "../kernels/codebooks.h"
#include "side_by_side.h"

#include <string.h>

// bits: of a stored code. The fields are up to two of 16 bits and a run of bytes; bit: where bit b of the
// stored code of element i lies in the block, from its first byte's low bit on. half: codes are nibbles, runs of
// so many (8, 16, 32) in the low ones, the next in the high ones of the same bytes; runs of 16 are folded as they
// lie. 0: they are not.
struct parts {
    int bits;
    int halves[2]; // offsets; -1: none
    int bytes, first; // how many bytes, from which on
    size_t (*bit)(size_t i, size_t b);
    const uint8_t *table;
    size_t half;
};

// Two runs of `half` codes share bytes, the first in the low nibbles.
static size_t nibble(size_t i, size_t b, size_t half)
{
    return (i / (2 * half) * half + i % half) * 8 + i % (2 * half) / half * 4 + b;
}

// Four runs of 32 codes share bytes, 2 bits each.
static size_t pair(size_t i, size_t b) { return (i / 128 * 32 + i % 32) * 8 + i % 128 / 32 * 2 + b; }

static size_t dense_1(size_t i, size_t b) { return 2 * 8 + i + b; }
static size_t dense_2(size_t i, size_t b) { return 2 * 8 + 2 * i + b; }
static size_t bytes_8(size_t i, size_t b) { return 2 * 8 + 8 * i + b; }
static size_t nibbles_2(size_t i, size_t b) { return 2 * 8 + nibble(i, b, 16); }
static size_t nibbles_4(size_t i, size_t b) { return 4 * 8 + nibble(i, b, 16); }
static size_t nibbles_1(size_t i, size_t b) { return 1 * 8 + nibble(i, b, 16); }
static size_t bits_q5_0(size_t i, size_t b) { return b < 4 ? 6 * 8 + nibble(i, b, 16) : 2 * 8 + i; }
static size_t bits_q5_1(size_t i, size_t b) { return b < 4 ? 8 * 8 + nibble(i, b, 16) : 4 * 8 + i; }
static size_t bits_nvfp4(size_t i, size_t b) { return 4 * 8 + nibble(i, b, 8); }
static size_t bits_tq2_0(size_t i, size_t b) { return pair(i, b); }
static size_t bits_q2_K(size_t i, size_t b) { return 16 * 8 + pair(i, b); }
static size_t bits_q3_K(size_t i, size_t b) { return b < 2 ? 32 * 8 + pair(i, b) : i % 32 * 8 + i / 32; }
static size_t bits_q4_K(size_t i, size_t b) { return 16 * 8 + nibble(i, b, 32); }
static size_t bits_q5_K(size_t i, size_t b) { return b < 4 ? 48 * 8 + nibble(i, b, 32) : (16 + i % 32) * 8 + i / 32; }
static size_t bits_q6_K(size_t i, size_t b)
{
    // Codes 0..63 of a half are in its low nibbles, the next 64 in the high ones.
    return b < 4 ? nibble(i, b, 64) : 128 * 8 + pair(i, b - 4);
}
static size_t bits_iq4_xs(size_t i, size_t b) { return 8 * 8 + nibble(i, b, 16); }

static const struct parts types[QB_BLOCK_COUNT] = {
    [QB_BLOCK_q1_0] = {1, {0, -1}, 0, 0, dense_1, NULL, 0},
    [QB_BLOCK_q2_0] = {2, {0, -1}, 0, 0, dense_2, NULL, 0},
    [QB_BLOCK_q4_0] = {4, {0, -1}, 0, 0, nibbles_2, NULL, 16},
    [QB_BLOCK_q4_1] = {4, {0, 2}, 0, 0, nibbles_4, NULL, 16},
    [QB_BLOCK_q5_0] = {5, {0, -1}, 0, 0, bits_q5_0, NULL, 0},
    [QB_BLOCK_q5_1] = {5, {0, 2}, 0, 0, bits_q5_1, NULL, 0},
    [QB_BLOCK_q8_0] = {8, {0, -1}, 0, 0, bytes_8, NULL, 0},
    [QB_BLOCK_q2_K] = {2, {80, 82}, 16, 0, bits_q2_K, NULL, 0},
    [QB_BLOCK_q3_K] = {3, {108, -1}, 12, 96, bits_q3_K, NULL, 0},
    [QB_BLOCK_q4_K] = {4, {0, 2}, 12, 4, bits_q4_K, NULL, 32},
    [QB_BLOCK_q5_K] = {5, {0, 2}, 12, 4, bits_q5_K, NULL, 0},
    [QB_BLOCK_q6_K] = {6, {208, -1}, 16, 192, bits_q6_K, NULL, 0},
    [QB_BLOCK_iq4_nl] = {4, {0, -1}, 0, 0, nibbles_2, qb_iq4, 16},
    [QB_BLOCK_iq4_xs] = {4, {0, 2}, 4, 4, bits_iq4_xs, qb_iq4, 16},
    [QB_BLOCK_tq2_0] = {2, {64, -1}, 0, 0, bits_tq2_0, NULL, 0},
    [QB_BLOCK_mxfp4] = {4, {-1, -1}, 1, 0, nibbles_1, qb_fp4, 16},
    [QB_BLOCK_nvfp4] = {4, {-1, -1}, 4, 0, bits_nvfp4, qb_fp4, 8},
};

int qb_block_stored_bits(const qb_format *format) { return types[format->block].bits; }

const uint8_t *qb_block_table(const qb_format *format) { return types[format->block].table; }

static size_t halves_of(const struct parts *t) { return (size_t)(t->halves[0] >= 0) + (size_t)(t->halves[1] >= 0); }

size_t qb_block_field_bytes(const qb_format *format)
{
    const struct parts *const t = &types[format->block];
    return t->bits ? 2 * halves_of(t) + (size_t)t->bytes : qb_block_type_of(format->block)->bytes;
}

int qb_block_halves(const qb_format *format)
{
    const struct parts *const t = &types[format->block];
    return t->bytes ? 0 : (int)halves_of(t);
}

void qb_block_take_fields(const struct qb_kernels *k, const qb_format *format, const uint8_t *blocks, size_t row_bytes,
                          size_t rows, size_t count, uint8_t *fields)
{
    const struct parts *const t = &types[format->block];
    const size_t block = qb_block_type_of(format->block)->bytes, step = qb_block_field_bytes(format) * QB_LANES;
    for (size_t h = 0; h < halves_of(t); h++, fields += 2 * QB_LANES) {
        for (size_t r = 0; r < rows; r++) {
            const uint8_t *const from = blocks + r * row_bytes + t->halves[h];
            for (size_t i = 0; i < count; i++) memcpy(fields + i * step + 2 * r, from + i * block, 2);
        }
    }
    for (size_t i = 0; i < count && t->bytes; i++) {
        const uint8_t *const from = blocks + i * block + t->first;
        uint8_t *const to = fields + i * step;
        const int together = rows == QB_LANES && t->bytes >= 4;
        if (together) qb_side_by_side(k, from, row_bytes, 1, (size_t)t->bytes, to);
        for (size_t b = 0; b < (size_t)t->bytes && !together; b++)
            for (size_t r = 0; r < rows; r++) to[b * QB_LANES + r] = from[r * row_bytes + b];
    }
}

void qb_block_put_fields(const qb_format *format, const uint8_t *fields, size_t lane, uint8_t *block)
{
    const struct parts *const t = &types[format->block];
    for (size_t h = 0; h < halves_of(t); h++, fields += 2 * QB_LANES) memcpy(block + t->halves[h], fields + 2 * lane, 2);
    for (int i = 0; i < t->bytes; i++, fields += QB_LANES) block[t->first + i] = fields[lane];
}

// Symmetric bytes are stored in two's complement.
static uint8_t flip_of(const qb_format *format) { return format->block == QB_BLOCK_q8_0 ? 0x80 : 0; }

// Nibbles of 8 bytes and of those d behind them: the low ones go together, since the units they are codes of lie
// 4 apart in one octet, and so do the high ones.
static inline void fold_nibbles(const uint8_t *in, const size_t d, uint8_t *out)
{
    const uint64_t low = 0x0F0F0F0F0F0F0F0Fu;
    uint64_t x, y;
    memcpy(&x, in, 8);
    memcpy(&y, in + d, 8);
    const uint64_t lows = (x & low) | (y & low) << 4, highs = (x >> 4 & low) | (y & ~low);
    memcpy(out, &lows, 8);
    memcpy(out + d, &highs, 8);
}

enum { AHEAD = 4096 }; // bytes: rows lie one after another, and are often shorter than this

// Blocks whose codes are nibbles, d = 8 or 16 as above, or 0: as they lie.
static inline void fold_blocks(const qb_block_type *type, const uint8_t *block, size_t count, const size_t d,
                               uint8_t *out)
{
    const size_t step = d == 16 ? 32 : 16;
    for (; count--; block += type->bytes) {
        for (size_t i = 0; i < type->elements / 2; i += step, out += step) {
            QB_PREFETCH(block + i + AHEAD);
            if (d == 0) memcpy(out, block + i, 16);
            else fold_nibbles(block + i, d, out);
            if (d == 16) fold_nibbles(block + i + 8, d, out + 8);
        }
    }
}

void qb_block_fold(const struct qb_kernels *k, const qb_format *format, const uint8_t *blocks, size_t col, size_t n,
                   uint8_t *out)
{
    const struct parts *const t = &types[format->block];
    const qb_block_type *const type = qb_block_type_of(format->block);
    const uint8_t *const first = blocks + col / type->elements * type->bytes + t->bit(0, 0) / 8;
    const size_t count = n / type->elements;
    if (t->half == 8) {
        fold_blocks(type, first, count, 8, out);
    } else if (t->half == 16) {
        fold_blocks(type, first, count, 0, out);
    } else if (t->half == 32) {
        fold_blocks(type, first, count, 16, out);
    } else {
        uint8_t codes[QB_FOLD_MOST];
        for (size_t i = 0; i < count * type->bytes; i += 64) QB_PREFETCH(first + i + AHEAD);
        qb_block_codes(k, format, blocks, col, n, codes);
        if (format->block == QB_BLOCK_q1_0) // counted 0 and 2
            for (size_t i = 0; i < n; i++) codes[i] = (uint8_t)(codes[i] / 2);
        k->fold_codes(codes, n / 32, t->bits, out);
    }
}

void qb_block_put_codes(const qb_format *format, const uint8_t *codes, uint8_t *block)
{
    const struct parts *const t = &types[format->block];
    const qb_block_type *const type = qb_block_type_of(format->block);
    const uint8_t flip = flip_of(format);
    for (size_t i = 0; i < type->elements; i++) {
        for (size_t b = 0; b < (size_t)t->bits; b++) {
            const size_t bit = t->bit(i, b);
            block[bit / 8] = (uint8_t)(block[bit / 8] | ((codes[i] ^ flip) >> b & 1) << bit % 8);
        }
    }
}
