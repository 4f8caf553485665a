// SPDX-License-Identifier: Apache-2.0
// Points, signs and scales to the bytes of a block: the inverse of kernels/grids_scalar.c.
#include "gridblocks.h"

#include "../kernels/bytes.h"

#include <string.h>

static void put_u32(uint8_t *p, uint32_t x)
{
    qb_put_u16(p, (uint16_t)x);
    qb_put_u16(p + 2, (uint16_t)(x >> 16));
}

// Scales of `count` segments, two a byte.
static void put_scales(const struct qb_grid_block *s, int count, uint8_t *scales)
{
    for (int i = 0; i < count / 2; i++) scales[i] = (uint8_t)(s->scales[2 * i] | s->scales[2 * i + 1] << 4);
}

// Seven signs of each of 4 groups, and a scale.
static uint32_t signs_and_scale(const struct qb_grid_block *s, int ib)
{
    uint32_t word = (uint32_t)s->scales[ib] << 28;
    for (int g = 0; g < 4; g++) word |= (uint32_t)(s->signs[4 * ib + g] & 127) << 7 * g;
    return word;
}

static void pack_iq2_xxs(const struct qb_grid_block *s, uint8_t *b)
{
    qb_put_u16(b, s->d);
    for (int ib = 0; ib < 8; ib++) {
        for (int g = 0; g < 4; g++) b[2 + 8 * ib + g] = (uint8_t)s->points[4 * ib + g];
        put_u32(b + 6 + 8 * ib, signs_and_scale(s, ib));
    }
}

static void pack_iq2_xs(const struct qb_grid_block *s, uint8_t *b)
{
    qb_put_u16(b, s->d);
    for (int i = 0; i < 32; i++) qb_put_u16(b + 2 + 2 * i, (uint16_t)(s->points[i] | (s->signs[i] & 127) << 9));
    put_scales(s, 16, b + 66);
}

static void pack_iq2_s(const struct qb_grid_block *s, uint8_t *b)
{
    qb_put_u16(b, s->d);
    memset(b + 66, 0, 8);
    for (int i = 0; i < 32; i++) {
        b[2 + i] = (uint8_t)s->points[i];
        b[34 + i] = s->signs[i];
        b[66 + i / 4] |= (uint8_t)(s->points[i] >> 8 << i % 4 * 2);
    }
    put_scales(s, 16, b + 74);
}

static void pack_iq3_xxs(const struct qb_grid_block *s, uint8_t *b)
{
    qb_put_u16(b, s->d);
    for (int i = 0; i < 64; i++) b[2 + i] = (uint8_t)s->points[i];
    for (int ib = 0; ib < 8; ib++) put_u32(b + 66 + 4 * ib, signs_and_scale(s, ib));
}

static void pack_iq3_s(const struct qb_grid_block *s, uint8_t *b)
{
    qb_put_u16(b, s->d);
    memset(b + 66, 0, 8);
    for (int i = 0; i < 64; i++) {
        b[2 + i] = (uint8_t)s->points[i];
        b[66 + i / 8] |= (uint8_t)(s->points[i] >> 8 << i % 8);
    }
    memcpy(b + 74, s->signs, 32);
    put_scales(s, 8, b + 106);
}

static void pack_iq1_s(const struct qb_grid_block *s, uint8_t *b)
{
    qb_put_u16(b, s->d);
    for (int ib = 0; ib < 8; ib++) {
        unsigned high = (unsigned)s->scales[ib] << 12 | (unsigned)s->signs[4 * ib] << 15;
        for (int g = 0; g < 4; g++) {
            b[2 + 4 * ib + g] = (uint8_t)s->points[4 * ib + g];
            high |= (unsigned)(s->points[4 * ib + g] >> 8) << 3 * g;
        }
        qb_put_u16(b + 34 + 2 * ib, (uint16_t)high);
    }
}

static void pack_iq1_m(const struct qb_grid_block *s, uint8_t *b)
{
    memset(b + 32, 0, 16);
    for (int i = 0; i < 32; i++) {
        b[i] = (uint8_t)s->points[i];
        b[32 + i / 2] |= (uint8_t)((s->points[i] >> 8 | s->signs[i] << 3) << i % 2 * 4);
    }
    for (int i = 0; i < 4; i++) { // four scales of 3 bits, and a nibble of the block's, in each
        unsigned word = (unsigned)(s->d >> 4 * i & 15) << 12;
        for (int j = 0; j < 4; j++) word |= (unsigned)s->scales[4 * i + j] << 3 * j;
        qb_put_u16(b + 48 + 2 * i, (uint16_t)word);
    }
}

void qb_grid_pack(int block, const struct qb_grid_block *s, uint8_t *out)
{
    switch (block) {
    case QB_BLOCK_iq1_s: pack_iq1_s(s, out); break;
    case QB_BLOCK_iq1_m: pack_iq1_m(s, out); break;
    case QB_BLOCK_iq2_xxs: pack_iq2_xxs(s, out); break;
    case QB_BLOCK_iq2_xs: pack_iq2_xs(s, out); break;
    case QB_BLOCK_iq2_s: pack_iq2_s(s, out); break;
    case QB_BLOCK_iq3_xxs: pack_iq3_xxs(s, out); break;
    default: pack_iq3_s(s, out);
    }
}
