// SPDX-License-Identifier: Apache-2.0
// Little-endian fields of block types, at any address.
#ifndef QB_BYTES_H
#define QB_BYTES_H

#include "../base/float16.h"

static inline uint16_t qb_u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

static inline uint32_t qb_u32(const uint8_t *p) { return qb_u16(p) | (uint32_t)qb_u16(p + 2) << 16; }

static inline float qb_f16_at(const uint8_t *p) { return qb_f16_to_f32(qb_u16(p)); }

static inline float qb_f32_at(const uint8_t *p) { return qb_bits_float(qb_u32(p)); }

// 2^(e - 128), half of the scale: codes are twice the values. The larger of what is right from e = 2 on and below,
// where it is subnormal.
static inline float qb_e8m0_half(uint32_t e)
{
    const int32_t normal = (int32_t)(e << 23) - 0x00800000, small = (int32_t)((e + 1) << 21);
    return qb_bits_float((uint32_t)(normal > small ? normal : small));
}

// Half of an unsigned e4m3 number; 0x7F stands for zero, and the top bit for nothing.
static inline float qb_ue4m3_half(int u)
{
    const int e = u >> 3 & 15, f = u & 7;
    if (u == 0x7F) return 0;
    return e ? qb_bits_float((uint32_t)(e - 8 + 127) << 23 | (uint32_t)f << 20) : (float)f * 0x1p-10f;
}

static inline void qb_put_u16(uint8_t *p, uint16_t x)
{
    p[0] = (uint8_t)x;
    p[1] = (uint8_t)(x >> 8);
}

// Returns whether x is finite as a half.
static inline int qb_put_f16(uint8_t *p, float x)
{
    const uint16_t half = qb_f32_to_f16(x);
    qb_put_u16(p, half);
    return (half & 0x7FFF) < 0x7C00;
}

#endif
