// SPDX-License-Identifier: Apache-2.0
// Defines how floats become codes and codes floats: one rounding per written operation, ties to even.
#include "kernels.h"

#include "../base/float16.h"
#include "../base/target.h"

#include <math.h>

void qb_widen_f16_scalar(const uint16_t *x, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) out[i] = qb_f16_to_f32(x[i]);
}

void qb_narrow_f16_scalar(const float *x, size_t n, uint16_t *out)
{
    for (size_t i = 0; i < n; i++) out[i] = qb_f32_to_f16(x[i]);
}

void qb_narrow_bf16_scalar(const float *x, size_t n, uint16_t *out)
{
    for (size_t i = 0; i < n; i++) out[i] = qb_f32_to_bf16(x[i]);
}

QB_INLINE float clamp(float t, float lo, float hi)
{
    t = t > lo ? t : lo; // a NaN becomes lo
    return t < hi ? t : hi;
}

void qb_encode_scalar(const float *x, size_t n, size_t group, const float *off, const float *inv,
                      const float *z, float lo, float hi, uint8_t *codes)
{
    for (size_t i = 0, g = 0; i < n; g++) {
        const size_t end = n - i < group ? n : i + group;
        const float base = off ? off[g] : 0, zero = z ? z[g] : 0;
        for (; i < end; i++)
            codes[i] = (uint8_t)(int)clamp(rintf((x[i] - base) * inv[g]) + zero, lo, hi);
    }
}

void qb_decode_scalar(const uint8_t *codes, size_t n, size_t group, const float *d, const float *z,
                      const float *m, float *out)
{
    for (size_t i = 0, g = 0; i < n; g++) {
        const size_t end = n - i < group ? n : i + group;
        const float zero = z ? z[g] : 0;
        for (; i < end; i++) {
            const float value = d[g] * ((float)codes[i] - zero);
            out[i] = m ? value + m[g] : value;
        }
    }
}
