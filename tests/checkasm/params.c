// SPDX-License-Identifier: Apache-2.0
// Family "params". The scalar kernels are held against plain loops over doubles, the others against
// scalar.
#include "checkasm.h"
#include "floats.h"

#include <math.h>
#include <string.h>

static struct buffer in, want, got, want_hi, got_hi;

// ---- range ------------------------------------------------------------------------------------------

static int naive_range(const float *x, size_t n, size_t group, float *lo, float *hi)
{
    int bad = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t g = i / group;
        const double v = x[i] == 0 ? 0.0 : (double)x[i];
        if (i % group == 0 || v < (double)lo[g]) lo[g] = (float)v;
        if (i % group == 0 || v > (double)hi[g]) hi[g] = (float)v;
        bad |= (bits_of(x[i]) & 0x7F800000u) == 0x7F800000u;
    }
    return bad;
}

// Negative zeros for what is not finite, but for `poison` elements.
static void make_finite(float *x, size_t n, int poison)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i])) x[i] = -0.0f;
    while (poison-- > 0) x[ck_below(n)] = not_finite(ck_below(6));
}

static void range_kind(const struct qb_kernels *ref, const struct qb_kernels *test, size_t n,
                       size_t group, int at, enum floats kind, int poison)
{
    if (ck_skip()) return;
    ck_case("n=%zu group=%zu at=%d floats=%d poison=%d", n, group, at, kind, poison);
    const size_t groups = (n + group - 1) / group;
    float *const x = place_floats(&in, n, at);
    float *const a = place_floats(&want, groups, CK_END);
    float *const b = place_floats(&got, groups, at);
    float *const c = place_floats(&want_hi, groups, CK_END);
    float *const d = place_floats(&got_hi, groups, CK_END);
    fill_floats(x, n, kind);
    make_finite(x, n, poison);
    const int expected = ref == test ? naive_range(x, n, group, a, c)
                                     : ref->range(x, n, group, a, c);
    const int bad = test->range(x, n, group, b, d);
    ck_same_u64("not finite", expected != 0, bad != 0);
    if (!expected) {
        ck_same("lo", a, b, groups * 4);
        ck_same("hi", c, d, groups * 4);
    }
    ck_canaries(&got);
    ck_canaries(&got_hi);
}

static void range_case(const struct qb_kernels *ref, const struct qb_kernels *test, size_t n,
                       size_t group, int at)
{
    for (int kind = 0; kind < FLOATS_KINDS; kind++)
        range_kind(ref, test, n, group, at, (enum floats)kind, 0);
    range_kind(ref, test, n, group, at, FLOATS_NORMAL, 1);
}

// ---- extremes ---------------------------------------------------------------------------------------

static int naive_extremes(const float *x, size_t n, size_t group, float *extreme)
{
    int bad = 0;
    for (size_t i = 0; i < n; i++) {
        if (i % group == 0) extreme[i / group] = 0;
        if (fabs((double)x[i]) > fabs((double)extreme[i / group])) extreme[i / group] = x[i];
        bad |= (bits_of(x[i]) & 0x7F800000u) == 0x7F800000u;
    }
    return bad;
}

// With `few`, magnitudes are drawn from so few values that most groups have their extreme more than
// once, with either sign.
static void extremes_kind(const struct qb_kernels *ref, const struct qb_kernels *test, size_t n,
                          size_t group, int at, enum floats kind, int poison, int few)
{
    if (ck_skip()) return;
    ck_case("n=%zu group=%zu at=%d floats=%d poison=%d few=%d", n, group, at, kind, poison, few);
    const size_t groups = (n + group - 1) / group;
    float *const x = place_floats(&in, n, at);
    float *const a = place_floats(&want, groups, CK_END);
    float *const b = place_floats(&got, groups, at);
    fill_floats(x, n, kind);
    for (size_t i = 0; few && i < n; i++) x[i] = copysignf((float)ck_below(3), x[i]);
    make_finite(x, n, poison);
    const int expected = ref == test ? naive_extremes(x, n, group, a)
                                     : ref->extremes(x, n, group, a);
    ck_same_u64("not finite", expected != 0, test->extremes(x, n, group, b) != 0);
    if (!expected) ck_same("extremes", a, b, groups * 4);
    ck_canaries(&got);
}

static void extremes_case(const struct qb_kernels *ref, const struct qb_kernels *test, size_t n,
                          size_t group, int at)
{
    for (int kind = 0; kind < FLOATS_KINDS; kind++)
        extremes_kind(ref, test, n, group, at, (enum floats)kind, 0, 0);
    extremes_kind(ref, test, n, group, at, FLOATS_NORMAL, 0, 1);
    extremes_kind(ref, test, n, group, at, FLOATS_NORMAL, 1, 0);
    extremes_kind(ref, test, n, group, at, FLOATS_NORMAL, 1 + (int)ck_below(9), 1);
}

// ---- scales -----------------------------------------------------------------------------------------

static int naive_scales_f16(float *d, size_t n, float *inv)
{
    int bad = 0;
    for (size_t i = 0; i < n; i++) {
        d[i] = half_value(nearest_half(d[i]));
        inv[i] = d[i] == 0 ? 0 : (float)(1 / (double)d[i]);
        if (d[i] == 0) d[i] = 0;
        bad |= isinf(d[i]);
    }
    return bad;
}

static void scales_case(const struct qb_kernels *ref, const struct qb_kernels *test, size_t n,
                        int at, enum floats kind)
{
    if (ck_skip()) return;
    ck_case("n=%zu at=%d floats=%d", n, at, kind);
    float *const a = place_floats(&want, n, CK_END);
    float *const b = place_floats(&got, n, at);
    float *const c = place_floats(&want_hi, n, CK_END);
    float *const d = place_floats(&got_hi, n, at);
    fill_floats(b, n, kind);
    const float smaller = ldexpf(1, -(int)ck_below(40)); // around the halves' denormals too
    for (size_t i = 0; i < n; i++) {
        b[i] = isnan(b[i]) ? INFINITY : b[i] * smaller;
        if (ref != test && halves_round_up() && isfinite(b[i])) b[i] = float_of(bits_of(b[i]) | 1);
    }
    memcpy(a, b, n * 4);
    const int expected = ref == test ? naive_scales_f16(a, n, c) : ref->scales_f16(a, n, c);
    ck_same_u64("infinite", expected != 0, test->scales_f16(b, n, d) != 0);
    ck_same("scales", a, b, n * 4);
    ck_same("inverses", c, d, n * 4);
    ck_canaries(&got);
    ck_canaries(&got_hi);
}

static void check_scales(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    for (size_t n = 1; n <= 300; n += n < 70 ? 1 : 1 + ck_below(20))
        for (int i = 0; i < 8; i++)
            for (int kind = 0; kind < FLOATS_KINDS; kind++)
                scales_case(ref, test, n, i & 1 ? CK_END : (int)ck_below(64), (enum floats)kind);
}

static void check(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    if (ck_kernel("range")) for_each_shape(ref, test, range_case);
    if (ck_kernel("extremes")) for_each_shape(ref, test, extremes_case);
    if (ck_kernel("scales_f16")) check_scales(ref, test);
}

// ---- benchmarks -------------------------------------------------------------------------------------

enum { BENCH = 1 << 12 }; // 16 KiB of floats: in the first level of cache, as where they are used

struct job {
    const struct qb_kernels *k;
    size_t group;
    float *x, *lo, *hi;
};

static void run_range(void *context)
{
    const struct job *const j = (const struct job *)context;
    ck_use((uint64_t)j->k->range(j->x, BENCH, j->group, j->lo, j->hi));
}

static void run_extremes(void *context)
{
    const struct job *const j = (const struct job *)context;
    ck_use((uint64_t)j->k->extremes(j->x, BENCH, j->group, j->hi));
}

static void run_scales(void *context)
{
    const struct job *const j = (const struct job *)context;
    ck_use((uint64_t)j->k->scales_f16(j->lo, BENCH, j->hi));
}

static void run_memcpy(void *context)
{
    const struct job *const j = (const struct job *)context;
    memcpy(j->lo, j->x, BENCH * 4);
}

static void bench_one(const struct qb_kernels *ref, struct job *mine, void (*run)(void *))
{
    struct job base = *mine;
    base.k = ref;
    ck_case("group=%zu", mine->group);
    const struct ck_run runs[] = {{"it", run, mine}, {"scalar", run, &base}, {"memcpy", run_memcpy, mine}};
    ck_bench(BENCH * 4, runs, 3);
}

static void bench(const struct qb_kernels *ref, const struct qb_kernels *test)
{
    struct job j = {test, 1, (float *)ck_memory(BENCH * 4), (float *)ck_memory(BENCH * 4),
                    (float *)ck_memory(BENCH * 4)};
    fill_floats(j.x, BENCH, FLOATS_NORMAL);
    fill_floats(j.lo, BENCH, FLOATS_NORMAL);
    if (ck_kernel("scales_f16")) bench_one(ref, &j, run_scales);
    static const size_t groups[] = {32, 64, 128, BENCH, 16, 8, 48, 20, 5, 1};
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        j.group = groups[i];
        if (ck_kernel("range")) bench_one(ref, &j, run_range);
        if (ck_kernel("extremes")) bench_one(ref, &j, run_extremes);
    }
}

const struct suite suite_params = {"params", QB_FAMILY_params, check, bench};
