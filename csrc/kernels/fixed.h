// SPDX-License-Identifier: Apache-2.0
// What the fixed rules of block types do once a block, on any tier.
#ifndef QB_FIXED_H
#define QB_FIXED_H

#include "../base/inverse.h"
#include "../base/target.h"
#include "bytes.h"

#include <float.h>
#include <math.h>

// The first value of largest magnitude.
QB_INLINE float extreme_of(const float *x, size_t n)
{
    float most = 0, extreme = 0;
    for (size_t i = 0; i < n; i++) {
        if (!(fabsf(x[i]) > most)) continue;
        most = fabsf(x[i]);
        extreme = x[i];
    }
    return extreme;
}

QB_INLINE void put_u32(uint8_t *p, uint32_t x)
{
    qb_put_u16(p, (uint16_t)x);
    qb_put_u16(p + 2, (uint16_t)(x >> 16));
}

// Codes `stride` apart as the digits of fractions in base 3, rounded up: the first is the highest of five.
QB_INLINE void put_trits(const uint8_t *codes, size_t stride, int digits, uint8_t *qs)
{
    for (size_t j = 0; j < stride; j++) {
        unsigned q = 0;
        for (size_t c = 0; c < 5; c++) q = q * 3 + (c < (size_t)digits ? codes[c * stride + j] : 0);
        qs[j] = (uint8_t)((q * 256 + 242) / 243);
    }
}

// ---- mxfp4 --------------------------------------------------------------------------------------------

// Numbers are multiples of half the scale: 0 1 2 3 4 6 8 12. A tie takes the smaller magnitude.
static const float mxfp4_middle[7] = {0.5f, 1.5f, 2.5f, 3.5f, 5.0f, 7.0f, 10.0f};

// floor(log2(amax)) with the logarithm rounded to float, which makes the few floats right below a power of
// two count as that power: 2^a ln 2 of them, where its exponent is in (2^a, 2^(a+1)], or in [.., ..) below 0.
QB_INLINE int rounded_log2(float amax)
{
    static const uint8_t below[8] = {0, 0, 1, 2, 5, 11, 22, 44}; // a = -1 .. 6
    const uint32_t bits = qb_float_bits(amax);
    const int e = (int)(bits >> 23) - 127, up = e + 1, size = up > 0 ? up - 1 : -up;
    int a = -1;
    for (int rest = size; rest; rest >>= 1) a++;
    return e + (0x800000 - (bits & 0x7FFFFF) <= below[a + 1]);
}

// The scale's byte.
QB_INLINE uint8_t power_of(float amax)
{
    const int e = amax < FLT_MIN ? 0 : rounded_log2(amax) - 2 + 127;
    return (uint8_t)(e > 0 ? e : 0);
}

#endif
