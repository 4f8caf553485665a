// SPDX-License-Identifier: Apache-2.0
// Little-endian fields of block types, at any address.
#ifndef QB_BYTES_H
#define QB_BYTES_H

#include "../base/float16.h"

static inline uint16_t qb_u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

static inline uint32_t qb_u32(const uint8_t *p) { return qb_u16(p) | (uint32_t)qb_u16(p + 2) << 16; }

static inline float qb_f16_at(const uint8_t *p) { return qb_f16_to_f32(qb_u16(p)); }

static inline float qb_f32_at(const uint8_t *p) { return qb_bits_float(qb_u32(p)); }

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
