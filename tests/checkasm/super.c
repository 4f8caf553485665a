// SPDX-License-Identifier: Apache-2.0
// Family "super": the steps of searches over segments side by side. The scalar kernels are held against their
// text, lane by lane, the others against scalar.
#include "checkasm.h"
#include "floats.h"
#include "../../csrc/formats/runs.h"

#include <math.h>
#include <string.h>

static struct buffer xs, ws;

struct problem {
    const float *x, *w;
    size_t n;
    struct qb_lanes ask;
    struct qb_units units;
    struct qb_segments s;
};

static void any_problem(struct problem *p, int has_min)
{
    static const float tops[] = {3, 7, 15, 31};
    const enum floats kind = ck_below(4) ? FLOATS_NORMAL : (enum floats)ck_below(FLOATS_ANY);
    p->n = ck_below(3) ? 16u << ck_below(2) : 1 + ck_below(40);
    float *const x = place_floats(&xs, p->n * QB_LANES, ck_below(2) ? CK_END : (int)ck_below(16));
    fill_floats(x, p->n * QB_LANES, kind);
    p->x = x;
    p->w = NULL;
    if (ck_below(2)) {
        float *const w = place_floats(&ws, p->n * QB_LANES, CK_END);
        for (size_t i = 0; i < p->n * QB_LANES; i++) w[i] = (float)ck_below(1 << 20) * 0x1p-20f;
        p->w = w;
    }
    const float top = tops[ck_below(4)];
    memset(&p->s, 0, sizeof p->s);
    p->units.top = has_min ? 63 : 0;
    for (size_t k = 0; k < QB_LANES; k++) {
        fill_floats(&p->ask.off[k], 1, FLOATS_NORMAL);
        fill_floats(&p->ask.inv[k], 1, FLOATS_NORMAL);
        fill_floats(&p->ask.d[k], 1, FLOATS_NORMAL);
        if (!has_min || ck_below(8) == 0) p->ask.off[k] = 0;
        if (ck_below(8) == 0) p->ask.inv[k] = 0;
        p->ask.lo[k] = has_min ? 0 : -top - 1;
        p->ask.hi[k] = top;
        p->ask.m[k] = 0;
        p->units.m[k] = ck_below(8) ? 0.0625f * (float)ck_below(9) : 0;
        p->units.inv_m[k] = p->units.m[k] > 0 ? 1 / p->units.m[k] : 0;
        p->units.scale[k] = (float)ck_below(64);
    }
}

static void start_search(struct problem *p)
{
    for (size_t k = 0; k < QB_LANES; k++) {
        fill_floats(&p->s.scale[k], 1, FLOATS_NORMAL);
        p->s.gain[k] = ck_below(4) ? 0 : ck_below(2) ? -1e300 : (double)ck_below(40);
    }
}

static int same_segments(const struct qb_segments *want, const struct qb_segments *got)
{
    return same_floats("lo", want->lo, got->lo, QB_LANES) & same_floats("hi", want->hi, got->hi, QB_LANES) &
           same_doubles("weight", want->weight, got->weight, QB_LANES) &
           same_doubles("sum", want->sum, got->sum, QB_LANES) & same_doubles("gain", want->gain, got->gain, QB_LANES) &
           same_doubles("d", want->d, got->d, QB_LANES) & same_doubles("m", want->m, got->m, QB_LANES) &
           same_floats("scale", want->scale, got->scale, QB_LANES) & same_floats("min", want->min, got->min, QB_LANES);
}

// The error that values d*level + m leave, with the levels that `ask` assigns.
static double error_left(const struct problem *p, size_t k, double d, double m)
{
    double left = 0;
    for (size_t i = k; i < p->n * QB_LANES; i += QB_LANES) {
        float level = rintf((p->x[i] - p->ask.off[k]) * p->ask.inv[k]);
        level = level > p->ask.lo[k] ? level : p->ask.lo[k];
        level = level < p->ask.hi[k] ? level : p->ask.hi[k];
        const double e = (double)p->x[i] - (d * (double)level + m);
        left += (p->w ? (double)p->w[i] : 1) * e * e;
    }
    return left;
}

// What is claimed to be taken off the squared error really is.
static void check_claim(const struct problem *p, const struct qb_segments *before, const struct qb_segments *after,
                        int integers)
{
    for (size_t k = 0; k < QB_LANES; k++) {
        if (!(after->gain[k] > before->gain[k])) continue;
        double all = 0, moved = 0; // moments are about the offset, whose rounding errors they have
        for (size_t i = k; i < p->n * QB_LANES; i += QB_LANES) {
            const double w = p->w ? (double)p->w[i] : 1, off = (double)p->ask.off[k];
            all += w * (double)p->x[i] * (double)p->x[i];
            moved += w * off * off;
        }
        if (all < 1e-70) continue; // the floats that are summed have lost their digits
        const double d = integers ? (double)p->ask.d[k] : after->d[k];
        const double m = integers ? -(double)(p->units.m[k] * after->min[k]) : after->m[k];
        const double left = error_left(p, k, d, m), claimed = all - after->gain[k];
        const double scale = all + moved + fabs(after->gain[k]) + left;
        ck_true("the gain is what the error loses", fabs(left - claimed) <= 1e-4 * scale);
        ck_true("minima are not above zero", m <= 0);
        if (integers) ck_true("minima are integers", after->min[k] == rintf(after->min[k]) && after->min[k] >= 0);
    }
}

// Codes by comparisons with every middle, which are at the halves between integers.
static void naive_book(const float *x, const float *w, size_t n, const float *inv, const float *levels,
                       const int *middles, float *a, float *b)
{
    for (size_t k = 0; k < QB_LANES; k++) {
        a[k] = b[k] = 0;
        for (size_t i = k; i < n * QB_LANES; i += QB_LANES) {
            const double v = fmax(-1e6, fmin(1e6, rint((double)(x[i] * inv[k])))); // far beyond any level
            int code = 0;
            for (int j = 0; j < 15; j++) code += v >= middles[j];
            a[k] += (w ? w[i] : 1) * levels[code] * x[i];
            b[k] += (w ? w[i] : 1) * levels[code] * levels[code];
        }
    }
}

static void check_book(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    if (ck_skip()) return;
    struct problem p;
    any_problem(&p, 0);
    p.n &= ~(size_t)1;
    float levels[16] = {-127 + (float)ck_below(8)}, want[2 * QB_LANES], got[2 * QB_LANES];
    int middles[15];
    for (int j = 1; j < 16; j++) levels[j] = levels[j - 1] + 8 + (float)ck_below(9);
    struct qb_book book;
    qb_book_open(levels, 1.0f, &book);
    for (int j = 0; j < 15; j++) middles[j] = (int)floorf(0.5f * (levels[j] + levels[j + 1]) + 0.5f);
    for (size_t k = 0; k < QB_LANES; k++) p.ask.inv[k] = ck_below(2) ? 32 : 0.5f; // ties too
    ck_case("n=%zu weights=%d", p.n, p.w != NULL);
    if (ref == test) naive_book(p.x, p.w, p.n, p.ask.inv, levels, middles, want, want + QB_LANES);
    else ref->book(p.x, p.w, p.n, p.ask.inv, &book, want, want + QB_LANES);
    test->book(p.x, p.w, p.n, p.ask.inv, &book, got, got + QB_LANES);
    same_floats("sums", want, got, 2 * QB_LANES);
}

static void check_book_codes(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    if (ck_skip()) return;
    const size_t n = 16 * (1 + ck_below(3));
    float *const x = place_floats(&xs, n, ck_below(2) ? CK_END : (int)ck_below(16)), middles[15];
    uint8_t want[48], got[48];
    fill_floats(x, n, ck_below(4) ? FLOATS_NORMAL : (enum floats)ck_below(FLOATS_ANY));
    for (int j = 0; j < 15; j++) middles[j] = (j ? middles[j - 1] : -30) + 0.5f * (float)ck_below(9);
    const float inv = ck_below(2) ? 8 : 0.5f;
    ck_case("n=%zu", n);
    ref->book_codes(x, n, inv, middles, want);
    test->book_codes(x, n, inv, middles, got);
    ck_same("codes", want, got, n);
}

static void check(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    if (ck_kernel("book"))
        for (int i = 0; i < 1000; i++) check_book(ref, test);
    if (ck_kernel("book_codes"))
        for (int i = 0; i < 1000; i++) check_book_codes(ref, test);
    for (int step = 0; step < 3; step++) {
        static const char *const names[] = {"measure", "propose", "beside"};
        if (!ck_kernel("%s", names[step])) continue;
        for (int i = 0; i < 3000; i++) {
            if (ck_skip()) continue;
            struct problem p;
            const int has_min = i & 1;
            any_problem(&p, has_min);
            ck_case("n=%zu min=%d weights=%d", p.n, has_min, p.w != NULL);
            ref->measure(p.x, p.w, p.n, &p.s);
            start_search(&p);
            struct qb_segments want = p.s, got = p.s;
            if (step == 0) ref->measure(p.x, p.w, p.n, &want);
            if (step == 0) test->measure(p.x, p.w, p.n, &got);
            if (step == 1) ref->propose(p.x, p.w, p.n, &p.ask, has_min, &want);
            if (step == 1) test->propose(p.x, p.w, p.n, &p.ask, has_min, &got);
            if (step == 2) ref->beside(p.x, p.w, p.n, &p.ask, &p.units, has_min, &want);
            if (step == 2) test->beside(p.x, p.w, p.n, &p.ask, &p.units, has_min, &got);
            same_segments(&want, &got);
            if (ref == test && step) check_claim(&p, &p.s, &got, step == 2);
        }
    }
}

const struct suite suite_super = {"super", QB_FAMILY_super, check, NULL};
