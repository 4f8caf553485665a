// SPDX-License-Identifier: Apache-2.0
// Defines the parameters of 16 rows of block types side by side.
#include "kernels.h"

#include "../base/target.h"

static void scale_levels(const float *scale, const int8_t *level, float *out)
{
    for (int i = 0; i < QB_LANES; i++) out[i] = scale[i] * (float)level[i];
}

#define WIDEN(half, out) qb_widen_f16_scalar(half, QB_LANES, out)
#define SCALE(scale, level, out) scale_levels(scale, level, out)
#include "lanes.h"

QB_LANES_KERNELS(scalar)
