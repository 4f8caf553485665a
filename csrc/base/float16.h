// SPDX-License-Identifier: Apache-2.0
// Sixteen-bit floats in portable C: IEEE half, and bfloat16 (the upper half of a float32).
// Narrowing rounds to nearest even; overflow gives infinity; a NaN becomes the canonical quiet one.
#ifndef QB_FLOAT16_H
#define QB_FLOAT16_H

#include <stdint.h>
#include <string.h>

static inline uint32_t qb_float_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}

static inline float qb_bits_float(uint32_t u)
{
    float x;
    memcpy(&x, &u, 4);
    return x;
}

static inline float qb_bf16_to_f32(uint16_t h) { return qb_bits_float((uint32_t)h << 16); }

static inline uint16_t qb_f32_to_bf16(float x)
{
    const uint32_t u = qb_float_bits(x);
    if ((u & 0x7FFFFFFFu) > 0x7F800000u) return 0x7FC0;
    return (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
}

static inline float qb_f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, magnitude = h & 0x7FFFu;
    if (magnitude > 0x7C00) return qb_bits_float(0x7FC00000u);
    if (magnitude == 0x7C00) return qb_bits_float(sign | 0x7F800000u);
    if (magnitude >= 0x0400) return qb_bits_float(sign | (magnitude + 0x1C000u) << 13);
    const float small = (float)magnitude * 0x1p-24f; // denormal: exact
    return qb_bits_float(sign | qb_float_bits(small));
}

static inline uint16_t qb_f32_to_f16(float x)
{
    const uint32_t u = qb_float_bits(x), magnitude = u & 0x7FFFFFFFu;
    const uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
    if (magnitude > 0x7F800000u) return 0x7E00;
    if (magnitude >= 0x477FF000u) return sign | 0x7C00; // 65520 and above round to infinity
    if (magnitude < 0x38800000u) {                      // below 2^-14: a multiple of 2^-24
        // Adding 0.5 aligns the last kept bit with the last bit of the float; the sum rounds to even.
        const float sum = qb_bits_float(magnitude) + 0.5f;
        return sign | (uint16_t)(qb_float_bits(sum) - 0x3F000000u);
    }
    const uint32_t rounded = magnitude + 0xFFF + (magnitude >> 13 & 1);
    return sign | (uint16_t)((rounded - 0x38000000u) >> 13);
}

#endif
