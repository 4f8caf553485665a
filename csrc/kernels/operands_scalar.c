// SPDX-License-Identifier: Apache-2.0
// Defines how the operands of the multiply are laid out: activations as digits, rows of codes side by side.
#include "kernels.h"

#include "../base/float16.h"

#include <math.h>
#include <string.h>

int qb_split_scalar(const float *x, size_t n, int planes, size_t stride, int8_t *out, float *dx,
                    int32_t *sums)
{
    static const float tops[4] = {0, 0x7F, 0x7F7F, 0x7F7F7F};
    const float top = tops[planes];
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        const uint32_t size = qb_float_bits(x[i]) & 0x7FFFFFFFu;
        if (size > most) most = size;
    }
    if (most >= 0x7F800000u) return 1;
    const float amax = qb_bits_float(most);
    const int nothing = amax < 0x1p-100f;
    *dx = nothing ? 0.0f : amax / top;
    const float inv = nothing ? 0.0f : 1.0f / *dx;
    for (int p = 0; p < planes; p++) sums[p] = 0;
    for (size_t i = 0; i < n; i++) {
        float t = rintf(x[i] * inv);
        t = t > -top ? t : -top;
        t = t < top ? t : top;
        int32_t q = (int32_t)t;
        for (int p = 0; p < planes; p++) {
            const int32_t digit = ((q + 128) & 255) - 128;
            out[(size_t)p * stride + i] = (int8_t)digit;
            sums[p] += digit;
            q = (q - digit) / 256;
        }
    }
    return 0;
}

void qb_interleave_scalar(const uint8_t *rows, size_t stride, size_t n, uint8_t *lines)
{
    for (size_t i = 0; i < n; i += 4) {
        const size_t count = n - i < 4 ? n - i : 4;
        for (size_t r = 0; r < QB_LANES; r++) {
            uint8_t *unit = lines + i * QB_LANES + r * 4;
            memset(unit, 0, 4);
            memcpy(unit, rows + r * stride + i, count);
        }
    }
}
