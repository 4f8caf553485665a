// SPDX-License-Identifier: Apache-2.0
// What values are multiplied by to come in units of a scale.
#ifndef QB_INVERSE_H
#define QB_INVERSE_H

#include <float.h>
#include <math.h>

// 1/d, or zero where that is not finite: the values then count as zero, and d rounds to it.
static inline float qb_inverse(float d)
{
    const float inv = 1.0f / d;
    return fabsf(inv) <= FLT_MAX ? inv : 0.0f;
}

#endif
