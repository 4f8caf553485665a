// SPDX-License-Identifier: Apache-2.0
// Sixteen runs of 16 values side by side. There are only 127 scales, so those around the one that makes a run's
// extreme the outermost number are tried as they are stored: the nearest numbers with each, and what they take
// off the squared error ranks it.
#include "fp4.h"

#include "../base/checked.h"
#include "../base/inverse.h"
#include "../kernels/bytes.h"
#include "affine.h"

#include <math.h>
#include <string.h>

enum { RUN = 16, SIDE = RUN * QB_LANES, RUNS = 4, BLOCK = RUN * RUNS, BYTES = 36, TOP = 0x7E };

// Twice the numbers of E2M1, the last one again, and the codes that stand for them.
static const float levels[16] = {-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12, 12};
static const uint8_t code_of[16] = {15, 14, 13, 12, 11, 10, 9, 0, 1, 2, 3, 4, 5, 6, 7, 7};

// Scales beside that of the extreme.
struct effort {
    int below, above;
};
static const struct effort efforts[2] = {{0, 5}, {4, 12}}; // "mse", "best"

struct search {
    float x[SIDE], w[SIDE]; // element i of lane k at i*QB_LANES + k
    int nearest[QB_LANES];  // the scale of the extreme
    int scale[QB_LANES];    // the best so far
    double gain[QB_LANES];
};

// The unsigned e4m3 code nearest to v >= 0, of two the even one; beyond TOP where v is too large.
static int nearest_scale(float v)
{
    if (v < 0x1p-6f) return (int)rintf(v * 0x1p9f);
    const uint32_t bits = qb_float_bits(v);
    return (int)((bits + 0x7FFFF + (bits >> 20 & 1)) >> 20) - (120 << 3);
}

// Lanes from `runs` runs of 16; what is missing is zero. Returns the first run that is too large for any scale.
static size_t stage(struct search *s, const float *x, const float *w, size_t runs)
{
    memset(s->x, 0, sizeof s->x);
    for (size_t i = 0; i < SIDE; i++) s->w[i] = 1;
    for (size_t k = 0; k < QB_LANES; k++) s->gain[k] = s->scale[k] = s->nearest[k] = 0;
    for (size_t k = 0; k < runs; k++) {
        const float *const from = x + k * RUN, *const weights = w ? w + k * RUN : NULL;
        const float even = weights ? qb_weight_scale(qb_greatest_weight(weights, RUN)) : 0;
        float amax = 0;
        for (size_t i = 0; i < RUN; i++) {
            s->x[i * QB_LANES + k] = from[i];
            if (even != 0) s->w[i * QB_LANES + k] = weights[i] * even;
            amax = fabsf(from[i]) > amax ? fabsf(from[i]) : amax;
        }
        s->nearest[k] = nearest_scale(amax / 6.0f);
        if (s->nearest[k] > TOP) return k;
    }
    return runs;
}

static void choose_scales(const struct qb_kernels *kernels, struct search *s, const struct effort *effort)
{
    float inv[QB_LANES], a[QB_LANES], b[QB_LANES];
    for (int beside = -effort->below; beside <= effort->above; beside++) {
        int tried[QB_LANES];
        for (size_t k = 0; k < QB_LANES; k++) {
            const int scale = s->nearest[k] + beside;
            tried[k] = scale < 0 ? 0 : scale < TOP ? scale : TOP;
            inv[k] = qb_inverse(qb_ue4m3_half(tried[k]));
        }
        kernels->book(s->x, s->w, RUN, inv, levels, a, b);
        for (size_t k = 0; k < QB_LANES; k++) {
            const double d = (double)qb_ue4m3_half(tried[k]), gain = d * (2 * (double)a[k] - d * (double)b[k]);
            if (!(gain > s->gain[k])) continue;
            s->gain[k] = gain;
            s->scale[k] = tried[k];
        }
    }
}

static void put_run(const struct search *s, size_t k, uint8_t *scale, uint8_t *qs)
{
    const float inv = qb_inverse(qb_ue4m3_half(s->scale[k]));
    uint8_t codes[RUN];
    for (size_t i = 0; i < RUN; i++) {
        const float v = s->x[i * QB_LANES + k] * inv;
        int at = 0;
        for (int j = 0; j < 14; j++) at += v >= 0.5f * (levels[j] + levels[j + 1]);
        codes[i] = code_of[at];
    }
    *scale = (uint8_t)s->scale[k];
    for (size_t j = 0; j < RUN / 2; j++) qs[j] = (uint8_t)(codes[j] | codes[RUN / 2 + j] << 4);
}

size_t qb_fp4_quantize(const struct qb_kernels *k, int search, const float *x, const float *w, size_t count,
                       uint8_t *out)
{
    enum { TOGETHER = QB_LANES / RUNS };
    struct search s;
    for (size_t i = 0; i < count; i += TOGETHER) {
        const size_t blocks = qb_min(TOGETHER, count - i);
        const size_t good = stage(&s, x + i * BLOCK, w ? w + i * BLOCK : NULL, blocks * RUNS);
        if (good < blocks * RUNS) return i + good / RUNS;
        choose_scales(k, &s, &efforts[search == QB_SEARCH_BEST]);
        for (size_t j = 0; j < blocks; j++, out += BYTES)
            for (size_t r = 0; r < RUNS; r++) put_run(&s, RUNS * j + r, out + r, out + RUNS + 8 * r);
    }
    return count;
}
