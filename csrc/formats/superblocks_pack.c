// SPDX-License-Identifier: Apache-2.0
// Codes and scales to the bytes of a block: the inverse of kernels/blocks_scalar.c.
#include "superblocks.h"

#include <string.h>

static void put_u16(uint8_t *p, uint16_t x)
{
    p[0] = (uint8_t)x;
    p[1] = (uint8_t)(x >> 8);
}

// Two bits of each of 128 codes, from bit `shift` on, in four layers.
static void put_quarters(const uint8_t *codes, int shift, uint8_t *qs)
{
    for (int j = 0; j < 32; j++) {
        const int a = codes[j] >> shift & 3, b = codes[32 + j] >> shift & 3;
        const int c = codes[64 + j] >> shift & 3, d = codes[96 + j] >> shift & 3;
        qs[j] = (uint8_t)(a | b << 2 | c << 4 | d << 6);
    }
}

// Four bits of codes `stride` apart.
static void put_nibbles(const uint8_t *codes, size_t stride, uint8_t *qs)
{
    for (size_t j = 0; j < stride; j++) qs[j] = (uint8_t)((codes[j] & 15) | codes[stride + j] << 4);
}

// Bit `shift` of code 32c + j to bit c of byte j.
static void put_plane(const uint8_t *codes, int shift, uint8_t *high)
{
    memset(high, 0, 32);
    for (int c = 0; c < 8; c++)
        for (int j = 0; j < 32; j++) high[j] |= (uint8_t)((codes[32 * c + j] >> shift & 1) << c);
}

static void pack_q2_K(const struct qb_super *s, uint8_t *b)
{
    for (int j = 0; j < 16; j++) b[j] = (uint8_t)(s->scales[j] | s->mins[j] << 4);
    put_quarters(s->codes, 0, b + 16);
    put_quarters(s->codes + 128, 0, b + 48);
    put_u16(b + 80, s->d);
    put_u16(b + 82, s->m);
}

static void pack_q3_K(const struct qb_super *s, uint8_t *b)
{
    put_plane(s->codes, 2, b);
    put_quarters(s->codes, 0, b + 32);
    put_quarters(s->codes + 128, 0, b + 64);
    memset(b + 96, 0, 12);
    for (int j = 0; j < 16; j++) {
        const int scale = s->scales[j] + 32;
        b[96 + j % 8] |= (uint8_t)((scale & 15) << j / 8 * 4);
        b[104 + j % 4] |= (uint8_t)(scale >> 4 << j / 4 * 2);
    }
    put_u16(b + 108, s->d);
}

static void put_six_bits(const struct qb_super *s, uint8_t *b)
{
    put_u16(b, s->d);
    put_u16(b + 2, s->m);
    for (int j = 0; j < 4; j++) {
        const int d = s->scales[j + 4], m = s->mins[j + 4];
        b[4 + j] = (uint8_t)(s->scales[j] | d >> 4 << 6);
        b[8 + j] = (uint8_t)(s->mins[j] | m >> 4 << 6);
        b[12 + j] = (uint8_t)((d & 15) | (m & 15) << 4);
    }
}

static void pack_q4_K(const struct qb_super *s, uint8_t *b)
{
    put_six_bits(s, b);
    for (int c = 0; c < 4; c++) put_nibbles(s->codes + 64 * c, 32, b + 16 + 32 * c);
}

static void pack_q5_K(const struct qb_super *s, uint8_t *b)
{
    put_six_bits(s, b);
    put_plane(s->codes, 4, b + 16);
    for (int c = 0; c < 4; c++) put_nibbles(s->codes + 64 * c, 32, b + 48 + 32 * c);
}

static void pack_q6_K(const struct qb_super *s, uint8_t *b)
{
    for (int h = 0; h < 2; h++) {
        put_nibbles(s->codes + 128 * h, 64, b + 64 * h);
        put_quarters(s->codes + 128 * h, 4, b + 128 + 32 * h);
    }
    for (int j = 0; j < 16; j++) b[192 + j] = (uint8_t)s->scales[j];
    put_u16(b + 208, s->d);
}

void qb_super_pack(int block, const struct qb_super *s, uint8_t *out)
{
    switch (block) {
    case QB_BLOCK_q2_K: pack_q2_K(s, out); break;
    case QB_BLOCK_q3_K: pack_q3_K(s, out); break;
    case QB_BLOCK_q4_K: pack_q4_K(s, out); break;
    case QB_BLOCK_q5_K: pack_q5_K(s, out); break;
    default: pack_q6_K(s, out);
    }
}
