// SPDX-License-Identifier: Apache-2.0
// Defines the multiply: exact integer sums inside a segment, one fused multiply-add per segment and
// lane, in segment order. Nothing here depends on how many rows or columns are done at once, which is
// why the result depends on neither vector width nor threads nor batch size.
#include "kernels.h"

#include "../base/float16.h"

#include <math.h>
#include <string.h>

int qb_split_scalar(const float *x, size_t n, int planes, size_t stride, int8_t *out, float *dx)
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
    for (size_t i = 0; i < n; i++) {
        float t = rintf(x[i] * inv);
        t = t > -top ? t : -top;
        t = t < top ? t : top;
        int32_t q = (int32_t)t;
        for (int p = 0; p < planes; p++) {
            const int32_t digit = ((q + 128) & 255) - 128;
            out[(size_t)p * stride + i] = (int8_t)digit;
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

void qb_panel_scalar(const struct qb_panel *w, const struct qb_activations *x, float *acc)
{
    const size_t cols = x->cols, planes = (size_t)x->planes;
    for (size_t c = 0; c < cols; c++) {
        size_t unit = 0;
        for (size_t s = 0; s < w->segments; s++) {
            const size_t first = unit;
            unit += w->units[s];
            const int32_t *sums = x->sums + (s * cols + c) * planes;
            const float dx = x->dx[s * cols + c];
            for (size_t r = 0; r < QB_LANES; r++) {
                const size_t at = s * QB_LANES + r;
                int32_t a[3] = {0, 0, 0};
                for (size_t p = 0; p < planes; p++) {
                    for (size_t u = first; u < unit; u++) {
                        const uint8_t *codes = w->lines + (u * QB_LANES + r) * 4;
                        const int8_t *digits = x->digits + ((u * cols + c) * planes + p) * 4;
                        for (int j = 0; j < 4; j++) a[p] += (int32_t)codes[j] * digits[j];
                    }
                    a[p] -= w->z[at] * sums[p];
                }
                const float t = planes == 1   ? (float)a[0]
                                : planes == 2 ? (float)(256 * a[1] + a[0])
                                              : fmaf(256.0f, (float)(256 * a[2] + a[1]), (float)a[0]);
                float *sum = acc + c * QB_LANES + r;
                *sum = fmaf(w->d[at] * dx, t, *sum);
                if (w->m) *sum = fmaf(w->m[at], x->dxsum[s * cols + c], *sum);
            }
        }
    }
}
