// SPDX-License-Identifier: Apache-2.0
// Defines the multiply of few words: the panel kernel's, from code planes, a segment at a time.
#include "kernels.h"

void qb_gemv_scalar(const struct qb_panel *w, const struct qb_activations *x, float *acc)
{
    uint8_t lines[QB_BLOCK_MAX * QB_LANES];
    const size_t words = x->cols * (size_t)x->planes;
    const uint8_t *octets = w->lines;
    struct qb_activations part = *x;
    for (size_t s = 0; s < w->segments; s++) {
        const size_t count = w->units[s] / 8, lane = s * QB_LANES;
        struct qb_panel segment = *w;
        segment.segments = 1;
        segment.units = w->units + s;
        segment.lines = lines;
        segment.d = w->d + lane;
        segment.m = w->m ? w->m + lane : NULL;
        segment.z = w->z + lane;
        qb_planes_unpack_scalar(octets, count, w->bits, lines);
        qb_panel_scalar(&segment, &part, acc);
        octets += count * (size_t)w->bits * 4 * QB_LANES;
        part.digits += w->units[s] * words * 4;
        part.sums += words;
        part.dx += x->cols;
        part.dxsum += x->cols;
    }
}
