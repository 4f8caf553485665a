// SPDX-License-Identifier: Apache-2.0
// Sixteen segments side by side, as affine_search.c has them: two blocks of 8 segments, or one of 16. First
// each segment alone: ways to assign codes are fitted by least squares, and what a fit takes off the squared
// error ranks it. Then the block's scales are rounded, and each segment looks at the integers beside what it
// got, again by what the codes assigned with them take off. Everything is done to all lanes alike, in loops
// without branches.
#include "superblocks.h"

#include "../base/float16.h"
#include "../base/inverse.h"
#include "runs.h"

#include <float.h>
#include <math.h>
#include <string.h>

// lowest, highest: levels. scale_lo .. scale_hi: the integer scales; minima are 0 .. scale_hi.
struct kind {
    int segments, has_min;
    float lowest, highest, scale_lo, scale_hi;
};

// Candidates of a search: the scale that the range gives, then scales that stretch the range by `first`,
// `first + step` ... levels; refinements of the best; integer scales of a segment that are tried, from the nearest
// on; and units of the block, of which the first gives the largest segment the outermost integer.
struct effort {
    int candidates, refinements, integers, units;
    float first, step;
};

static const struct kind kinds[QB_BLOCK_COUNT] = {
    [QB_BLOCK_q2_K] = {16, 1, 0, 3, 0, 15},      [QB_BLOCK_q3_K] = {16, 0, -4, 3, -32, 31},
    [QB_BLOCK_q4_K] = {8, 1, 0, 15, 0, 63},      [QB_BLOCK_q5_K] = {8, 1, 0, 31, 0, 63},
    [QB_BLOCK_q6_K] = {16, 0, -32, 31, -128, 127},
};

static const struct effort efforts[QB_BLOCK_COUNT][2] = { // "mse", "best"
    [QB_BLOCK_q2_K] = {{1, 1, 3, 1, 0.0f, 0.0f}, {24, 4, 5, 7, -1.0f, 0.1f}},
    [QB_BLOCK_q3_K] = {{2, 0, 3, 1, -0.6f, 0.6f}, {24, 3, 5, 7, -1.4f, 0.12f}},
    [QB_BLOCK_q4_K] = {{5, 1, 2, 1, -1.4f, 0.6f}, {32, 3, 5, 7, -2.0f, 0.1f}},
    [QB_BLOCK_q5_K] = {{3, 0, 2, 1, -1.9f, 1.0f}, {32, 3, 5, 5, -2.6f, 0.12f}},
    [QB_BLOCK_q6_K] = {{3, 0, 1, 1, -2.0f, 1.0f}, {24, 2, 5, 3, -2.6f, 0.15f}},
};

// What the lanes' segments get, and the units of their blocks.
struct chosen {
    float scale[QB_LANES], min[QB_LANES], d[QB_LANES], m[QB_LANES];
};

struct search {
    const struct qb_kernels *k;
    const struct kind *kind;
    const struct effort *effort;
    size_t n; // of a segment
    const float *w;
    float x16[QB_LANES * QB_RUN_MOST], w16[QB_LANES * QB_RUN_MOST];
    struct qb_segments lanes;
    struct qb_lanes ask;
    float block_d[QB_LANES]; // of the lane's block, as stored; its minimum is a unit
    struct qb_units units;
    struct chosen chosen;
};

// Every candidate, with the outermost value at the level `outermost`.
static void sweep(struct search *s, float outermost)
{
    const struct qb_segments *const a = &s->lanes;
    const int has_min = s->kind->has_min;
    float inverse[QB_LANES]; // of the range
    for (size_t k = 0; k < QB_LANES; k++) {
        const float extreme = a->hi[k] > -a->lo[k] ? a->hi[k] : a->lo[k];
        s->ask.off[k] = has_min ? a->lo[k] : 0;
        inverse[k] = qb_inverse(has_min ? a->hi[k] - a->lo[k] : extreme);
    }
    for (int i = 0; i < s->effort->candidates; i++) {
        const float more = i ? s->effort->first + (float)(i - 1) * s->effort->step : 0.0f;
        const float levels = outermost + (outermost > 0 ? more : -more);
        for (size_t k = 0; k < QB_LANES; k++) s->ask.inv[k] = inverse[k] * levels;
        s->k->propose(s->x16, s->w, s->n, &s->ask, has_min, &s->lanes);
    }
}

static void refine(struct search *s)
{
    for (int i = 0; i < s->effort->refinements; i++) {
        for (size_t k = 0; k < QB_LANES; k++) {
            s->ask.off[k] = (float)s->lanes.m[k];
            s->ask.inv[k] = qb_inverse((float)s->lanes.d[k]);
        }
        s->k->propose(s->x16, s->w, s->n, &s->ask, s->kind->has_min, &s->lanes);
    }
}

// ---- the block ------------------------------------------------------------------------------------------

// The block's scale and minimum, such that the largest segment's have the outermost integers, but for `less`.
static void settle_block(struct search *s, size_t first, float less, struct qb_super *out)
{
    const struct kind *const t = s->kind;
    const size_t end = first + (size_t)t->segments;
    double lo = 0, hi = 0, deepest = 0;
    for (size_t k = first; k < end; k++) {
        const double d = s->lanes.d[k], m = s->lanes.m[k];
        lo = d < lo ? d : lo;
        hi = d > hi ? d : hi;
        deepest = m < deepest ? m : deepest;
    }
    const double most = hi > -lo ? hi : lo;
    out->d = qb_f32_to_f16((float)(most / (double)(t->has_min ? t->scale_hi - less : t->scale_lo + less)));
    out->m = qb_f32_to_f16((float)(deepest / -(double)(t->scale_hi - less)));
    const float unit_d = qb_f16_to_f32(out->d), unit_m = qb_f16_to_f32(out->m), inv_m = qb_inverse(unit_m);
    for (size_t k = first; k < end; k++) {
        s->block_d[k] = unit_d;
        s->units.m[k] = unit_m;
        s->units.inv_m[k] = inv_m;
    }
}

static float clamped(float t, float lo, float hi)
{
    t = t > lo ? t : lo;
    return t < hi ? t : hi;
}

// |t| is small enough for its fraction to round off against 1.5 * 2^23, as rintf would but in line.
static float rounded(float t) { return (t + 0x1.8p23f) - 0x1.8p23f; }

// Looks at codes with the scales in `scale` plus steps[k] * beside, and the minima in `min`.
static void try_beside(struct search *s, const float *scale, const float *min, const float *steps, float beside)
{
    const struct kind *const t = s->kind;
    for (size_t k = 0; k < QB_LANES; k++) {
        s->units.scale[k] = clamped(scale[k] + steps[k] * beside, t->scale_lo, t->scale_hi);
        s->ask.d[k] = s->block_d[k] * s->units.scale[k];
        s->ask.off[k] = -(s->units.m[k] * min[k]);
        s->ask.inv[k] = qb_inverse(s->ask.d[k]);
    }
    s->k->beside(s->x16, s->w, s->n, &s->ask, &s->units, t->has_min, &s->lanes);
}

static void choose_integers(struct search *s)
{
    struct qb_segments *const a = &s->lanes;
    const struct kind *const t = s->kind;
    float scale[QB_LANES], min[QB_LANES], toward[QB_LANES];
    for (size_t k = 0; k < QB_LANES; k++) {
        const float inv_d = qb_inverse(s->block_d[k]), inv_m = s->units.inv_m[k];
        const float wanted = clamped((float)a->d[k] * inv_d, t->scale_lo, t->scale_hi);
        a->scale[k] = scale[k] = rounded(wanted);
        a->min[k] = min[k] = rounded(clamped((float)-a->m[k] * inv_m, 0.0f, t->scale_hi));
        toward[k] = wanted < scale[k] ? -1.0f : 1.0f; // where the next nearest is
        a->gain[k] = -DBL_MAX;
    }
    if (s->effort->integers == 1 && s->effort->units == 1 && !t->has_min) return; // nothing to choose
    for (int i = 0; i < s->effort->integers; i++)
        try_beside(s, scale, min, toward, (float)(i % 2 ? (i + 1) / 2 : -i / 2)); // 0, 1, -1, 2, -2
}

// The integers and units of a block, eight segments at a time.
static void take(struct search *s, size_t first)
{
    struct chosen *const c = &s->chosen;
    const size_t eight = 8 * sizeof *c->scale;
    for (size_t k = first; k < first + (size_t)s->kind->segments; k += 8) {
        memcpy(c->scale + k, s->lanes.scale + k, eight);
        memcpy(c->min + k, s->lanes.min + k, eight);
        memcpy(c->d + k, s->block_d + k, eight);
        memcpy(c->m + k, s->units.m + k, eight);
    }
}

// Tries the units in turn; each block keeps those whose integers take most off in all.
static void choose_units(struct search *s, struct qb_super *out)
{
    const size_t segments = (size_t)s->kind->segments, blocks = QB_LANES / segments;
    double gain[2] = {-DBL_MAX, -DBL_MAX};
    for (int u = 0; u < s->effort->units; u++) {
        struct qb_super tried[2];
        const float less = 0.5f * (float)(u % 2 ? -(u / 2) - 1 : u / 2); // 0, -1/2, 1/2, -1 ...
        for (size_t i = 0; i < blocks; i++) settle_block(s, i * segments, less, &tried[i]);
        choose_integers(s);
        for (size_t i = 0; i < blocks; i++) {
            double all = 0;
            for (size_t k = i * segments; k < (i + 1) * segments; k++) all += s->lanes.gain[k];
            if (u && !(all > gain[i])) continue;
            gain[i] = all;
            out[i].d = tried[i].d;
            out[i].m = tried[i].m;
            take(s, i * segments);
        }
    }
}

// Codes, scales and minima of all lanes.
static void encode_blocks(struct search *s, const float *x, struct qb_super *out)
{
    const struct kind *const t = s->kind;
    const struct chosen *const c = &s->chosen;
    const size_t segments = (size_t)t->segments;
    float off[QB_LANES], inv[QB_LANES], z[QB_LANES];
    for (size_t k = 0; k < QB_LANES; k++) {
        off[k] = -(c->m[k] * c->min[k]);
        inv[k] = qb_inverse(c->d[k] * c->scale[k]);
        z[k] = -t->lowest;
    }
    for (size_t first = 0; first < QB_LANES; first += segments, x += QB_SUPER, out++) {
        for (size_t i = 0; i < segments; i++) {
            out->scales[i] = (int)c->scale[first + i];
            out->mins[i] = (int)c->min[first + i];
        }
        s->k->encode(x, QB_SUPER, s->n, t->has_min ? off + first : NULL, inv + first, t->has_min ? NULL : z, 0.0f,
                     t->highest - t->lowest, out->codes);
    }
}

// ---- side by side ---------------------------------------------------------------------------------------

// Quantizes the 16 segments at x, which are one or two blocks.
static void quantize_lanes(struct search *s, const float *x, const float *w, struct qb_super *out)
{
    qb_runs_stage(s->k, x, w, QB_LANES, s->n, s->x16, s->w16);
    s->k->measure(s->x16, s->w, s->n, &s->lanes);
    sweep(s, s->kind->has_min ? s->kind->highest : s->kind->lowest);
    if (!s->kind->has_min && s->effort->units > 1) sweep(s, s->kind->highest);
    refine(s);
    choose_units(s, out);
    encode_blocks(s, x, out);
}

static int is_finite(uint16_t half) { return (half & 0x7FFF) < 0x7C00; }

size_t qb_super_quantize(const struct qb_kernels *k, int block, int search, const float *x, const float *w,
                         size_t count, uint8_t *out)
{
    const size_t bytes = qb_block_type_of(block)->bytes;
    struct search s; // large: only what is needed is set
    s.k = k;
    s.kind = &kinds[block];
    s.effort = &efforts[block][search == QB_SEARCH_BEST];
    const size_t together = QB_LANES / (size_t)s.kind->segments;
    float twice_x[2 * QB_SUPER], twice_w[2 * QB_SUPER];
    s.n = QB_SUPER / (size_t)s.kind->segments;
    s.w = w ? s.w16 : NULL;
    s.units.top = s.kind->scale_hi;
    for (size_t i = 0; i < QB_LANES; i++) {
        s.ask.lo[i] = s.kind->lowest;
        s.ask.hi[i] = s.kind->highest;
    }
    for (size_t i = 0; i < count; i += together, x += together * QB_SUPER) {
        struct qb_super found[2];
        if (count - i < together) { // the last one goes with itself
            for (size_t j = 0; j < 2; j++) {
                memcpy(twice_x + j * QB_SUPER, x, QB_SUPER * sizeof *x);
                if (w) memcpy(twice_w + j * QB_SUPER, w, QB_SUPER * sizeof *w);
            }
            quantize_lanes(&s, twice_x, w ? twice_w : NULL, found);
        } else {
            quantize_lanes(&s, x, w, found);
        }
        for (size_t j = 0; j < together && i + j < count; j++, out += bytes) {
            if (!is_finite(found[j].d) || !is_finite(found[j].m)) return i + j;
            qb_super_pack(block, &found[j], out);
        }
        if (w) w += together * QB_SUPER;
    }
    return count;
}
