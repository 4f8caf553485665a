// SPDX-License-Identifier: Apache-2.0
// Defines the parameters of 16 rows of block types side by side.
#include "kernels.h"

#include "../base/target.h"

static void scale_levels(const float *scale, const uint8_t *level, int bias, int sign, float *out)
{
    for (int i = 0; i < QB_LANES; i++) out[i] = (float)sign * (scale[i] * (float)(level[i] - bias));
}

#define WIDEN(half, n, out) qb_widen_f16_scalar(half, n, out)
#define SCALE(scale, level, bias, sign, out) scale_levels(scale, level, bias, sign, out)
#include "lanes.h"

QB_LANES_KERNELS(scalar)
