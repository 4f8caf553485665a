// SPDX-License-Identifier: Apache-2.0
// Defines the multiply of few words: the panel kernel's, from code planes, a segment at a time.
#include "bytes.h"
#include "kernels.h"

enum { LINE = 4 * QB_LANES };

static const float *widened(const uint8_t *halves, float *out)
{
    for (size_t r = 0; r < QB_LANES; r++) out[r] = qb_f16_at(halves + 2 * r);
    return out;
}

void qb_gemv_scalar(const struct qb_panel *w, const struct qb_activations *x, float *acc)
{
    uint8_t lines[QB_BLOCK_MAX * QB_LANES];
    const size_t words = x->cols * (size_t)x->planes;
    const uint8_t *octets = w->lines;
    struct qb_activations part = *x;
    const int bits = w->table ? 4 : w->bits; // of the planes
    int second = 0; // half of the octet
    for (size_t s = 0; s < w->segments; s++) {
        const size_t count = (w->units[s] + 7) / 8, lane = s * QB_LANES;
        struct qb_panel segment = *w;
        float d[QB_LANES], m[QB_LANES];
        segment.segments = 1;
        segment.units = w->units + s;
        segment.lines = lines + (second ? 4 * LINE : 0);
        segment.d = w->half_d ? widened(w->half_d + s * w->half_step, d) : w->d + lane;
        segment.m = w->half_m ? widened(w->half_m + s * w->half_step, m) : w->m ? w->m + lane : NULL;
        segment.z = w->z ? w->z + lane : NULL;
        qb_planes_unpack_scalar(octets, count, bits, lines);
        for (size_t i = 0; w->table && i < count * 8 * LINE; i++) lines[i] = w->table[lines[i]];
        for (size_t i = 0; w->doubled && i < count * 8 * LINE; i++) lines[i] = (uint8_t)(2 * lines[i]);
        qb_panel_scalar(&segment, &part, acc);
        if (w->units[s] % 8) second = !second;
        octets += (count - (size_t)second) * (size_t)bits * LINE;
        part.digits += w->units[s] * words * 4;
        part.sums += words;
        part.dx += x->cols;
        part.dxsum += x->cols;
    }
}
