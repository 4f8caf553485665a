// SPDX-License-Identifier: Apache-2.0
// The sum of a dot product of two quantized rows, segment by segment.
#ifndef QB_VECDOT_H
#define QB_VECDOT_H

#include "../base/float16.h"
#include "../kernels/kernels.h"

#include <math.h>

// Parameters of a row's segments.
struct qb_side {
    const float *d, *z, *m;
};

// total plus segment s of n elements, whose integer sums are as the dot kernel gives them.
static inline double qb_add_segment(double total, const struct qb_side *a, const struct qb_side *b, size_t s, size_t n,
                                    const int32_t *sums, int with_min)
{
    const double da = (double)a->d[s], db = (double)b->d[s];
    const int64_t za = (int64_t)a->z[s], zb = (int64_t)b->z[s], count = (int64_t)n;
    const int64_t ab = sums[0] - za * sums[2] - zb * sums[1] + count * za * zb;
    total = total + da * db * (double)ab;
    if (!with_min) return total;
    const double ma = (double)a->m[s], mb = (double)b->m[s];
    const double sa = (double)(sums[1] - count * za), sb = (double)(sums[2] - count * zb);
    total = total + (da * mb * sa + db * ma * sb);
    return total + ma * mb * (double)n;
}

// The total as float32; NaN is the canonical one.
static inline float qb_dot_result(double total)
{
    const float result = (float)total;
    return isnan(result) ? qb_bits_float(0x7FC00000u) : result;
}

#endif
