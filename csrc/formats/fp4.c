// SPDX-License-Identifier: Apache-2.0
// Sixteen runs of 16 values side by side. There are only 127 scales, so those around the one that makes a run's
// extreme the outermost number are tried as they are stored: the nearest numbers with each, and what they take
// off the squared error ranks it.
#include "fp4.h"

#include "../base/checked.h"
#include "../base/inverse.h"
#include "../kernels/bytes.h"
#include "runs.h"

#include <math.h>

enum { RUN = 16, SIDE = RUN * QB_LANES, RUNS = 4, BLOCK = RUN * RUNS, BYTES = 36, TOP = 0x7E, PARTS = 9 };

// Twice the numbers of E2M1, the last one again.
static const float levels[16] = {-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12, 12};
// Scales beside that of the extreme.
struct effort {
    int below, above;
};
static const struct effort efforts[2] = {{0, 5}, {4, 12}}; // "mse", "best"

struct search {
    const struct qb_kernels *k;
    struct qb_book book; // for values in ninths, of which most middles have half ones
    float middles[15], units[TOP + 1]; // of scales
    const float *x;             // the runs, and side by side with their weights:
    float x16[SIDE], w16[SIDE];
    const float *w;             // w16 or NULL
    int nearest[QB_LANES];      // the scale of the extreme
    int scale[QB_LANES];        // the best so far
    double gain[QB_LANES];
};

// The unsigned e4m3 code nearest to v >= 0, of two the even one; beyond TOP where v is too large.
static int nearest_scale(float v)
{
    if (v < 0x1p-6f) return (int)rintf(v * 0x1p9f);
    const uint32_t bits = qb_float_bits(v);
    return (int)((bits + 0x7FFFF + (bits >> 20 & 1)) >> 20) - (120 << 3);
}

// Finds the scales of the extremes. Returns the first run that is too large for any scale.
static size_t measure(struct search *s, size_t runs)
{
    struct qb_segments ends;
    size_t good = runs;
    s->k->measure(s->x16, s->w, RUN, &ends);
    for (size_t k = QB_LANES; k-- > 0;) {
        s->nearest[k] = nearest_scale((ends.hi[k] > -ends.lo[k] ? ends.hi[k] : -ends.lo[k]) / 6.0f);
        if (s->nearest[k] > TOP) good = k;
        s->gain[k] = s->scale[k] = 0;
    }
    return good;
}

static void choose_scales(struct search *s, const struct effort *effort)
{
    float d[QB_LANES], inv[QB_LANES], a[QB_LANES], b[QB_LANES];
    for (int beside = -effort->below; beside <= effort->above; beside++) {
        int tried[QB_LANES];
        for (size_t k = 0; k < QB_LANES; k++) {
            const int scale = s->nearest[k] + beside;
            tried[k] = scale < 0 ? 0 : scale < TOP ? scale : TOP;
            d[k] = s->units[tried[k]];
        }
        for (size_t k = 0; k < QB_LANES; k++) inv[k] = qb_inverse(d[k]) * (float)PARTS;
        s->k->book(s->x16, s->w, RUN, inv, &s->book, a, b);
        for (size_t k = 0; k < QB_LANES; k++) {
            const double gain = (double)d[k] * (2 * (double)a[k] - (double)d[k] * (double)b[k]);
            const int better = gain > s->gain[k];
            s->gain[k] = better ? gain : s->gain[k];
            s->scale[k] = better ? tried[k] : s->scale[k];
        }
    }
}

static void put_run(const struct search *s, size_t k, uint8_t *scale, uint8_t *qs)
{
    uint8_t codes[RUN];
    s->k->book_codes(s->x + k * RUN, RUN, qb_inverse(s->units[s->scale[k]]), s->middles, codes);
    for (size_t i = 0; i < RUN; i++) { // sign and magnitude
        const uint8_t number = codes[i] < 14 ? codes[i] : 14;
        codes[i] = (uint8_t)(number < 7 ? 15 - number : number - 7);
    }
    *scale = (uint8_t)s->scale[k];
    for (size_t j = 0; j < RUN / 2; j++) qs[j] = (uint8_t)(codes[j] | codes[RUN / 2 + j] << 4);
}

size_t qb_fp4_quantize(const struct qb_kernels *k, int search, const float *x, const float *w, size_t count,
                       uint8_t *out)
{
    enum { TOGETHER = QB_LANES / RUNS };
    struct search s = {.k = k};
    s.w = w ? s.w16 : NULL;
    qb_book_open(levels, PARTS, &s.book);
    for (int j = 0; j < 15; j++) s.middles[j] = 0.5f * (levels[j] + levels[j + 1]);
    for (int i = 0; i <= TOP; i++) s.units[i] = qb_ue4m3_half(i);
    for (size_t i = 0; i < count; i += TOGETHER) {
        const size_t blocks = qb_min(TOGETHER, count - i);
        s.x = x + i * BLOCK;
        qb_runs_stage(k, s.x, w ? w + i * BLOCK : NULL, blocks * RUNS, RUN, s.x16, s.w16);
        const size_t good = measure(&s, blocks * RUNS);
        if (good < blocks * RUNS) return i + good / RUNS;
        choose_scales(&s, &efforts[search == QB_SEARCH_BEST]);
        for (size_t j = 0; j < blocks; j++, out += BYTES)
            for (size_t r = 0; r < RUNS; r++) put_run(&s, RUNS * j + r, out + r, out + RUNS + 8 * r);
    }
    return count;
}
