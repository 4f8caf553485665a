// SPDX-License-Identifier: Apache-2.0
// Sixteen runs of 32 values side by side. Scales that put a run's extreme near either end of the codebook are
// tried in turn: the nearest levels are fitted by least squares, and what a fit takes off the squared error
// ranks it. iq4_nl stores the best as a half; iq4_xs stores integers, beside which it looks once more.
#include "codebook.h"

#include "../base/checked.h"
#include "../base/float16.h"
#include "../base/inverse.h"
#include "runs.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { RUN = QB_RUN_MOST, SIDE = RUN * QB_LANES };

static const float levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

struct effort {
    int candidates; // of each sign
    float first, step;
    int refinements; // fits with the best scale so far
};
static const struct effort efforts[2] = {{4, -8.0f, 5.0f, 0}, {15, -14.0f, 1.75f, 2}}; // "mse", "best"

struct search {
    const struct qb_kernels *k;
    struct qb_book book;
    float middles[15];
    const float *x;            // the runs, and side by side with their weights:
    float x16[SIDE], w16[SIDE];
    const float *w;            // w16 or NULL
    float inv[QB_LANES];       // asked for
    float a[QB_LANES], b[QB_LANES]; // sums of w*level*x and w*level*level
    double gain[QB_LANES], d[QB_LANES];
    float scale[QB_LANES], unit[QB_LANES]; // the integers, and what they count
};

static void fit(struct search *s) { s->k->book(s->x16, s->w, RUN, s->inv, &s->book, s->a, s->b); }

static void sweep(struct search *s, const struct effort *effort)
{
    struct qb_segments ends;
    float inverse[QB_LANES]; // of the extreme
    s->k->measure(s->x16, s->w, RUN, &ends);
    for (size_t k = 0; k < QB_LANES; k++) {
        inverse[k] = qb_inverse(ends.hi[k] > -ends.lo[k] ? ends.hi[k] : ends.lo[k]);
        s->gain[k] = s->d[k] = 0;
    }
    for (int i = 0; i < 2 * effort->candidates + effort->refinements; i++) {
        const int again = i >= 2 * effort->candidates;
        const float sign = i % 2 ? 1.0f : -1.0f, reach = 127.0f + effort->first + (float)(i / 2) * effort->step;
        for (size_t k = 0; k < QB_LANES; k++) s->inv[k] = again ? qb_inverse((float)s->d[k]) : inverse[k] * (sign * reach);
        fit(s);
        for (size_t k = 0; k < QB_LANES; k++) {
            const double a = (double)s->a[k], d = a / (double)s->b[k], gain = a * d;
            const int better = gain > s->gain[k];
            s->gain[k] = better ? gain : s->gain[k];
            s->d[k] = better ? d : s->d[k];
        }
    }
}

static float bounded(float t) { return t > -32.0f ? t < 31.0f ? t : 31.0f : -32.0f; }

// Integer scales of two blocks of 8 runs: the nearest, and those beside them.
static void choose_integers(struct search *s)
{
    float nearest[QB_LANES];
    for (size_t k = 0; k < QB_LANES; k++) {
        nearest[k] = (bounded((float)s->d[k] * qb_inverse(s->unit[k])) + 0x1.8p23f) - 0x1.8p23f; // rounds
        s->scale[k] = nearest[k];
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
            const int better = gain > s->gain[k];
            s->gain[k] = better ? gain : s->gain[k];
            s->scale[k] = better ? tried[k] : s->scale[k];
        }
    }
}

// The codes of one run, in the halves of 16 bytes.
static void put_codes(const struct search *s, size_t k, float d, uint8_t *qs)
{
    uint8_t codes[RUN];
    s->k->book_codes(s->x + k * RUN, RUN, qb_inverse(d), s->middles, codes);
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
    s.w = w ? s.w16 : NULL;
    qb_book_open(levels, 1.0f, &s.book);
    for (int j = 0; j < 15; j++) s.middles[j] = 0.5f * (levels[j] + levels[j + 1]);
    for (size_t i = 0; i < count; i += together) {
        const size_t blocks = qb_min(together, count - i), at = i * type->elements;
        s.x = x + at;
        qb_runs_stage(k, x + at, w ? w + at : NULL, blocks * runs, RUN, s.x16, s.w16);
        sweep(&s, &efforts[search == QB_SEARCH_BEST]);
        uint16_t halves[2] = {0, 0};
        for (size_t j = 0; runs > 1 && j < together; j++) halves[j] = settle_block(&s, 8 * j);
        if (runs > 1) choose_integers(&s);
        for (size_t j = 0; j < blocks; j++, out += type->bytes)
            if (!(runs > 1 ? put_xs(&s, 8 * j, halves[j], out) : put_nl(&s, j, out))) return i + j;
    }
    return count;
}
