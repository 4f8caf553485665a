// SPDX-License-Identifier: Apache-2.0
// Blocks of 256 values that are points of a grid, of 8 or 4 values each, times an odd integer of the segment times
// a unit of the block. First each segment alone: scales that put its extreme at various levels are tried, each with
// the nearest points, which are fitted by least squares; what a fit takes off the squared error ranks it. Then the
// block's unit, which gives the largest segment the outermost integer; and for each segment the integers beside its
// scale. Grids of magnitudes are searched with the signs taken off; where the number of minus signs has to be even,
// one sign of an odd group is wrong, at last the one with which the group errs least.
#include "gridblocks.h"

#include "../base/float16.h"
#include "../base/inverse.h"
#include "../kernels/grids.h"
#include "affine.h"
#include "neighbours.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { GROUP = 8, MOST_RUNS = 8, HUGE_BLOCK = 40 }; // values that share signs; runs of a segment; an exponent

struct kind {
    enum qb_grid_place place; // of its grid, and the next one for points moved down
    const uint16_t *points;
    unsigned count, dims, bits;
    float levels[2][8]; // iq1: moved up, moved down
    size_t segments;
    size_t moved; // runs that are moved together, 0: none ever are
    int even;     // minus signs come in even numbers
    int top;      // of the integers s, which stand for 2s + 1
    float unit;   // what the block's half is multiplied by
};

#define EIGHTHS {{-7, 1, 9, 0}, {-9, -1, 7, 0}}
#define IQ2_LEVELS {{8, 25, 43, 0}}
#define IQ3_XXS_LEVELS {{4, 12, 20, 28, 36, 44, 52, 62}}
static const struct kind kinds[QB_BLOCK_COUNT] = {
    [QB_BLOCK_iq1_s] = {QB_GRID_IQ1, qb_grid_iq1, 2048, 8, 2, EIGHTHS, 8, 4, 0, 7, 0.125f},
    [QB_BLOCK_iq1_m] = {QB_GRID_IQ1, qb_grid_iq1, 2048, 8, 2, EIGHTHS, 16, 1, 0, 7, 0.125f},
    [QB_BLOCK_iq2_xxs] = {QB_GRID_IQ2_XXS, qb_grid_iq2_xxs, 256, 8, 2, IQ2_LEVELS, 8, 0, 1, 15, 0.125f},
    [QB_BLOCK_iq2_xs] = {QB_GRID_IQ2_XS, qb_grid_iq2_xs, 512, 8, 2, IQ2_LEVELS, 16, 0, 1, 15, 0.125f},
    [QB_BLOCK_iq2_s] = {QB_GRID_IQ2_S, qb_grid_iq2_s, 1024, 8, 2, IQ2_LEVELS, 16, 0, 0, 15, 0.125f},
    [QB_BLOCK_iq3_xxs] = {QB_GRID_IQ3_XXS, qb_grid_iq3_xxs, 256, 4, 3, IQ3_XXS_LEVELS, 8, 0, 1, 15, 0.25f},
    [QB_BLOCK_iq3_s] = {QB_GRID_IQ3_S, qb_grid_iq3_s, 512, 4, 3, {{1, 3, 5, 7, 9, 11, 13, 15}}, 8, 0, 0, 15, 1.0f},
};

// Levels that a segment's extreme is put at, `candidates` from `first` on; then fits with the best scale so far;
// integers of a segment that are tried, from the nearest on; and units of the block, of which the first gives the
// largest segment the outermost integer.
struct effort {
    int candidates;
    float first, step;
    int refinements, integers, units;
};
static const struct effort efforts[QB_BLOCK_COUNT][2] = { // "mse", "best"
    [QB_BLOCK_iq1_s] = {{2, 10, 5, 0, 1, 1}, {16, 6, 1, 2, 3, 5}},
    [QB_BLOCK_iq1_m] = {{1, 13, 0, 0, 1, 1}, {16, 6, 1, 2, 3, 5}},
    [QB_BLOCK_iq2_xxs] = {{3, 38, 9, 0, 2, 1}, {24, 28, 2, 2, 3, 5}},
    [QB_BLOCK_iq2_xs] = {{3, 34, 9, 0, 2, 1}, {24, 24, 2, 2, 3, 5}},
    [QB_BLOCK_iq2_s] = {{3, 34, 9, 0, 2, 1}, {24, 24, 2, 2, 3, 5}},
    [QB_BLOCK_iq3_xxs] = {{3, 50, 9, 0, 2, 1}, {24, 36, 2, 2, 3, 5}},
    [QB_BLOCK_iq3_s] = {{3, 12, 2.25f, 0, 2, 1}, {24, 9, 0.5f, 2, 3, 5}},
};

struct search {
    const struct qb_kernels *k;
    const struct kind *kind;
    const struct effort *effort;
    qb_nearest_fn *nearest; // of all points, or among few
    const struct qb_grid *grids[2];
    size_t n, runs;                           // of a segment: values; points
    float x[QB_GRID_BLOCK], w[QB_GRID_BLOCK]; // x without its signs, but for odd groups where kind->even
    uint8_t signs[QB_GRID_BLOCK / GROUP];
    uint16_t points[2][QB_GRID_POINTS]; // the last ones found in each grid: where the next search begins
    double heft[QB_GRID_SEGMENTS];      // what the gains of segments count beside each other
    double d[QB_GRID_SEGMENTS];         // best scales of segments
};

// Points of one segment, and sums of w*level*x and w*level*level.
struct found {
    double a, b;
    uint16_t points[MOST_RUNS];
    uint8_t down[MOST_RUNS];
};

static const struct qb_grid *open_grid(const struct kind *kind, int down)
{
    struct qb_grid plain = {.points = kind->points, .count = kind->count, .dims = kind->dims, .bits = kind->bits};
    memcpy(plain.levels, kind->levels[down], sizeof plain.levels);
    return qb_grid_complete((enum qb_grid_place)((int)kind->place + down), &plain);
}

// ---- values in --------------------------------------------------------------------------------------------

// The largest of each segment's weights is brought near 1; where all are zero they count as ones.
static void stage_weights(struct search *s, const float *w)
{
    double any = 0;
    for (size_t i = 0; i < s->kind->segments; i++) {
        const size_t at = i * s->n;
        const float even = w ? qb_weight_scale(qb_greatest_weight(w + at, s->n)) : 0;
        for (size_t j = at; j < at + s->n; j++) s->w[j] = even != 0 ? w[j] * even : 1.0f;
        s->heft[i] = even != 0 ? 1 / (double)even : 0;
        any += s->heft[i];
    }
    for (size_t i = 0; any == 0 && i < s->kind->segments; i++) s->heft[i] = 1;
}

// Takes the signs of a group off; where their number has to be even, the value that matters least keeps a wrong one.
static void fold(struct search *s, size_t group)
{
    float *const x = s->x + group * GROUP;
    const float *const w = s->w + group * GROUP;
    unsigned signs = 0;
    int odd = 0, least = 0;
    for (int i = 0; i < GROUP; i++) {
        const int minus = x[i] < 0;
        signs |= (unsigned)minus << i;
        odd ^= minus;
        x[i] = fabsf(x[i]);
        if (w[i] * x[i] < w[least] * x[least]) least = i;
    }
    if (s->kind->even && odd) {
        signs ^= 1u << least;
        x[least] = -x[least];
    }
    s->signs[group] = (uint8_t)signs;
}

static float largest(const float *x, size_t n)
{
    float most = 0;
    for (size_t i = 0; i < n; i++) most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    return most;
}

// ---- segments ---------------------------------------------------------------------------------------------

// Of points moved up and those moved down, the better ones.
static void choose_moves(struct search *s, size_t at, float inv, const float a[2][MOST_RUNS],
                         const float b[2][MOST_RUNS], struct found *f)
{
    for (size_t first = 0; first < s->runs; first += s->kind->moved) {
        const size_t end = first + s->kind->moved;
        double score[2] = {0, 0};
        for (int down = 0; down < 2; down++)
            for (size_t r = first; r < end; r++)
                score[down] += 2 * (double)inv * (double)a[down][r] - (double)b[down][r];
        const int down = score[1] > score[0];
        for (size_t r = first; r < end; r++) {
            f->a += (double)a[down][r];
            f->b += (double)b[down][r];
            f->points[r] = s->points[down][at + r];
            f->down[r] = (uint8_t)down;
        }
    }
}

static void look(struct search *s, size_t segment, float inv, struct found *f)
{
    const size_t at = segment * s->runs;
    const float *const x = s->x + segment * s->n, *const w = s->w + segment * s->n;
    float a[2][MOST_RUNS], b[2][MOST_RUNS];
    f->a = f->b = 0;
    s->nearest(s->grids[0], x, w, s->runs, inv, s->points[0] + at, a[0], b[0]);
    if (s->kind->moved) {
        s->nearest(s->grids[1], x, w, s->runs, inv, s->points[1] + at, a[1], b[1]);
        choose_moves(s, at, inv, (const float(*)[MOST_RUNS])a, (const float(*)[MOST_RUNS])b, f);
        return;
    }
    for (size_t r = 0; r < s->runs; r++) {
        f->a += (double)a[0][r];
        f->b += (double)b[0][r];
    }
    memcpy(f->points, s->points[0] + at, s->runs * sizeof *f->points);
    memset(f->down, 0, sizeof f->down);
}

// The scale of least squares, of all that are tried.
static double best_scale(struct search *s, size_t segment)
{
    const float most = largest(s->x + segment * s->n, s->n);
    double best = 0, d = 0;
    struct found f;
    for (int i = 0; i < s->effort->candidates + s->effort->refinements; i++) {
        const int plain = s->effort->units > 1 && i == 0; // all values alike: they may all be the lowest level
        const float level = plain ? fabsf(s->kind->levels[0][0]) : s->effort->first + (float)i * s->effort->step;
        look(s, segment, qb_inverse(i < s->effort->candidates ? most / level : (float)d), &f);
        const double fitted = f.a / f.b, gain = f.a * fitted;
        if (!(gain > best) || !(fitted > 0)) continue;
        best = gain;
        d = fitted;
    }
    return d;
}

// The integer beside d / unit that takes most off, which is returned.
static double choose_integer(struct search *s, size_t segment, float unit, int *scale, struct found *kept)
{
    const float steps = ((float)s->d[segment] * qb_inverse(unit) - 1.0f) * 0.5f, top = (float)s->kind->top;
    const int nearest = (int)rintf(steps > 0 ? steps < top ? steps : top : 0);
    const int toward = steps < (float)nearest ? -1 : 1;
    double best = -DBL_MAX;
    for (int i = 0; i < s->effort->integers; i++) {
        const int tried = nearest + (i == 2 ? -toward : i * toward);
        if (tried < 0 || tried > s->kind->top) continue;
        struct found f;
        const float d = unit * (float)(2 * tried + 1);
        look(s, segment, qb_inverse(d), &f);
        const double gain = (double)d * (2 * f.a - (double)d * f.b);
        if (!(gain > best)) continue;
        best = gain;
        *scale = tried;
        *kept = f;
    }
    return best;
}

// ---- the block --------------------------------------------------------------------------------------------

// What the nearest points take off the squared error, in units of the scale.
static double score_of(struct search *s, const float *x, const float *w, size_t runs, float inv, uint16_t *points)
{
    float a[2] = {0, 0}, b[2] = {0, 0};
    s->nearest(s->grids[0], x, w, runs, inv, points, a, b);
    return 2 * (double)inv * ((double)a[0] + (double)a[1]) - ((double)b[0] + (double)b[1]);
}

// The sign of an odd group that does least harm as the wrong one. None does less than twice what it turns around,
// at the lowest level, beside the points for the right signs.
static void choose_sign(struct search *s, size_t group, float inv, struct qb_grid_block *out)
{
    float *const x = s->x + group * GROUP;
    const float *const w = s->w + group * GROUP;
    const size_t runs = GROUP / s->kind->dims;
    int wrong = -1;
    for (int i = 0; i < GROUP; i++)
        if (x[i] < 0) wrong = i;
    if (wrong < 0) return;
    const unsigned right = s->signs[group] ^ 1u << wrong;
    x[wrong] = -x[wrong];
    const double lowest = (double)s->kind->levels[0][0];
    uint16_t points[2] = {out->points[group * runs], out->points[group * runs + runs - 1]};
    const double most = score_of(s, x, w, runs, inv, points);
    double best = -DBL_MAX;
    for (int i = 0; i < GROUP; i++) {
        const int at = (wrong + i) % GROUP; // the best guess first
        if (most - 4 * (double)w[at] * (double)x[at] * (double)inv * lowest <= best) continue;
        x[at] = -x[at];
        const double score = score_of(s, x, w, runs, inv, points);
        x[at] = -x[at];
        if (!(score > best)) continue;
        best = score;
        out->signs[group] = (uint8_t)(right ^ 1u << at);
        memcpy(out->points + group * runs, points, runs * sizeof *points);
    }
    x[wrong] = -x[wrong];
}

static void choose_unit(struct search *s, struct qb_grid_block *out)
{
    const struct kind *const t = s->kind;
    double most = 0, best = -DBL_MAX;
    for (size_t i = 0; i < t->segments; i++) most = s->d[i] > most ? s->d[i] : most;
    for (int u = 0; u < s->effort->units; u++) {
        struct found f[QB_GRID_SEGMENTS];
        int scales[QB_GRID_SEGMENTS] = {0};
        const double less = u % 2 ? -(u / 2) - 1 : u / 2; // 0, -1, 1, -2 ...
        const uint16_t half = qb_f32_to_f16((float)(most / ((2 * t->top + 1 - less) * (double)t->unit)));
        const float unit = qb_f16_to_f32(half) * t->unit;
        double all = 0;
        for (size_t i = 0; i < t->segments; i++) all += s->heft[i] * choose_integer(s, i, unit, &scales[i], &f[i]);
        if (u && !(all > best)) continue;
        best = all;
        out->d = half;
        memcpy(out->scales, scales, sizeof scales);
        for (size_t i = 0; i < t->segments; i++) {
            memcpy(out->points + i * s->runs, f[i].points, s->runs * sizeof *f->points);
            for (size_t r = 0; t->moved && r < s->runs; r++) s->signs[i * s->runs + r] = f[i].down[r];
        }
    }
    memcpy(out->signs, s->signs, sizeof s->signs);
}

// Returns whether the block's half is finite.
static int quantize_block(struct search *s, const float *x, const float *w, struct qb_grid_block *out)
{
    const struct kind *const t = s->kind;
    if (!(largest(x, QB_GRID_BLOCK) < ldexpf(1, HUGE_BLOCK))) return 0;
    memcpy(s->x, x, sizeof s->x);
    stage_weights(s, w);
    for (size_t g = 0; !t->moved && g < QB_GRID_BLOCK / GROUP; g++) fold(s, g);
    for (size_t i = 0; i < t->segments; i++) s->d[i] = best_scale(s, i);
    choose_unit(s, out);
    if ((out->d & 0x7FFF) >= 0x7C00) return 0;
    for (size_t g = 0; t->even && g < QB_GRID_BLOCK / GROUP; g++) {
        const float d = qb_f16_to_f32(out->d) * t->unit * (float)(2 * out->scales[g * GROUP / s->n] + 1);
        choose_sign(s, g, qb_inverse(d), out);
    }
    return 1;
}

int qb_grid_has(int block) { return kinds[block].count != 0; }

size_t qb_grid_quantize(const struct qb_kernels *k, int block, int search, const float *x, const float *w,
                        size_t count, uint8_t *out)
{
    struct search s = {.k = k, .kind = &kinds[block], .effort = &efforts[block][search == QB_SEARCH_BEST]};
    s.nearest = search == QB_SEARCH_BEST ? k->nearest : k->nearby;
    s.n = QB_GRID_BLOCK / s.kind->segments;
    s.runs = s.n / s.kind->dims;
    for (int down = 0; down < (s.kind->moved ? 2 : 1); down++) s.grids[down] = open_grid(s.kind, down);
    for (size_t i = 0; i < count; i++, out += qb_block_type_of(block)->bytes) {
        struct qb_grid_block found;
        if (!quantize_block(&s, x + i * QB_GRID_BLOCK, w ? w + i * QB_GRID_BLOCK : NULL, &found)) return i;
        qb_grid_pack(block, &found, out);
    }
    return count;
}
