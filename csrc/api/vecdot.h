// SPDX-License-Identifier: Apache-2.0
// The sum of a dot product of two quantized rows, segment by segment.
#ifndef QB_VECDOT_H
#define QB_VECDOT_H

#include "../kernels/kernels.h"

// Parameters of a row's segments.
struct qb_side {
    const float *d, *z, *m;
};

// total plus segment s of n elements, whose integer sums are as the dot kernel gives them.
double qb_add_segment(double total, const struct qb_side *a, const struct qb_side *b, size_t s, size_t n,
                      const int32_t *sums, int with_min);

// The total as float32; NaN is the canonical one.
float qb_dot_result(double total);

#endif
