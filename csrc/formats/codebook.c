// SPDX-License-Identifier: Apache-2.0
// Sixteen runs of 32 values side by side. Scales that put a run's extreme near either end of the codebook are
// tried in turn: the nearest levels are fitted by least squares, and what a fit takes off the squared error
// ranks it. iq4_nl stores the best as a half; iq4_xs stores integers, beside which it looks once more.
#include "codebook.h"

#include "../base/checked.h"
#include "../base/float16.h"
#include "../base/inverse.h"
#include "affine.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { RUN = 32, SIDE = RUN * QB_LANES };

static const float levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

struct effort {
    int candidates; // of each sign
    float first, step;
};
static const struct effort efforts[2] = {{4, -8.0f, 5.0f}, {15, -14.0f, 1.75f}}; // "mse", "best"

struct search {
    const struct qb_kernels *k;
    float x[SIDE], w[SIDE]; // element i of lane k at i*QB_LANES + k
    float inv[QB_LANES];    // asked for
    float a[QB_LANES], b[QB_LANES]; // sums of w*level*x and w*level*level
    double gain[QB_LANES], d[QB_LANES];
    float extreme[QB_LANES];
    float scale[QB_LANES], unit[QB_LANES]; // the integers, and what they count
};

static void fit(struct search *s) { s->k->book(s->x, s->w, RUN, s->inv, levels, s->a, s->b); }

static void sweep(struct search *s, const struct effort *effort)
{
    for (int i = 0; i < 2 * effort->candidates; i++) {
        const float sign = i % 2 ? 1.0f : -1.0f, reach = 127.0f + effort->first + (float)(i / 2) * effort->step;
        for (size_t k = 0; k < QB_LANES; k++) s->inv[k] = qb_inverse(s->extreme[k] / (sign * reach));
        fit(s);
        for (size_t k = 0; k < QB_LANES; k++) {
            const double a = (double)s->a[k], d = a / (double)s->b[k], gain = a * d;
            if (!(gain > s->gain[k])) continue;
            s->gain[k] = gain;
            s->d[k] = d;
        }
    }
}

// Lanes from `run` runs of 32; what is missing is zero.
static void stage(struct search *s, const float *x, const float *w, size_t runs)
{
    memset(s->x, 0, sizeof s->x);
    for (size_t i = 0; i < SIDE; i++) s->w[i] = 1;
    for (size_t k = 0; k < QB_LANES; k++) s->gain[k] = s->d[k] = s->extreme[k] = 0;
    for (size_t k = 0; k < runs; k++) {
        const float *const from = x + k * RUN, *const weights = w ? w + k * RUN : NULL;
        const float even = weights ? qb_weight_scale(qb_greatest_weight(weights, RUN)) : 0;
        for (size_t i = 0; i < RUN; i++) {
            s->x[i * QB_LANES + k] = from[i];
            if (even != 0) s->w[i * QB_LANES + k] = weights[i] * even;
            if (fabsf(from[i]) > fabsf(s->extreme[k])) s->extreme[k] = from[i];
        }
    }
}

static float bounded(float t) { return t > -32.0f ? t < 31.0f ? t : 31.0f : -32.0f; }

// Integer scales of two blocks of 8 runs: the nearest, and those beside them.
static void choose_integers(struct search *s)
{
    float nearest[QB_LANES];
    for (size_t k = 0; k < QB_LANES; k++) {
        nearest[k] = bounded(rintf((float)s->d[k] * qb_inverse(s->unit[k])));
        s->gain[k] = -DBL_MAX;
    }
    for (int beside = 0; beside < 3; beside++) {
        float tried[QB_LANES];
        for (size_t k = 0; k < QB_LANES; k++) {
            tried[k] = bounded(nearest[k] + (float)(beside == 2 ? -1 : beside));
            s->inv[k] = qb_inverse(s->unit[k] * tried[k]);
        }
        fit(s);
        for (size_t k = 0; k < QB_LANES; k++) {
            const double d = (double)(s->unit[k] * tried[k]);
            const double gain = d * (2 * (double)s->a[k] - d * (double)s->b[k]);
            if (!(gain > s->gain[k])) continue;
            s->gain[k] = gain;
            s->scale[k] = tried[k];
        }
    }
}

// The codes of one run, in the halves of 16 bytes.
static void put_codes(const struct search *s, size_t k, float d, uint8_t *qs)
{
    const float inv = qb_inverse(d);
    uint8_t codes[RUN];
    for (size_t i = 0; i < RUN; i++) {
        const float v = s->x[i * QB_LANES + k] * inv;
        int code = 0;
        for (int j = 0; j < 15; j++) code += v >= 0.5f * (levels[j] + levels[j + 1]);
        codes[i] = (uint8_t)code;
    }
    for (size_t j = 0; j < 16; j++) qs[j] = (uint8_t)(codes[j] | codes[16 + j] << 4);
}

static int put_half(uint8_t *p, uint16_t half)
{
    p[0] = (uint8_t)half;
    p[1] = (uint8_t)(half >> 8);
    return (half & 0x7FFF) < 0x7C00;
}

static int put_nl(const struct search *s, size_t k, uint8_t *b)
{
    const uint16_t half = qb_f32_to_f16((float)s->d[k]);
    put_codes(s, k, qb_f16_to_f32(half), b + 2);
    return put_half(b, half);
}

static int put_xs(const struct search *s, size_t first, uint16_t half, uint8_t *b)
{
    unsigned high = 0;
    memset(b + 4, 0, 4);
    for (size_t c = 0; c < 8; c++) {
        const unsigned scale = (unsigned)((int)s->scale[first + c] + 32);
        b[4 + c / 2] |= (uint8_t)((scale & 15) << c % 2 * 4);
        high |= scale >> 4 << 2 * c;
        put_codes(s, first + c, s->unit[first + c] * s->scale[first + c], b + 8 + 16 * c);
    }
    put_half(b + 2, (uint16_t)high);
    return put_half(b, half);
}

// The unit that gives the largest of 8 runs the lowest integer.
static uint16_t settle_block(struct search *s, size_t first)
{
    double most = 0;
    for (size_t k = first; k < first + 8; k++)
        if (fabs(s->d[k]) > fabs(most)) most = s->d[k];
    const uint16_t half = qb_f32_to_f16((float)(most / -32.0));
    for (size_t k = first; k < first + 8; k++) s->unit[k] = qb_f16_to_f32(half);
    return half;
}

size_t qb_codebook_quantize(const struct qb_kernels *k, int block, int search, const float *x, const float *w,
                            size_t count, uint8_t *out)
{
    const qb_block_type *const type = qb_block_type_of(block);
    const size_t runs = type->elements / RUN, together = QB_LANES / runs;
    struct search s = {.k = k};
    for (size_t i = 0; i < count; i += together) {
        const size_t blocks = qb_min(together, count - i), at = i * type->elements;
        stage(&s, x + at, w ? w + at : NULL, blocks * runs);
        sweep(&s, &efforts[search == QB_SEARCH_BEST]);
        uint16_t halves[2] = {0, 0};
        for (size_t j = 0; runs > 1 && j < together; j++) halves[j] = settle_block(&s, 8 * j);
        if (runs > 1) choose_integers(&s);
        for (size_t j = 0; j < blocks; j++, out += type->bytes)
            if (!(runs > 1 ? put_xs(&s, 8 * j, halves[j], out) : put_nl(&s, j, out))) return i + j;
    }
    return count;
}
