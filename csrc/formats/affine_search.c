// SPDX-License-Identifier: Apache-2.0
// Looks for better scales (and minima, zero points) than those the range of a group gives. A candidate is
// a way to assign levels; the least-squares scale (and minimum) of those levels is what it proposes, and
// what it explains of the squared error ranks it. The winner is refined by assigning levels anew with what
// it proposed, then rounded to what is stored, and used where the error of the values as they will
// dequantize is strictly less than round to nearest has. Sixteen groups go side by side.
#include "affine.h"

#include "stored.h"

#include <float.h>
#include <math.h>
#include <string.h>

// How far a search goes. Scales are those of round to nearest divided by a stretch: about 1 in steps of
// about a level or less (`near`), then growing by a ratio, so that more and more values at the ends clip,
// as long groups want it (`far`). A minimum moves the covered part of the range from its lower to its
// upper end (`places`). Zero points: up to `zeros` away. Chosen on Gaussian, Student-t and outlier rows.
struct effort {
    int near, far, places, zeros, refinements, neighbours;
    float ratio;
};
static const struct effort efforts[] = {
    [QB_SEARCH_MSE] = {11, 5, 3, 1, 2, 0, 1.35f},
    [QB_SEARCH_BEST] = {33, 20, 7, 2, 6, 1, 1.12f},
};

// What a search has found for each lane: levels of `lo` to `hi`, values d*level + m, and the part of
// the squared error that a least-squares fit of those levels explains.
struct found {
    double d[QB_LANES], m[QB_LANES], explained[QB_LANES];
    float lo[QB_LANES];
};

struct search {
    const struct qb_samples *samples;
    const qb_format *format;
    const struct effort *effort;
    struct qb_params rtn;
    struct found best;
};

static size_t lane(const struct search *s, size_t k) { return s->samples->one_group ? 0 : k; }

static void add_lanes(double total[QB_LANES], const double part[QB_LANES])
{
    for (size_t k = 0; k < QB_LANES; k++) total[k] += part[k];
}

// Gives every lane the sum of all, in lane order.
static void fold_lanes(double v[QB_LANES])
{
    double sum = 0;
    for (size_t k = 0; k < QB_LANES; k++) sum += v[k];
    for (size_t k = 0; k < QB_LANES; k++) v[k] = sum;
}

void qb_samples_sum(struct qb_samples *s)
{
    memset(s->weight, 0, sizeof s->weight);
    memset(s->sum, 0, sizeof s->sum);
    for (size_t p = 0; p < s->pieces; p++) {
        const float *x, *w;
        const size_t n = s->piece(s->self, p, &x, &w);
        for (size_t i = 0; i < n * QB_LANES; i += QB_LANES) {
            for (size_t k = 0; k < QB_LANES; k++) {
                const double weight = w ? (double)w[i + k] : 1.0;
                s->weight[k] += weight;
                s->sum[k] += weight * (double)x[i + k];
            }
        }
    }
    if (s->one_group) {
        fold_lanes(s->weight);
        fold_lanes(s->sum);
    }
}

float qb_greatest_weight(const float *w, size_t n)
{
    float most = 0;
    for (size_t i = 0; i < n; i++) most = w[i] > most ? w[i] : most;
    return most;
}

float qb_weight_scale(float greatest)
{
    int exponent;
    if (greatest == 0) return 0;
    frexpf(greatest, &exponent);
    return ldexpf(1.0f, -exponent < 127 ? -exponent : 127);
}

static void fit(const struct qb_samples *s, const struct qb_lanes *lanes, struct qb_moments *sum)
{
    for (size_t i = 0; i < s->pieces; i++) {
        const float *x, *w;
        struct qb_moments part;
        const size_t n = s->piece(s->self, i, &x, &w);
        s->k->fit(x, w, n, lanes, i ? &part : sum);
        if (i == 0) continue;
        add_lanes(sum->l, part.l);
        add_lanes(sum->ll, part.ll);
        add_lanes(sum->lv, part.lv);
    }
    if (s->one_group) {
        fold_lanes(sum->l);
        fold_lanes(sum->ll);
        fold_lanes(sum->lv);
    }
}

static void trial(const struct qb_samples *s, const struct qb_lanes *lanes, double err[QB_LANES])
{
    memset(err, 0, QB_LANES * sizeof *err);
    for (size_t i = 0; i < s->pieces; i++) {
        const float *x, *w;
        double part[QB_LANES];
        const size_t n = s->piece(s->self, i, &x, &w);
        s->k->trial(x, w, n, lanes, part);
        add_lanes(err, part);
    }
    if (s->one_group) fold_lanes(err);
}

// Fits the levels that lanes->off, inv, lo and hi assign; keeps the fit in each lane where it explains
// more than the best so far. NaN and infinity from overflowing sums never do.
static void consider(struct search *s, const struct qb_lanes *lanes)
{
    const int has_min = s->format->zero == QB_ZERO_MIN;
    const double *const weight = s->samples->weight;
    struct qb_moments sum;
    double v[QB_LANES], explained[QB_LANES];
    fit(s->samples, lanes, &sum);
    if (has_min) { // about the means
        for (size_t k = 0; k < QB_LANES; k++) {
            const double l = sum.l[k];
            v[k] = s->samples->sum[k] - (double)lanes->off[k] * weight[k];
            sum.ll[k] -= l * l / weight[k];
            sum.lv[k] -= l * v[k] / weight[k];
        }
    }
    for (size_t k = 0; k < QB_LANES; k++) explained[k] = sum.lv[k] * sum.lv[k] / sum.ll[k];
    for (size_t k = 0; k < QB_LANES; k++) {
        if (!(explained[k] > s->best.explained[k]) || !(sum.ll[k] > 0) || !(explained[k] <= DBL_MAX)) continue;
        s->best.explained[k] = explained[k];
        s->best.d[k] = sum.lv[k] / sum.ll[k];
        s->best.m[k] = has_min ? (double)lanes->off[k] + (v[k] - s->best.d[k] * sum.l[k]) / weight[k] : 0;
        s->best.lo[k] = lanes->lo[k];
    }
}

// The levels of a lane start at lo; their number is the format's.
static void set_levels(const struct search *s, struct qb_lanes *lanes, size_t k, float lo)
{
    lanes->lo[k] = lo;
    lanes->hi[k] = lo + (float)((1 << s->format->bits) - 1);
}

// The i-th stretch. The first are below 1: a slightly coarser scale than needed costs less than the
// best of several draws of rounding errors gains.
static float stretch(const struct search *s, int i)
{
    const struct effort *const e = s->effort;
    const float levels = s->format->zero == QB_ZERO_NONE ? -qb_lowest_level(s->format) : qb_highest_level(s->format);
    const float first = -0.5f - 0.06f * levels, last = 1.25f;
    if (i < e->near) return 1.0f + (first + (last - first) * (float)i / (float)(e->near - 1)) / levels;
    float r = 1.0f + last / levels;
    for (int k = e->near; k <= i; k++) r *= e->ratio;
    return r;
}

// Every stretch of the scale, with the offsets and lowest levels that are set, or for a minimum with the
// offset that leaves `place` (0 to 1) of the uncovered range below it.
static void sweep(struct search *s, struct qb_lanes *lanes, float sign, float place)
{
    const int has_min = s->format->zero == QB_ZERO_MIN;
    const float top = qb_highest_level(s->format);
    for (int i = 0; i < s->effort->near + s->effort->far; i++) {
        const float r = stretch(s, i);
        for (size_t k = 0; k < QB_LANES; k++) {
            const size_t g = lane(s, k);
            lanes->inv[k] = sign * r * s->rtn.inv[g];
            if (has_min) lanes->off[k] = s->rtn.m[g] + place * top * s->rtn.d[g] * (1.0f - 1.0f / r);
        }
        consider(s, lanes);
    }
}

static void sweep_symmetric(struct search *s, struct qb_lanes *lanes)
{
    for (size_t k = 0; k < QB_LANES; k++) {
        lanes->off[k] = 0;
        set_levels(s, lanes, k, qb_lowest_level(s->format));
    }
    sweep(s, lanes, 1.0f, 0);
    sweep(s, lanes, -1.0f, 0);
}

static void sweep_minimum(struct search *s, struct qb_lanes *lanes)
{
    const int places = s->effort->places;
    for (size_t k = 0; k < QB_LANES; k++) set_levels(s, lanes, k, 0);
    for (int i = 0; i < places; i++) sweep(s, lanes, 1.0f, (float)i / (float)(places - 1));
}

static void sweep_point(struct search *s, struct qb_lanes *lanes)
{
    const float top = qb_highest_level(s->format);
    const int reach = s->format->bits <= 2 ? 3 : s->effort->zeros;
    for (int i = -reach; i <= reach; i++) {
        for (size_t k = 0; k < QB_LANES; k++) {
            const float z = s->rtn.z[lane(s, k)] + (float)i;
            lanes->off[k] = 0;
            set_levels(s, lanes, k, z < 0 ? 0.0f : z > top ? -top : -z);
        }
        sweep(s, lanes, 1.0f, 0);
    }
}

// Assigns levels with the best scale (and minimum) so far, to fit them again.
static void refine(struct search *s, struct qb_lanes *lanes)
{
    for (int i = 0; i < s->effort->refinements; i++) {
        for (size_t k = 0; k < QB_LANES; k++) {
            lanes->off[k] = (float)s->best.m[k];
            lanes->inv[k] = (float)(1.0 / s->best.d[k]);
            set_levels(s, lanes, k, s->best.lo[k]);
        }
        consider(s, lanes);
    }
}

// Stored parameters to be tried against those in s->rtn, whose errors are in err; keeps the better.
static void settle(struct search *s, const float d[QB_LANES], const float m[QB_LANES], const float lo[QB_LANES],
                   double err[QB_LANES])
{
    struct qb_lanes lanes;
    double now[QB_LANES];
    memcpy(lanes.d, d, sizeof lanes.d);
    memcpy(lanes.m, m, sizeof lanes.m);
    qb_round_scales(s->samples->k, s->format->scale, lanes.d, QB_LANES);
    qb_round_scales(s->samples->k, s->format->scale, lanes.m, QB_LANES);
    for (size_t k = 0; k < QB_LANES; k++) {
        lanes.inv[k] = 1.0f / lanes.d[k];
        lanes.off[k] = lanes.m[k];
        set_levels(s, &lanes, k, lo[k]);
    }
    trial(s->samples, &lanes, now);
    const size_t groups = s->samples->one_group ? 1 : QB_LANES;
    for (size_t k = 0; k < groups; k++) {
        if (!(now[k] < err[k]) || !(fabsf(lanes.inv[k]) <= FLT_MAX) || !(fabsf(lanes.d[k]) <= FLT_MAX)) continue;
        if (lanes.inv[k] == 0.0f) continue;
        err[k] = now[k];
        s->rtn.d[k] = lanes.d[k];
        s->rtn.m[k] = lanes.m[k];
        s->rtn.inv[k] = lanes.inv[k];
        s->rtn.z[k] = s->format->zero == QB_ZERO_POINT ? -lanes.lo[k] : 0.0f;
    }
    if (s->samples->one_group)
        for (size_t k = 1; k < QB_LANES; k++) err[k] = err[0];
}

// The error of what s->rtn holds.
static void error_now(const struct search *s, double err[QB_LANES])
{
    struct qb_lanes lanes;
    for (size_t k = 0; k < QB_LANES; k++) {
        const size_t g = lane(s, k);
        lanes.d[k] = s->rtn.d[g];
        lanes.m[k] = lanes.off[k] = s->rtn.m[g];
        lanes.inv[k] = s->rtn.inv[g];
        set_levels(s, &lanes, k, s->format->zero == QB_ZERO_NONE ? qb_lowest_level(s->format) : -s->rtn.z[g]);
    }
    trial(s->samples, &lanes, err);
}

// Tries what a search found, as it would be stored.
static void offer(struct search *s, const struct found *found, double err[QB_LANES])
{
    float d[QB_LANES], m[QB_LANES];
    for (size_t k = 0; k < QB_LANES; k++) {
        d[k] = (float)found->d[k];
        m[k] = (float)found->m[k];
    }
    settle(s, d, m, found->lo, err);
    // Rounding to 16 bits moves the scale: the stored values beside it may do better.
    const int scale = s->format->scale;
    const float step = scale == QB_F16 ? 0x1p-11f : scale == QB_BF16 ? 0x1p-8f : 0.0f;
    for (int i = 0; i < 2 && s->effort->neighbours && step > 0; i++) {
        float beside[QB_LANES];
        for (size_t k = 0; k < QB_LANES; k++) beside[k] = d[k] * (i ? 1.0f + step : 1.0f - step);
        settle(s, beside, m, found->lo, err);
    }
}

// Looks at every candidate; what it found is in s->best.
static void look(struct search *s)
{
    struct qb_lanes lanes = {{0}, {0}, {0}, {0}, {0}, {0}};
    if (s->format->zero == QB_ZERO_NONE) sweep_symmetric(s, &lanes);
    if (s->format->zero == QB_ZERO_MIN) sweep_minimum(s, &lanes);
    if (s->format->zero == QB_ZERO_POINT) sweep_point(s, &lanes);
    refine(s, &lanes);
}

void qb_affine_search(const struct qb_samples *samples, const qb_format *format, int search,
                      const struct qb_params *p)
{
    if (format->zero == QB_ZERO_NONE && format->bits == 1) {
        qb_affine_search_sign(samples, format, search, p);
        return;
    }
    struct search s = {samples, format, &efforts[search], *p, {{0}, {0}, {0}, {0}}};
    struct search quick = {samples, format, &efforts[QB_SEARCH_MSE], *p, {{0}, {0}, {0}, {0}}};
    const int thorough = search != QB_SEARCH_MSE;
    look(&s);
    if (thorough) look(&quick); // more candidates may refine to something worse; then fewer win

    double err[QB_LANES];
    error_now(&s, err);
    offer(&s, &s.best, err);
    if (thorough) offer(&s, &quick.best, err);
}
