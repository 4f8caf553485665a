// SPDX-License-Identifier: Apache-2.0
// Defines the multiply: exact integer sums inside a segment, one fused multiply-add per segment and
// lane, in segment order. Nothing here depends on how many rows or columns are done at once, which is
// why the result depends on neither vector width nor threads nor batch size.
#include "kernels.h"

#include <math.h>

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
                    a[p] += w->z ? -w->z[at] * sums[p] : sums[p];
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
