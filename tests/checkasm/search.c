// SPDX-License-Identifier: Apache-2.0
// Family "search". The scalar kernels are held against sums that run over elements first and lanes
// second, the others against scalar.
#include "checkasm.h"
#include "floats.h"

#include <math.h>
#include <string.h>

static struct buffer in, weights, want, got, lanes;

// ---- the definition, all lanes at once --------------------------------------------------------------

static double level_of(double v, const struct qb_lanes *p, size_t k)
{
    const double t = nearbyint((double)(float)(v * (double)p->inv[k]));
    return !(t >= (double)p->lo[k]) ? (double)p->lo[k]
           : t >= (double)p->hi[k]  ? (double)p->hi[k]
                                    : t;
}

static void naive_fit(const float *x, const float *w, size_t n, const struct qb_lanes *p,
                      struct qb_moments *out)
{
    float l[QB_LANES] = {0}, ll[QB_LANES] = {0}, lv[QB_LANES] = {0};
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < n * QB_LANES; i++) {
        const size_t k = i % QB_LANES;
        const float v = (float)((double)x[i] - (double)p->off[k]);
        const float level = (float)level_of((double)v, p, k);
        const float weighted = (float)((double)(w ? w[i] : 1) * (double)level);
        l[k] = (float)((double)l[k] + (double)weighted);
        ll[k] = (float)((double)ll[k] + (double)(float)((double)weighted * (double)level));
        lv[k] = (float)((double)lv[k] + (double)(float)((double)weighted * (double)v));
        if (i + QB_LANES < n * QB_LANES && (i / QB_LANES + 1) % QB_BLOCK_MAX) continue;
        out->l[k] += (double)l[k];
        out->ll[k] += (double)ll[k];
        out->lv[k] += (double)lv[k];
        l[k] = ll[k] = lv[k] = 0;
    }
}

static void naive_trial(const float *x, const float *w, size_t n, const struct qb_lanes *p,
                        double *err)
{
    for (size_t k = 0; k < QB_LANES; k++) err[k] = 0;
    for (size_t i = 0; i < n * QB_LANES; i++) {
        const size_t k = i % QB_LANES;
        const double level = level_of((double)(float)((double)x[i] - (double)p->off[k]), p, k);
        const float product = (float)((double)p->d[k] * level);
        const float y = (float)((double)product + (double)p->m[k]);
        const double e = (double)x[i] - (double)y;
        err[k] += e * e * (w ? (double)w[i] : 1);
    }
}

static double naive_error(const float *x, const float *y, size_t n, struct qb_error_sums *sums)
{
    double most = 0;
    for (size_t k = 0; k < QB_LANES; k++) {
        for (size_t i = k; i < n; i += QB_LANES) {
            const double e = (double)x[i] - (double)y[i];
            sums->xx[k] += (double)x[i] * (double)x[i];
            sums->ee[k] += e * e;
            most = fmax(most, fabs(e));
        }
        if (isnan(sums->ee[k])) most = (double)INFINITY;
    }
    return most;
}

// ---- cases ------------------------------------------------------------------------------------------

// Lanes for b-bit codes about as wide as the floats of a kind. Offsets: 0 none, 1 all, 2 in one.
static struct qb_lanes *place_lanes(enum floats kind, int bits, int shifted)
{
    struct qb_lanes *const p = (struct qb_lanes *)ck_place(&lanes, sizeof *p, CK_END);
    fill_floats(p->off, QB_LANES, kind);
    fill_floats(p->inv, QB_LANES, kind);
    fill_floats(p->d, QB_LANES, kind);
    fill_floats(p->m, QB_LANES, kind);
    const float h = (float)(1 << (bits - 1));
    const size_t one = ck_below(QB_LANES);
    for (size_t k = 0; k < QB_LANES; k++) {
        if (!shifted || (shifted == 2 && k != one)) p->off[k] = k & 1 ? 0.0f : -0.0f;
        if (kind == FLOATS_NORMAL) p->inv[k] *= 2 * h;
        p->lo[k] = shifted ? 0 : -h;
        p->hi[k] = shifted ? 2 * h - 1 : h - 1;
    }
    return p;
}

static void search_case(const struct qb_kernels *ref, const struct qb_kernels *test, size_t n,
                        enum floats kind, int trial)
{
    if (ck_skip()) return;
    const int bits = 1 + (int)ck_below(8), shifted = (int)ck_below(3), weighted = (int)ck_below(3);
    const int at = ck_below(2) ? CK_END : (int)ck_below(64);
    ck_case("n=%zu at=%d floats=%d bits=%d shifted=%d weighted=%d", n, at, kind, bits, shifted,
            weighted);
    const size_t count = n * QB_LANES;
    float *const x = place_floats(&in, count, at);
    float *const w = weighted ? place_floats(&weights, count, at) : NULL;
    fill_floats(x, count, kind);
    if (w) fill_floats(w, count, weighted == 1 ? FLOATS_NORMAL : kind);
    const struct qb_lanes *const p = place_lanes(kind, bits, shifted);
    const size_t size = trial ? QB_LANES * 8 : sizeof(struct qb_moments);
    void *const a = ck_place(&want, size, CK_END), *const b = ck_place(&got, size,
                                                                       at < 0 ? at : at * 8);
    if (trial) {
        (ref == test ? naive_trial : ref->trial)(x, w, n, p, (double *)a);
        test->trial(x, w, n, p, (double *)b);
    } else {
        (ref == test ? naive_fit : ref->fit)(x, w, n, p, (struct qb_moments *)a);
        test->fit(x, w, n, p, (struct qb_moments *)b);
    }
    same_doubles("sums", (const double *)a, (const double *)b, size / 8);
    ck_canaries(&got);
}

static void check_lanes(const struct qb_kernels *ref, const struct qb_kernels *test, int trial)
{
    for (int round = 0; round < 24; round++)
        for (size_t n = 0; n <= 70; n++)
            search_case(ref, test, n, (enum floats)(round % FLOATS_KINDS), trial);
    for (int round = 0; round < 600; round++) {
        const size_t n = round % 3 ? QB_BLOCK_MAX * (size_t)(round % 4) + ck_below(3)
                                   : ck_below(1000);
        search_case(ref, test, n, (enum floats)(round % FLOATS_KINDS), trial);
    }
}

// Levels of 255 throughout a block: the largest sums that must stay exact.
static void check_largest(const struct qb_kernels *test)
{
    struct qb_lanes *const p = place_lanes(FLOATS_EXTREME, 8, 1);
    float *const x = place_floats(&in, QB_BLOCK_MAX * QB_LANES, CK_END);
    for (size_t i = 0; i < QB_BLOCK_MAX * QB_LANES; i++) x[i] = 255;
    for (size_t k = 0; k < QB_LANES; k++) p->off[k] = 0, p->inv[k] = 1;
    struct qb_moments sums;
    test->fit(x, NULL, QB_BLOCK_MAX, p, &sums);
    for (size_t k = 0; k < QB_LANES; k++)
        ck_true("255 * 255 * 256", sums.ll[k] == 255.0 * 255 * 256 && sums.lv[k] == sums.ll[k]);
}

static void error_case(const struct qb_kernels *ref, const struct qb_kernels *test, size_t n,
                       enum floats kind, int at)
{
    if (ck_skip()) return;
    ck_case("n=%zu at=%d floats=%d", n, at, kind);
    float *const x = place_floats(&in, n, at);
    float *const y = place_floats(&weights, n, at);
    struct qb_error_sums *const a = (struct qb_error_sums *)ck_place(&want, sizeof *a, CK_END);
    struct qb_error_sums *const b = (struct qb_error_sums *)ck_place(&got, sizeof *b,
                                                                     at < 0 ? at : at * 8);
    for (size_t k = 0; k < QB_LANES; k++) {
        a->xx[k] = b->xx[k] = (double)ck_below(100);
        a->ee[k] = b->ee[k] = ck_below(500) ? (double)ck_below(100) * 0.1 : (double)NAN; // of a tile before
    }
    fill_floats(x, n, kind);
    fill_floats(y, n, kind);
    for (size_t i = 0; i < n; i++)
        if (kind == FLOATS_ANY && ck_below(8) < 7) x[i] = y[i] = 1; // not NaN everywhere
    const double most = (ref == test ? naive_error : ref->error)(x, y, n, a);
    const double mine = test->error(x, y, n, b);
    same_doubles("largest", &most, &mine, 1);
    same_doubles("xx", a->xx, b->xx, QB_LANES);
    same_doubles("ee", a->ee, b->ee, QB_LANES);
    ck_canaries(&got);
}

static void check_error(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    for (size_t n = 0; n <= 4 * QB_LANES + 1; n++)
        for (int at = CK_END; at < 64; at++) error_case(ref, test, n, (enum floats)(at & 3), at);
    for (int round = 0; round < 400; round++)
        error_case(ref, test, ck_below(5000), (enum floats)(round % FLOATS_KINDS), CK_END);
}

static void check(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    if (ck_kernel("fit")) check_lanes(ref, test, 0);
    if (ck_kernel("fit_largest")) check_largest(test);
    if (ck_kernel("trial")) check_lanes(ref, test, 1);
    if (ck_kernel("error")) check_error(ref, test);
}

// ---- benchmarks -------------------------------------------------------------------------------------

struct job {
    const struct qb_kernels *k;
    const float *x, *w;
    size_t n; // per lane
    const struct qb_lanes *p;
};

static void run_fit(void *context)
{
    const struct job *const j = (const struct job *)context;
    struct qb_moments sums;
    j->k->fit(j->x, j->w, j->n, j->p, &sums);
    ck_use((uint64_t)sums.l[3]);
}

static void run_trial(void *context)
{
    const struct job *const j = (const struct job *)context;
    double err[QB_LANES];
    j->k->trial(j->x, j->w, j->n, j->p, err);
    ck_use((uint64_t)err[3]);
}

static void run_error(void *context)
{
    const struct job *const j = (const struct job *)context;
    struct qb_error_sums sums = {{0}, {0}};
    ck_use((uint64_t)j->k->error(j->x, j->w, j->n * QB_LANES, &sums));
}

static void bench_one(const struct qb_kernels *ref, struct job mine, void (*run)(void *), int kind)
{
    ck_case("n=%zu%s%s", mine.n, kind & 1 ? " off" : "", kind & 2 ? " w" : "");
    struct job base = mine;
    base.k = ref;
    const struct ck_run runs[] = {{"it", run, &mine}, {"scalar", run, &base}};
    ck_bench(mine.n * QB_LANES * 4, runs, 2);
}

static void bench(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    enum { MOST = 256 };
    float *const x = (float *)ck_memory(MOST * QB_LANES * 8), *const w = x + MOST * QB_LANES;
    fill_floats(x, 2 * MOST * QB_LANES, FLOATS_NORMAL);
    for (size_t n = 32; n <= MOST; n *= 2) {
        for (int kind = 0; kind < 4; kind++) { // shifted, weighted
            const struct job j = {test, x, kind & 2 ? w : NULL, n,
                                  place_lanes(FLOATS_NORMAL, 4, kind & 1)};
            if (ck_kernel("fit")) bench_one(ref, j, run_fit, kind);
            if (ck_kernel("trial")) bench_one(ref, j, run_trial, kind);
        }
        const struct job j = {test, x, w, n, NULL};
        if (ck_kernel("error")) bench_one(ref, j, run_error, 0);
    }
}

const struct suite suite_search = {"search", QB_FAMILY_search, check, bench};
