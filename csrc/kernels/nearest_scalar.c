// SPDX-License-Identifier: Apache-2.0
// Defines which point of a grid is nearest to a run of values: that of the greatest score, which is what the point
// takes off the weighted squared error, in units of the scale.
#include "kernels.h"

#include "../base/target.h"

#include <math.h>

QB_INLINE float term(float w, float level, float t) { return (w * level) * ((t + t) - level); }

// Of one run; p: the number of the best point.
QB_INLINE unsigned nearest(const struct qb_grid *grid, const float *x, const float *w, float inv)
{
    const unsigned bits = grid->bits, mask = (1u << bits) - 1, dims = grid->dims;
    float terms[8][8];
    for (unsigned i = 0; i < dims; i++)
        for (unsigned l = 0; l <= mask; l++) terms[i][l] = term(w[i], grid->levels[l], x[i] * inv);
    float best = -INFINITY;
    unsigned found = 0;
    for (unsigned p = 0; p < grid->count; p++) {
        float f[8];
        for (unsigned i = 0; i < dims; i++) f[i] = terms[i][grid->points[p] >> bits * i & mask];
        const float score = dims == 8 ? ((f[0] + f[1]) + (f[2] + f[3])) + ((f[4] + f[5]) + (f[6] + f[7]))
                                      : (f[0] + f[1]) + (f[2] + f[3]);
        if (!(score > best)) continue;
        best = score;
        found = p;
    }
    return found;
}

// Sums of 4 or 8 terms: halves onto halves.
QB_INLINE float folded(const float *v, unsigned dims)
{
    float four[4];
    for (unsigned i = 0; i < 4; i++) four[i] = dims == 8 ? v[i] + v[i + 4] : v[i];
    return (four[0] + four[2]) + (four[1] + four[3]);
}

// The sums of one run and its point.
QB_INLINE void sums_of(const struct qb_grid *grid, const float *x, const float *w, unsigned point, float *a, float *b)
{
    const unsigned bits = grid->bits, mask = (1u << bits) - 1;
    float with_x[8], with_level[8];
    for (unsigned i = 0; i < grid->dims; i++) {
        const float level = grid->levels[grid->points[point] >> bits * i & mask], weighted = w[i] * level;
        with_x[i] = weighted * x[i];
        with_level[i] = weighted * level;
    }
    *a = folded(with_x, grid->dims);
    *b = folded(with_level, grid->dims);
}

void qb_nearest_scalar(const struct qb_grid *grid, const float *x, const float *w, size_t runs, float inv,
                       uint16_t *points, float *a, float *b)
{
    for (size_t r = 0; r < runs; r++, x += grid->dims, w += grid->dims) {
        points[r] = (uint16_t)nearest(grid, x, w, inv);
        sums_of(grid, x, w, points[r], a + r, b + r);
    }
}

QB_INLINE unsigned nearby(const struct qb_grid *grid, const float *x, const float *w, float inv)
{
    const unsigned dims = grid->dims, base = dims == 8 ? 3 : 8;
    const float top = (float)(base - 1);
    unsigned number = 0;
    for (unsigned i = dims; i-- > 0;) {
        float digit = rintf((x[i] * inv - grid->low) * grid->per_step);
        digit = digit > 0 ? digit : 0;
        number = number * base + (unsigned)(digit < top ? digit : top);
    }
    float best = -INFINITY;
    unsigned found = 0;
    for (unsigned j = number * QB_NEAR; j < (number + 1) * QB_NEAR; j++) {
        float f[8];
        for (unsigned i = 0; i < dims; i++)
            f[i] = term(w[i], (float)grid->values[grid->nearby[j] * dims + i], x[i] * inv);
        const float score = dims == 8 ? ((f[0] + f[4]) + (f[1] + f[5])) + ((f[2] + f[6]) + (f[3] + f[7]))
                                      : (f[0] + f[1]) + (f[2] + f[3]);
        if (!(score > best)) continue;
        best = score;
        found = grid->nearby[j];
    }
    return found;
}

void qb_nearby_scalar(const struct qb_grid *grid, const float *x, const float *w, size_t runs, float inv,
                    uint16_t *points, float *a, float *b)
{
    for (size_t r = 0; r < runs; r++, x += grid->dims, w += grid->dims) {
        points[r] = (uint16_t)nearby(grid, x, w, inv);
        sums_of(grid, x, w, points[r], a + r, b + r);
    }
}
