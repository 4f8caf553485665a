// SPDX-License-Identifier: Apache-2.0
// Defines what groups of floats are quantized by: their ends, and scales as they are stored.
#include "kernels.h"

#include "../base/float16.h"

#include <float.h>
#include <math.h>

int qb_range_scalar(const float *x, size_t n, size_t group, float *lo, float *hi)
{
    int bad = 0;
    for (size_t i = 0; i < n; lo++, hi++) {
        const size_t end = n - i < group ? n : i + group;
        float least = x[i], greatest = x[i];
        for (; i < end; i++) {
            bad |= !isfinite(x[i]);
            if (x[i] < least) least = x[i];
            if (x[i] > greatest) greatest = x[i];
        }
        *lo = least + 0.0f; // -0 becomes +0
        *hi = greatest + 0.0f;
    }
    return bad;
}

int qb_extremes_scalar(const float *x, size_t n, size_t group, float *extreme)
{
    int bad = 0;
    for (size_t i = 0; i < n; extreme++) {
        const size_t end = n - i < group ? n : i + group;
        float first = 0;
        for (; i < end; i++) {
            bad |= !isfinite(x[i]);
            if (fabsf(x[i]) > fabsf(first)) first = x[i];
        }
        *extreme = first;
    }
    return bad;
}

int qb_scales_f16_scalar(float *d, size_t n, float *inv)
{
    int bad = 0;
    for (size_t i = 0; i < n; i++) {
        const float rounded = qb_f16_to_f32(qb_f32_to_f16(d[i])), inverse = 1.0f / rounded;
        const int usable = fabsf(inverse) <= FLT_MAX;
        d[i] = usable ? rounded : 0.0f;
        inv[i] = usable ? inverse : 0.0f;
        bad |= !isfinite(rounded);
    }
    return bad;
}
