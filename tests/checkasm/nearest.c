// SPDX-License-Identifier: Apache-2.0
// Family "nearest": points of grids made up here. The scalar kernel is held against sums in double over all points,
// the others against scalar, whatever guess they begin with.
#include "checkasm.h"
#include "floats.h"

#include <math.h>
#include <string.h>

enum { MOST_POINTS = 2048, MOST_RUNS = 9 };

static struct buffer xs, ws;
static uint16_t nearby[6561 * QB_NEAR];
static int8_t values[MOST_POINTS * 8], nearby_values[4096 * QB_NEAR * 4];

struct problem {
    uint16_t points[MOST_POINTS];
    struct qb_grid grid;
    const float *x, *w;
    size_t runs;
    float inv;
};

// Every point with some probability, so that they ascend.
static void any_grid(struct problem *p)
{
    const unsigned eights = ck_below(2), keep = 1 + ck_below(30), half = eights ? 8 : 6;
    p->grid = (struct qb_grid){.points = p->points, .dims = eights ? 8 : 4, .bits = eights ? 2 : 3};
    for (unsigned entry = 0; entry < (1u << 2 * half) && p->grid.count < MOST_POINTS; entry++) {
        if (eights && (entry & entry >> 1 & 0x5555)) continue; // a field that is 3
        if (ck_below(30) < keep) p->points[p->grid.count++] = (uint16_t)entry;
    }
    if (!p->grid.count) p->grid.count = 1, p->points[0] = 0;
    for (unsigned l = 0; l < 8; l++) p->grid.levels[l] = (float)ck_below(60) - (ck_below(2) ? 20.0f : 0.0f);
    for (unsigned i = 0; i < p->grid.count; i++) p->grid.start[(p->points[i] >> half) + 1]++;
    for (unsigned h = 0; h < 1u << half; h++) p->grid.start[h + 1] = (uint16_t)(p->grid.start[h + 1] + p->grid.start[h]);
}

static void any_problem(struct problem *p)
{
    any_grid(p);
    p->runs = 1 + ck_below(MOST_RUNS);
    const size_t n = p->runs * p->grid.dims;
    float *const x = place_floats(&xs, n, ck_below(2) ? CK_END : (int)ck_below(16));
    float *const w = place_floats(&ws, n, ck_below(2) ? CK_END : (int)ck_below(16));
    fill_floats(x, n, FLOATS_NORMAL);
    const int ties = ck_below(4) == 0, plain = ck_below(2) != 0;
    for (size_t i = 0; i < n; i++) {
        if (ties) x[i] = (float)ck_below(16) - 8;
        w[i] = plain ? 1 : ck_below(8) ? (float)ck_below(1 << 20) * 0x1p-20f : 0;
    }
    p->x = x;
    p->w = w;
    p->inv = ck_below(16) == 0 ? 0 : ties ? 1.0f : (float)(1 + ck_below(60));
}

static double score_of(const struct problem *p, size_t run, unsigned point)
{
    const unsigned mask = (1u << p->grid.bits) - 1;
    double score = 0;
    for (unsigned i = 0; i < p->grid.dims; i++) {
        const size_t at = run * p->grid.dims + i;
        const double level = p->grid.levels[p->points[point] >> p->grid.bits * i & mask];
        score += (double)p->w[at] * level * (2 * (double)p->x[at] * (double)p->inv - level);
    }
    return score;
}

// No point is better than what was found, but for rounding.
static void check_scores(const struct problem *p, const uint16_t *found, const float *a, const float *b)
{
    for (size_t r = 0; r < p->runs; r++) {
        double best = -INFINITY, scale = 1;
        for (unsigned i = 0; i < p->grid.count; i++) best = fmax(best, score_of(p, r, i));
        for (unsigned i = 0; i < p->grid.dims; i++) {
            const double t = fabs((double)(p->x[r * p->grid.dims + i] * p->inv));
            scale += (double)p->w[r * p->grid.dims + i] * 60 * (2 * t + 60);
        }
        const double score = score_of(p, r, found[r]);
        ck_true("the nearest point", found[r] < p->grid.count && best - score <= 1e-6 * scale);
        ck_true("its sums", fabs(2 * (double)a[r] * (double)p->inv - (double)b[r] - score) <= 1e-6 * scale);
    }
}

// Any points as neighbours.
static void any_neighbours(struct problem *p)
{
    struct qb_grid *const g = &p->grid;
    const unsigned numbers = g->dims == 8 ? 6561 : 4096, mask = (1u << g->bits) - 1;
    for (unsigned i = 0; i < g->count; i++)
        for (unsigned j = 0; j < g->dims; j++)
            values[i * g->dims + j] = (int8_t)g->levels[g->points[i] >> g->bits * j & mask];
    for (unsigned i = 0; i < numbers * QB_NEAR; i++) nearby[i] = (uint16_t)ck_below(g->count);
    for (unsigned i = 0; g->dims == 4 && i < numbers * QB_NEAR; i++) memcpy(nearby_values + 4 * i, values + 4 * nearby[i], 4);
    g->low = (float)ck_below(20) - 10;
    g->per_step = 0.125f * (float)(1 + ck_below(8));
    g->nearby = nearby;
    g->values = values;
    g->nearby_values = nearby_values;
}

static unsigned number_of(const struct problem *p, size_t run)
{
    const unsigned dims = p->grid.dims, base = dims == 8 ? 3 : 8;
    unsigned number = 0;
    for (unsigned i = dims; i-- > 0;) {
        const float step = rintf((p->x[run * dims + i] * p->inv - p->grid.low) * p->grid.per_step);
        number = number * base + (unsigned)fmaxf(0, fminf(step, (float)(base - 1)));
    }
    return number;
}

static void check_near(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    struct problem p;
    uint16_t want[MOST_RUNS] = {0}, got[MOST_RUNS];
    float sums[2][2 * MOST_RUNS] = {{0}};
    if (ck_skip()) return;
    any_problem(&p);
    any_neighbours(&p);
    ck_case("points=%u dims=%u runs=%zu", p.grid.count, p.grid.dims, p.runs);
    ref->nearby(&p.grid, p.x, p.w, p.runs, p.inv, want, sums[0], sums[0] + MOST_RUNS);
    test->nearby(&p.grid, p.x, p.w, p.runs, p.inv, got, sums[1], sums[1] + MOST_RUNS);
    ck_same("points", (const uint8_t *)want, (const uint8_t *)got, p.runs * sizeof *want);
    same_floats("sums", sums[0], sums[1], p.runs);
    same_floats("sums of squares", sums[0] + MOST_RUNS, sums[1] + MOST_RUNS, p.runs);
    for (size_t r = 0; ref == test && r < p.runs; r++) {
        const uint16_t *const from = nearby + number_of(&p, r) * QB_NEAR;
        double best = -INFINITY, size = 1;
        int there = 0;
        for (int j = 0; j < QB_NEAR; j++) {
            best = fmax(best, score_of(&p, r, from[j]));
            size = fmax(size, fabs(score_of(&p, r, from[j])));
            there |= from[j] == got[r];
        }
        ck_true("the nearest of the neighbours", there && best - score_of(&p, r, got[r]) <= 1e-4 * size);
    }
}

static void check(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    if (ck_kernel("nearby"))
        for (int i = 0; i < 200; i++) check_near(ref, test);
    if (!ck_kernel("nearest")) return;
    for (int i = 0; i < 1500; i++) {
        if (ck_skip()) continue;
        struct problem p;
        any_problem(&p);
        ck_case("points=%u dims=%u runs=%zu", p.grid.count, p.grid.dims, p.runs);
        uint16_t want[MOST_RUNS] = {0}, got[MOST_RUNS];
        float sums[2][2 * MOST_RUNS] = {{0}};
        for (size_t r = 0; r < p.runs; r++) got[r] = (uint16_t)ck_below(p.grid.count);
        ref->nearest(&p.grid, p.x, p.w, p.runs, p.inv, want, sums[0], sums[0] + MOST_RUNS);
        test->nearest(&p.grid, p.x, p.w, p.runs, p.inv, got, sums[1], sums[1] + MOST_RUNS);
        ck_same("points", (const uint8_t *)want, (const uint8_t *)got, p.runs * sizeof *want);
        same_floats("sums", sums[0], sums[1], p.runs);
        same_floats("sums of squares", sums[0] + MOST_RUNS, sums[1] + MOST_RUNS, p.runs);
        if (ref == test) check_scores(&p, got, sums[1], sums[1] + MOST_RUNS);
    }
}

const struct suite suite_nearest = {"nearest", QB_FAMILY_nearest, check, NULL};
