// SPDX-License-Identifier: Apache-2.0
// The affine formats: how the range of a group becomes its scale, minimum and zero point, and how a
// search improves them. All parameters here are *effective*: the float values of what is stored.
#ifndef QB_AFFINE_H
#define QB_AFFINE_H

#include "../kernels/kernels.h"
#include "../qbits.h"

// What a group's parameters are derived from.
struct qb_range {
    float lo, hi;    // least and greatest value
    float extreme;   // the value of largest magnitude, the first of them
    float low, high; // one bit only: the two levels, see qb_affine_levels
};

// A group's parameters: x = d * (q - z) + m (m only with QB_ZERO_MIN). q is the code as an unsigned
// number: symmetric codes carry z = 2^(bits-1), one-bit symmetric codes count 0 and 2 with z = 1.
struct qb_params {
    float d, m, z;
};

// Round-to-nearest parameters. Returns 0 where d or m overflows the scale type.
int qb_affine_rtn(const qb_format *format, const struct qb_range *range, struct qb_params *out);

// 1 / d, or 0 where d is zero or so small that 1 / d is not finite (the group then counts as zero).
float qb_affine_inverse(float d);

// Looks for parameters of lower (weighted) squared error for QB_LANES groups of n elements each.
// x, w: lane layout of the fit kernel (w may be NULL). params: on entry those of round-to-nearest, on
// return those to use: never of larger error, summed in double over the values as dequantized.
void qb_affine_search(const struct qb_kernels *k, const qb_format *format, int search, const float *x,
                      const float *w, size_t n, struct qb_params params[QB_LANES]);

#endif
